//! A file that prepares photos itself is read as the network behind that, whatever the way of its photos, and no node on that way can
//! be another than it says.

use cspnet_graph::Conv;
use cspnet_vision::{Filter, Resize};
use prost::Message;

use super::*;
use crate::manifest::Manifest;
use crate::onnx::{BatchNorm, Network, ReadOptions, write};

/// A network of which a parameter has a name that the way of photos would like to have.
fn small() -> cspnet_graph::Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("stem.conv", x, Conv::new(4, 3).stride(2));
    let x = b.batch_norm("stem.norm", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("head.fc", x, 2);
    b.name_params(x, ["preprocess.bytes", "head.fc.bias"].map(String::from).into());
    b.finish(x).unwrap()
}

fn manifest(preprocess: &Preprocess) -> Manifest {
    let labels = ["cat", "dog"].map(String::from).into();
    Manifest { labels, preprocess: Some(preprocess.clone()), ..Manifest::new("small", small()) }
}

fn options(preprocess: &Preprocess, embeds: bool) -> Options {
    let size = Some([preprocess.size.0 as usize, preprocess.size.1 as usize]);
    Options { size, photo: embeds.then(|| preprocess.clone()), softmax: embeds, batch_norm: BatchNorm::Node }
}

fn written_here(preprocess: &Preprocess) -> Vec<u8> {
    let graph = small();
    write(&graph, &Weights::reference(&graph), Some(&manifest(preprocess)), &options(preprocess, true)).unwrap()
}

/// Every way that photos can go, of which padding is the one of sides that are smaller than the picture's.
fn ways() -> Vec<Preprocess> {
    let resizes = [Resize::Stretch, Resize::ShorterSide(9), Resize::ShorterSide(6), Resize::ShorterSide(5)];
    let one = |filter, resize, size| {
        let [mean, std] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
        Preprocess { size, resize, filter, mean, std, background: [255; 3] }
    };
    let sizes = [(6, 6), (6, 8)];
    let all = resizes.into_iter().flat_map(|resize| sizes.map(|size| (resize, size)));
    all.flat_map(|(resize, size)| [Filter::Bilinear, Filter::Bicubic].map(|filter| one(filter, resize, size))).collect()
}

#[test]
fn the_network_behind_every_way_of_photos_comes_back_whole() {
    let (graph, weights) = (small(), Weights::reference(&small()));
    for way in ways() {
        let manifest = manifest(&way);
        let bytes = written_here(&way);
        let read = |without_softmax| Network::from_bytes(&bytes, &ReadOptions { size: None, without_softmax }).unwrap();
        let network = read(true);
        assert_eq!(network.graph().nodes(), graph.nodes());
        assert_eq!(network.graph().outputs()[0].name, graph.outputs()[0].name);
        assert_eq!(network.weights().to_weights().unwrap(), weights);
        assert_eq!(network.manifest().unwrap(), Manifest { graph: network.graph().clone(), ..manifest.clone() });
        assert_eq!(network.size(), [way.size.0 as usize, way.size.1 as usize]);
        assert!(network.inputs()[0].batched);
        // So it can be written as if it had never been in such a file, and as it was.
        for (embeds, expected) in
            [(false, write(&graph, &weights, Some(&manifest), &options(&way, false)).unwrap()), (true, bytes.clone())]
        {
            let again =
                write(network.graph(), &weights, Some(&network.manifest().unwrap()), &options(&way, embeds)).unwrap();
            assert!(again == expected, "{way:?}, {embeds}");
        }
        let kept = read(false);
        assert_eq!((kept.graph().nodes().len(), &kept.outputs()[0].name[..]), (graph.nodes().len() + 1, "softmax"));
    }
}

#[test]
fn what_was_folded_and_has_no_manifest_is_read_as_well() {
    let (graph, way) = (small(), Preprocess { size: (5, 4), ..Preprocess::torchvision() });
    let bytes = |options: &Options| write(&graph, &Weights::reference(&graph), None, options).unwrap();
    let plain = bytes(&Options { size: Some([5, 4]), ..Options::default() });
    let embedded = bytes(&Options { photo: Some(way.clone()), ..Options::default() });
    let read = |bytes| Network::from_bytes(bytes, &ReadOptions::default()).unwrap();
    let (plain, embedded) = (read(&plain), read(&embedded));
    assert_eq!(embedded.graph(), plain.graph());
    assert_eq!(embedded.weights().to_weights().unwrap(), plain.weights().to_weights().unwrap());
    assert_eq!((embedded.inputs(), embedded.outputs()), (plain.inputs(), plain.outputs()));
    assert_eq!(embedded.manifest().unwrap().preprocess, Some(way));
}

/// Why a file is refused that was changed after it was written.
fn refusal(bytes: &[u8], change: impl FnOnce(&mut proto::Model)) -> String {
    let mut model = proto::Model::decode(bytes).unwrap();
    change(&mut model);
    let bytes = model.encode_to_vec();
    let read = Network::from_bytes(&bytes, &ReadOptions::default());
    read.map(|_| ()).expect_err("a file that was changed is refused").to_string()
}

fn graph_of(model: &mut proto::Model) -> &mut proto::Graph {
    model.graph.as_mut().unwrap()
}

#[test]
fn no_node_on_the_way_of_photos_can_be_another() {
    for way in ways().iter().step_by(5) {
        let bytes = written_here(way);
        let nodes = proto::Model::decode(&bytes[..]).unwrap().graph.unwrap().node;
        let way: Vec<&proto::Node> = nodes.iter().take_while(|n| n.name != "stem.conv").collect();
        assert!(way.len() > 50 && way[way.len() - 1].name == "input");
        for (place, node) in way.iter().enumerate() {
            let names = |changed: &str, why: &str, change: &dyn Fn(&mut proto::Node)| {
                let told = refusal(&bytes, |model| change(&mut graph_of(model).node[place]));
                assert!(told.contains(changed) && told.contains(why), "{} {why}: {told}", node.name);
            };
            let own = format!("`{}` ({})", node.name, node.op_type);
            names(&format!("`{}` (Sin) is no {}", node.name, node.op_type), "it says that it prepares photos", &|n| {
                n.op_type = "Sin".into();
            });
            names(&own, "has other attributes", &|n| n.attribute.push(proto::Attribute::int("axis", 1)));
            for attribute in 0..node.attribute.len() {
                names(&own, "has other attributes", &|n| match &mut n.attribute[attribute] {
                    proto::Attribute { i: Some(value), .. } => *value += 1,
                    other => other.ints.reverse(),
                });
            }
            names(&own, "inputs instead of", &|n| n.input.push("photo".into()));
            for input in 0..node.input.len() {
                // Some other value that there is.
                let other = if node.input[input] == "photo" { "stem.norm.bias" } else { "photo" };
                names(&own, &format!("reads `{other}`"), &|n| n.input[input] = other.into());
            }
        }
    }
}

#[test]
fn no_number_on_the_way_of_photos_can_be_another() {
    for way in ways().iter().step_by(5) {
        let bytes = written_here(way);
        let graph = proto::Model::decode(&bytes[..]).unwrap().graph.unwrap();
        let params: Vec<String> = small().params().iter().map(|p| p.name.clone()).collect();
        let mut tensors = 0;
        for (place, tensor) in graph.initializer.iter().enumerate().filter(|(_, t)| !params.contains(&t.name)) {
            tensors += 1;
            let why = format!("reads `{}`, which has other numbers", tensor.name);
            let reader = graph.node.iter().find(|n| n.input.contains(&tensor.name)).unwrap();
            let named = |change: &dyn Fn(&mut proto::Tensor)| {
                let told = refusal(&bytes, |model| change(&mut graph_of(model).initializer[place]));
                assert!(told.contains(&why) && told.contains(&format!("`{}`", reader.name)), "{why}: {told}");
            };
            named(&|t| *t.raw_data.last_mut().unwrap() ^= 1);
            named(&|t| t.dims.push(1));
            // Another type of as many bytes.
            named(&|t| {
                t.data_type = match t.data_type {
                    Some(proto::INT64) => Some(proto::DOUBLE),
                    Some(proto::DOUBLE) => Some(proto::INT64),
                    _ => Some(6),
                }
            });
        }
        assert!(tensors > 20);
    }
}

#[test]
fn nothing_else_can_be_another_either() {
    let way = &ways()[0];
    let bytes = written_here(way);
    let refused = |why: &str, change: &dyn Fn(&mut proto::Model)| {
        let told = refusal(&bytes, change);
        assert!(told.contains(why), "{why}: {told}");
    };
    let says = |model: &mut proto::Model, preprocess: &str| {
        let fact = model.metadata_props.iter_mut().find(|e| e.key == "cspnet.embedded_preprocess").unwrap();
        fact.value = preprocess.into();
    };
    // What the file says and what it does are held against each other, too.
    let other = Preprocess { mean: [0.5; 3], ..way.clone() };
    refused("`input` (Add) reads `input.shift`, which has other numbers", &|model| {
        says(model, &serde_json::to_string(&other).unwrap());
    });
    refused("its fact `cspnet.embedded_preprocess`: expected value", &|model| says(model, "?"));
    let large = Preprocess { size: (u32::MAX, u32::MAX), ..way.clone() };
    refused("size", &|model| says(model, &serde_json::to_string(&large).unwrap()));
    // A node that is left out, one that is put in, one that reads what is left out, and an end before the end.
    refused("reads the value `preprocess.shape`, which there is not", &|model| drop(graph_of(model).node.remove(0)));
    refused("`twice` (Relu) is no Shape", &|model| {
        let node = proto::Node { input: vec!["photo".into()], output: vec!["twice".into()], ..proto::Node::default() };
        graph_of(model).node.insert(0, proto::Node { op_type: "Relu".into(), ..node });
    });
    for value in ["photo", "preprocess.shape"] {
        refused(&format!("`pool` (GlobalAveragePool) reads the value `{value}`, which there is not"), &|model| {
            let pool = graph_of(model).node.iter_mut().find(|n| n.name == "pool").unwrap();
            pool.input[0] = value.into();
        });
    }
    refused("node 20 is not there", &|model| {
        let graph = graph_of(model);
        graph.node.truncate(20);
        graph.output[0].name.clone_from(&graph.node[19].name);
    });
    refused("the output `preprocess.shape` is given by nobody", &|model| {
        graph_of(model).output[0].name = "preprocess.shape".into();
    });
    refused("gives 2 values", &|model| graph_of(model).node[3].output.push("more".into()));
    refused("two things give the value", &|model| {
        let graph = graph_of(model);
        graph.node[1].output[0] = graph.node[0].output[0].clone();
    });
    // Photos that are none.
    let tensor = |model: &mut proto::Model, change: &dyn Fn(&mut proto::TensorType)| {
        let graph = model.graph.as_mut().unwrap();
        change(graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap());
    };
    let no_photo = "the input `photo` does not take bytes [batch, height, width, 3]";
    refused(no_photo, &|m| tensor(m, &|t| t.elem_type = Some(proto::FLOAT)));
    refused(no_photo, &|m| tensor(m, &|t| t.shape = None));
    refused(no_photo, &|m| tensor(m, &|t| t.shape.as_mut().unwrap().dim.reverse()));
    refused("the graph has 2 inputs", &|model| {
        let second = proto::ValueInfo { name: "second".into(), ..graph_of(model).input[0].clone() };
        graph_of(model).input.push(second);
    });
    refused("reads the value `photo`, which there is not", &|model| graph_of(model).input.clear());
}

#[test]
fn names_and_a_known_batch_are_no_change() {
    let way = &ways()[0];
    let mut model = proto::Model::decode(&written_here(way)[..]).unwrap();
    let graph = graph_of(&mut model);
    let renamed = |name: &String| format!("a/{name}");
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(|name| *name = renamed(name));
        node.name.clear();
    }
    graph.initializer.iter_mut().for_each(|t| t.name = renamed(&t.name));
    graph.input.iter_mut().chain(&mut graph.output).for_each(|info| info.name = renamed(&info.name));
    let sides = graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape.as_mut().unwrap();
    sides.dim[..3].iter_mut().zip([1, 480, 640]).for_each(|(side, n)| *side = proto::Dimension::known(n));
    let bytes = model.encode_to_vec();
    let network = Network::from_bytes(&bytes, &ReadOptions::default()).unwrap();
    assert_eq!((network.inputs()[0].name.as_str(), network.inputs()[0].sides.as_slice()), ("a/input", &[3, 6, 6][..]));
    assert_eq!(network.manifest().unwrap().preprocess.as_ref(), Some(way));
}

#[test]
fn changed_bytes_are_refused_or_read_but_never_panic() {
    let bytes = written_here(&ways()[0]);
    let mut changed = bytes.clone();
    for place in (0..bytes.len()).step_by(13) {
        changed[place] = [0xFF, 0x00, bytes[place] ^ 1, bytes[place].wrapping_add(8)][place % 4];
        if let Ok(network) = Network::from_bytes(&changed, &ReadOptions::default()) {
            let _ = network.manifest();
        }
        changed[place] = bytes[place];
    }
}

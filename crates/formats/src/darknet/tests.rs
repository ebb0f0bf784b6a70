//! Darknet's files against the published layer tables, and against each other; and what is no such file.

use cspnet_graph::{
    Builder, Conv, Graph, Node, Op, Padding, Rearrange, Resize, ResizeTo, Role, Unary, Weights, Window,
};
use proptest::prelude::*;

use super::dialect::beyond_redmon;
use super::layers::{ACTIVATIONS, Kind, Layer, Parsed, SLOPE};
use super::weights::{Part, to_bytes};
use super::{Header, Network, ORIGINALS, cfg, export, layers, original, write};
use crate::FormatError;

/// Every kind of layer, on small pictures.
const EVERY: &str = "
[net]
width=16
height=16
channels=3
# 0: 8 x 8
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
# 1
[maxpool]
size=3
stride=1
# 2
[convolutional]
filters=8
size=3
groups=4
pad=1
activation=mish
# 3
[shortcut]
from=-3
activation=swish
# 4
[route]
layers=-1,0
groups=2
group_id=1
# 5: 4 x 4
[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
padding=1
activation=relu
# 6: narrower, and every second pixel
[shortcut]
from=3
[batchnorm]
# 8
[activation]
activation=relu6
# 9
[convolutional]
filters=6
activation=linear
# 10: wider
[shortcut]
from=8
activation=leaky
# 11: 8 x 8
[upsample]
stride=2
# 12: 2 x 2
[local_avgpool]
size=4
stride=4
padding=0
[dropout]
probability=.5
# 14: 1 x 1
[connected]
output=9
activation=logistic
[connected]
output=5
activation=linear
[softmax]
groups=1
[cost]
type=sse
";

fn table(name: &str) -> String {
    let path = format!("{}/../../tests/golden/darknet/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn parsed(text: &str) -> Parsed {
    layers::parse(&cfg::sections(text).unwrap()).unwrap()
}

fn name(function: Option<Unary>) -> &'static str {
    function.map_or("linear", |f| ACTIVATIONS.iter().find(|(_, known)| *known == f).unwrap().0)
}

/// A layer as the published tables tell it.
fn told(layer: &Layer, layers: &[Layer], [channels, ..]: [usize; 3]) -> (String, usize) {
    let channels_of = |layer: usize| layers[layer].shape[0];
    match &layer.kind {
        Kind::Convolutional { filters, window, groups, is_normalised, activation } => {
            let (size, stride) = (window.kernel[0], window.stride[0]);
            let form = if *is_normalised { "bn" } else { "bias" };
            let weight = filters * channels / groups * size * size;
            let what = format!("conv {filters} {size}x{size}/{stride} g{groups} {form} {}", name(*activation));
            (what, weight + filters * if *is_normalised { 2 } else { 1 })
        }
        Kind::MaxPool(pool) => (format!("maxpool {}/{} pad{}", pool.size, pool.stride, pool.padding), 0),
        Kind::AvgPool => ("avgpool".into(), 0),
        Kind::Route { layers, groups: 1, .. } => (format!("route {layers:?}"), 0),
        Kind::Route { layers, groups, group } => (format!("route {layers:?} g{groups}/{group}"), 0),
        Kind::Shortcut { from, activation } => {
            (format!("shortcut {from} (ch {}->{channels}) act={}", channels_of(*from), name(*activation)), 0)
        }
        Kind::Upsample { factor } => (format!("upsample {factor}"), 0),
        Kind::Softmax => ("softmax {'groups': '1'}".into(), 0),
        Kind::Cost => ("cost {'type': 'sse'}".into(), 0),
        other => panic!("{other:?} is in no table"),
    }
}

/// All rows of the table, and billions of operations.
fn rows(parsed: &Parsed) -> (Vec<String>, f64) {
    let (mut before, mut rows, mut total) = (parsed.input, Vec::new(), 0.0);
    for (i, layer) in parsed.layers.iter().enumerate() {
        let [c, h, w] = layer.shape;
        let (what, params) = told(layer, &parsed.layers, before);
        let weight = match &layer.kind {
            Kind::Convolutional { filters, is_normalised, .. } => params - filters * if *is_normalised { 2 } else { 1 },
            _ => 0,
        };
        let flops = 2.0 * (weight * h * w) as f64 / 1e9;
        rows.push(format!("{i:4} {what:60} -> {c}x{h}x{w}  p={params} f={flops:.4}"));
        (before, total) = (layer.shape, total + flops);
    }
    (rows, total)
}

#[test]
fn every_layer_table_is_the_published_one() {
    for name in ORIGINALS {
        let golden = table(name);
        let (rows, flops) = rows(&parsed(&original(name).unwrap()));
        let golden: Vec<&str> = golden.lines().collect();
        let (total, layers) = golden.split_last().unwrap();
        assert_eq!(rows.len(), layers.len(), "{name}");
        rows.iter().zip(layers).for_each(|(row, golden)| assert_eq!(row, golden, "{name}"));
        assert!(total.contains(&format!("BFLOPs={flops:.3} ")), "{name}: {flops} in {total}");
    }
    assert_eq!(original("yolov4"), None);
}

#[test]
fn originals_become_graphs_with_their_shapes_and_go_back_to_the_same_layers() {
    for name in ORIGINALS {
        let text = original(name).unwrap();
        let network = Network::parse(&text).unwrap();
        let parsed = parsed(&text);
        let shapes = network.graph.shapes(parsed.input).unwrap();
        for (i, layer) in parsed.layers.iter().enumerate() {
            if let Some(value) = network.graph.value(&format!("module_list.{i}")) {
                assert_eq!(shapes[value], layer.shape, "{name}, layer {i}");
            }
        }
        assert_eq!(shapes[network.graph.output()], [1000, 1, 1], "{name}");
        let floats: usize = network.order.iter().map(|&id| network.graph.params()[id].len()).sum();
        let total = table(name);
        assert!(total.contains(&format!("TOTAL params={} ", network.graph.param_count())), "{name}");
        assert!(total.contains(&format!("weights_floats={floats} file_bytes(20B hdr)={}", 20 + 4 * floats)), "{name}");

        let (again, parts) = export::layers(&network.graph, network.size).unwrap();
        let written = parts.iter().map(|part| match part {
            &Part::Param(id) | &Part::Variance { id, .. } => id,
            Part::Given(_) => panic!("{name} has numbers for all layers"),
        });
        assert_eq!(written.collect::<Vec<_>>(), network.order, "{name}");
        let is_computed = |row: &String| !row.contains(" cost ");
        // A pooling that fits says so instead of padding beyond the end.
        let comparable = |text: &str| -> Vec<String> {
            let rows = rows(&self::parsed(text)).0.into_iter().filter(is_computed);
            rows.map(|row| row.replace("maxpool 2/2 pad1 ", "maxpool 2/2 pad0 ")).collect()
        };
        assert_eq!(comparable(&again), comparable(&text), "{name}");
        assert_eq!(beyond_redmon(&self::parsed(&again)), beyond_redmon(&parsed), "{name}");
        let is_later = ["elastic", "omega"].iter().any(|variant| name.ends_with(variant));
        assert_eq!(beyond_redmon(&parsed).is_empty(), !is_later, "{name}");
    }
}

#[test]
fn what_cannot_be_run_is_told_at_once_with_its_lines() {
    let text = "[net]\nwidth=8\nheight=7\n[maxpool]\npadding=9\n[yolo]\n[convolutional]\nactivation=selu\n[softmax]\n\
        groups=2\n[upsample]\nscale=2";
    let all = Network::parse(text).unwrap_err().to_string();
    for place in ["line 4: [maxpool] pads by 9", "line 6: [yolo]", "line 7: [convolutional] with the activation `selu`"]
    {
        assert!(all.contains(place), "{place}: {all}");
    }
    assert!(all.contains("line 9: [softmax] with") && all.contains("line 11: [upsample] with `scale`"), "{all}");
    let behind = "[net]\nwidth=8\nheight=8\n[softmax]\n[convolutional]\nactivation=relu";
    assert!(Network::parse(behind).unwrap_err().to_string().contains("line 5: [convolutional] behind [softmax]"));
}

#[test]
fn every_layer_becomes_part_of_the_graph() {
    let network = Network::parse(EVERY).unwrap();
    let parsed = parsed(EVERY);
    let shapes = network.graph.shapes([3, 16, 16]).unwrap();
    for (i, layer) in parsed.layers.iter().enumerate().take(16) {
        let value = network.graph.value(&format!("module_list.{i}")).unwrap();
        assert_eq!(shapes[value], layer.shape, "layer {i}");
    }
    assert_eq!(network.graph.channels(network.graph.output()), 5);
    let by_hand = (8 * 27 + 16) + (8 * 2 * 9 + 8) + (12 * 8 * 9 + 24) + 24 + (6 * 12 + 6) + (9 * 24 + 9) + (5 * 9 + 5);
    assert_eq!(network.graph.param_count(), by_hand);
    let roles: Vec<Role> = network.order.iter().map(|&id| network.graph.params()[id].role).collect();
    let first = [Role::NormShift, Role::NormScale, Role::RunningMean, Role::RunningVariance, Role::Weight];
    assert_eq!(roles[..7], [&first[..], &[Role::Bias, Role::Weight]].concat());
}

/// A file's numbers, all different.
fn numbers(network: &Network) -> Vec<u8> {
    let floats: usize = network.order.iter().map(|&id| network.graph.params()[id].len()).sum();
    (0..floats).flat_map(|i| (i as f32 * 0.37 - 5.0).to_le_bytes()).collect()
}

fn file(version: [u32; 3], seen: &[u8], numbers: &[u8]) -> Vec<u8> {
    [&version.map(u32::to_le_bytes).concat(), seen, numbers].concat()
}

#[test]
fn weights_come_back_to_the_byte_with_both_headers() {
    let network = Network::parse(EVERY).unwrap();
    let parts: Vec<Part> = network.order.iter().map(|&id| Part::Param(id)).collect();
    for (version, seen, told) in [
        ([0, 1, 0], &[7, 1, 0, 0][..], 263),
        ([0, 2, 0], &[1, 0, 0, 0, 1, 0, 0, 0], (1 << 32) + 1),
        ([0, 2, 5], &[0; 8], 0),
        ([1, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0], 9),
    ] {
        let bytes = file(version, seen, &numbers(&network));
        let (weights, header) = network.read_weights_bytes(&bytes).unwrap();
        assert_eq!(header, Header { version, seen: told });
        assert_eq!(to_bytes(&parts, &weights, &header, 1e-5).unwrap(), bytes);
        // The first numbers are the shifts of the first normalisation.
        let shift = network.graph.params().iter().position(|p| p.name == "module_list.0.BatchNorm2d.bias").unwrap();
        assert_eq!(weights.get(shift)[..2], [-5.0, 0.37 - 5.0]);
    }
    let (weights, header) = network.read_weights_bytes(&file([0, 2, 0], &[0; 8], &numbers(&network))).unwrap();
    assert!(to_bytes(&parts, &weights, &Header { version: [0, 1, 0], seen: 1 << 32 }, 1e-5).is_err());
    // From disk, by a written network.
    let written = write(&network.graph, &weights, network.size, header).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (text, numbers) = (dir.path().join("n.cfg"), dir.path().join("n.weights"));
    std::fs::write(&text, &written.cfg).unwrap();
    std::fs::write(&numbers, &written.weights).unwrap();
    let again = Network::read(&text).unwrap();
    let (same, same_header) = again.read_weights(&numbers).unwrap();
    assert_eq!(same_header, header);
    // Layers may have other names, never other numbers.
    let in_order = |n: &Network, w: &Weights| n.order.iter().map(|&id| w.get(id).to_vec()).collect::<Vec<_>>();
    assert_eq!(in_order(&again, &same), in_order(&network, &weights));
    assert!(Network::read(dir.path()).is_err());
}

#[test]
fn weights_of_another_length_and_other_files_are_refused() {
    let network = Network::parse(EVERY).unwrap();
    let good = file([0, 2, 5], &[0; 8], &numbers(&network));
    assert!(network.read_weights_bytes(&good).is_ok());
    for len in 0..good.len() {
        let error = network.read_weights_bytes(&good[..len]).unwrap_err();
        assert!(matches!(error, FormatError::DarknetWeights(_)), "{len}: {error}");
    }
    let cut = network.read_weights_bytes(&good[..40]).unwrap_err().to_string();
    assert!(cut.contains("module_list.0.BatchNorm2d.bias"), "{cut}");
    let longer = network.read_weights_bytes(&[&good[..], &[0]].concat()).unwrap_err().to_string();
    assert!(longer.contains("1 of"), "{longer}");
    for (at, value) in
        [(0, 1001_u32), (4, u32::MAX), (24, f32::NAN.to_bits()), (good.len() - 4, f32::INFINITY.to_bits())]
    {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        assert!(network.read_weights_bytes(&bad).is_err(), "{at}");
    }
    // Sixteen gigabytes of weights take no memory before there is a file of them.
    let large = "[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=65536\nactivation=relu\n[convolutional]\nfilters=65536\nactivation=relu";
    let error = Network::parse(large).unwrap().read_weights_bytes(&good).unwrap_err().to_string();
    assert!(error.contains("ends before or within"), "{error}");
}

#[test]
fn hostile_texts_are_refused_with_their_place() {
    let net = "[net]\nwidth=8\nheight=8\n";
    for (rest, place) in [
        ("[convolutional]\nfilters=2147483647\nactivation=relu", "line 4"),
        ("[convolutional]\nfilters=2147483648", "line 5"),
        ("[convolutional]\nfilters=0", "line 5"),
        ("[convolutional]\nsize=0", "line 5"),
        ("[convolutional]\nstride=0", "line 5"),
        ("[convolutional]\nsize=9", "line 4"),
        ("[convolutional]\npadding=2147483647\nactivation=relu", "line 4"),
        ("[convolutional]\nsize=5000\npadding=2500\nactivation=relu", "module_list.0"),
        ("[convolutional]\ndilation=2147483647\npadding=2147483647\nactivation=relu", "line 4"),
        ("[convolutional]\ngroups=3\nfilters=4", "line 4"),
        ("[connected]\noutput=2147483647\nactivation=relu", "module_list.0"),
        ("[maxpool]\nsize=2147483647\nstride=2147483647", "module_list.0"),
        ("[maxpool]\npadding=2147483647", "line 4"),
        ("[route]\nlayers=-1", "line 5"),
        ("[avgpool]\n[route]\nlayers=-2", "line 6"),
        ("[avgpool]\n[route]\nlayers=1", "line 6"),
        ("[avgpool]\n[route]\nlayers=", "line 6"),
        ("[avgpool]\n[route]\nlayers=0,-9223372036854775808", "line 6"),
        ("[avgpool]\n[route]\n", "line 5"),
        ("[avgpool]\n[route]\nlayers=0\ngroups=2", "line 5"),
        ("[avgpool]\n[route]\nlayers=0\ngroups=3\ngroup_id=3", "line 8"),
        ("[shortcut]\nfrom=-1", "line 5"),
        ("[avgpool]\n[shortcut]\nfrom=7", "line 6"),
        ("[upsample]\nstride=2147483647", "line 4"),
        ("[dropout]\nprobability=1", "line 5"),
        ("[dropout]\nprobability=nan", "line 5"),
        ("[convolutional]\nactivation=\u{1b}[2J", "\\u{1b}"),
    ] {
        let error = Network::parse(&format!("{net}{rest}")).unwrap_err().to_string();
        assert!(error.contains(place), "{rest:?}: {error}");
    }
    for text in ["", "[convolutional]", "[net]\nwidth=8\nheight=8", "[net]\nwidth=9999\nheight=8\n[avgpool]", "\u{0}"] {
        assert!(Network::parse(text).is_err(), "{text:?}");
    }
    let many = format!("{net}[avgpool]\n[route]\nlayers={}0", "0,".repeat(70_000));
    assert!(Network::parse(&many).unwrap_err().to_string().contains("too many routes"));
    // Concatenations of concatenations double at every step.
    let doubling = format!("{net}[avgpool]\n{}", "[route]\nlayers=-1,-1\n".repeat(80));
    assert!(Network::parse(&doubling).unwrap_err().to_string().contains("shape"), "doubling");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(cuts in prop::collection::vec((0..EVERY.len(), 0..EVERY.len(), "[-=,0-9\\[\\]#a-z\n]{0,4}"), 1..6)) {
        let mut text = EVERY.to_owned();
        for (a, b, new) in cuts {
            let (a, b) = (a.min(text.len()), b.min(text.len()));
            text.replace_range(a.min(b)..a.max(b).min(a.min(b) + 12), &new);
        }
        if let Ok(network) = Network::parse(&text)
            && let Ok((again, _)) = export::layers(&network.graph, network.size)
        {
            prop_assert!(Network::parse(&again).is_ok(), "{}", again);
        }
    }
}

/// A network that PyTorch might have, as Darknet has it.
fn again(graph: &Graph) -> (Network, Vec<Part>) {
    again_of(graph, [16, 16])
}

fn again_of(graph: &Graph, size: [usize; 2]) -> (Network, Vec<Part>) {
    let (text, parts) = export::layers(graph, size).unwrap();
    (Network::parse(&text).unwrap(), parts)
}

#[test]
fn other_networks_are_written_with_what_darknet_has() {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(12, 6).stride(2).padding(2));
    let x = b.unary("act", x, Unary::Silu);
    let across = b.slice("across", x, 0, 3);
    let part = b.slice("part", x, 3, 9);
    let part = b.batch_norm("norm", part);
    let part = b.unary("relu", part, Unary::Relu);
    let part = b.avg_pool("pool", part, Window::square(1, 1, 0));
    let x = b.concat("merge", &[across, part]);
    let x = b.push("twice", Op::Resize(Resize { to: ResizeTo::Size([16, 16]), ..Resize::repeat(2) }), &[x]);
    let x = b.global_avg_pool("gap", x);
    let x = b.push("same", Op::Rearrange(Rearrange::flatten([12, 1, 1])), &[x]);
    let x = b.linear("fc", x, 4);
    let graph = b.finish(x).unwrap();
    let (network, parts) = again(&graph);
    assert_eq!(network.graph.shapes([3, 16, 16]).unwrap().last(), Some(&[4, 1, 1]));
    // A convolution without bias or normalisation has one of zeros.
    assert_eq!(parts[0], Part::Given(vec![0.0; 12]));
    let written = write(&graph, &Weights::reference(&graph), [16, 16], Header::default()).unwrap();
    assert_eq!(written.beyond_redmon, ["[batchnorm]", "[local_avgpool]", "grouped routes", "swish"]);
    let (weights, _) = network.read_weights_bytes(&written.weights).unwrap();
    let id = |graph: &Graph, name: &str| graph.params().iter().position(|p| p.name == name).unwrap();
    let theirs = weights.get(id(&network.graph, "module_list.0.Conv2d.weight"));
    assert_eq!(theirs, Weights::reference(&graph).get(id(&graph, "conv.weight")));

    let normalised = cspnet_graph::rewrite::with_normalise(&graph, &[0.5; 3], &[0.25; 3]).unwrap();
    let parts = again(&normalised).1;
    let diagonal = vec![4.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 4.0];
    assert_eq!(parts[..2], [Part::Given(vec![-2.0; 3]), Part::Given(diagonal)]);
}

/// Both Darknets are told apart where they would answer otherwise: Redmon's skips no pixels before a 1x1 convolution.
#[test]
fn what_redmons_darknet_does_otherwise_is_told() {
    for (kernel, stride, told) in [(1, 2, &["1x1 convolutions with a stride"][..]), (1, 1, &[]), (3, 2, &[])] {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(4, kernel).stride(stride));
        let graph = b.finish(x).unwrap();
        let written = write(&graph, &Weights::reference(&graph), [16, 16], Header::default()).unwrap();
        assert_eq!(written.beyond_redmon, told, "{kernel} {stride}");
    }
}

/// Variances are written so that with what each Darknet adds to them they are the network's, whatever that adds itself.
#[test]
fn normalisations_have_what_their_darknet_adds() {
    for (act, eps) in [(Unary::LeakyRelu { slope: SLOPE }, 1e-6), (Unary::Mish, 1e-5)] {
        for own in [1e-3, 1e-5, 1e-6, 1e-9] {
            let mut b = Builder::new();
            let x = b.input(3);
            let x = b.conv("conv", x, Conv::new(4, 3));
            let x = b.push("bn", Op::BatchNorm { eps: own, momentum: 0.1 }, &[x]);
            let x = b.unary("act", x, act);
            let graph = b.finish(x).unwrap();
            let mut weights = Weights::reference(&graph);
            let id = graph.params().iter().position(|p| p.role == Role::RunningVariance).unwrap();
            weights.get_mut(id).copy_from_slice(&[0.5, 1.0, 1e-4, 2e-5]);
            let written = write(&graph, &weights, [16, 16], Header::default()).unwrap();
            let read = Network::parse(&written.cfg).unwrap();
            let is_norm = |node: &&Node| matches!(node.op, Op::BatchNorm { .. });
            let norm = read.graph.nodes().iter().find(is_norm).unwrap();
            assert!(matches!(norm.op, Op::BatchNorm { eps: of_read, .. } if of_read == eps), "{act:?}");
            let (theirs, _) = read.read_weights_bytes(&written.weights).unwrap();
            for (&theirs, &ours) in theirs.get(norm.params[3]).iter().zip(weights.get(id)) {
                let (theirs, ours) = (f64::from(theirs) + eps, f64::from(ours) + own);
                assert!((theirs / ours - 1.0).abs() < 1e-6, "{own}: {theirs} for {ours}");
            }
            assert!(own != eps || theirs.get(norm.params[3]) == weights.get(id));
            weights.get_mut(id)[0] = 1e-8;
            let is_written = write(&graph, &weights, [16, 16], Header::default()).is_ok();
            assert_eq!(is_written, own >= eps, "{own}, {act:?}");
        }
    }
}

#[test]
fn poolings_of_even_size_reach_beyond_the_last_row_where_darknets_do() {
    for (stride, shape, after) in [(2, [1, 2, 3], 1), (1, [1, 4, 5], 1), (4, [1, 1, 2], 1), (3, [1, 2, 2], 1)] {
        let text = format!("[net]\nwidth=5\nheight=4\nchannels=1\n[maxpool]\nsize=2\nstride={stride}\n");
        let network = Network::parse(&text).unwrap();
        assert_eq!(network.graph.shapes([1, 4, 5]).unwrap()[1], shape, "stride {stride}");
        let Op::Pool { window, .. } = network.graph.node(1).op else { panic!("no pooling") };
        assert_eq!(window.padding, Padding { before: [0; 2], after: [after; 2] }, "stride {stride}");
        let again = again_of(&network.graph, [4, 5]).0;
        assert_eq!(again.graph, network.graph);
    }
    let even = Network::parse("[net]\nwidth=6\nheight=4\n[maxpool]\nstride=2\n").unwrap().graph;
    assert!(matches!(even.node(1).op, Op::Pool { window, .. } if window == Window::square(2, 2, 0)));
}

#[test]
fn what_darknet_cannot_say_is_refused_by_name() {
    let told = |body: &dyn Fn(&mut Builder, cspnet_graph::Value) -> cspnet_graph::Value| {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = body(&mut b, x);
        let graph = b.finish(x).unwrap();
        write(&graph, &Weights::reference(&graph), [16, 16], Header::default()).unwrap_err().to_string()
    };
    let slope = told(&|b, x| b.unary("act", x, Unary::LeakyRelu { slope: 0.01 }));
    assert!(slope.starts_with("act cannot") && slope.contains("slope is 0.01"), "{slope}");
    assert!(told(&|b, x| b.multiply("gate", x, x)).starts_with("gate cannot"));
    assert!(told(&|b, x| b.avg_pool("pool", x, Window::square(3, 2, 1))).contains("padding counts"));
    let wide = Window { kernel: [1, 3], ..Window::square(3, 1, 0) };
    assert!(told(&|b, x| b.max_pool("pool", x, wide)).contains("not square"));
    let pads = |before, after| Padding { before: [before; 2], after: [after; 2] };
    let before = Window { padding: pads(1, 0), ..Window::square(3, 1, 0) };
    assert!(told(&|b, x| b.max_pool("pool", x, before)).contains("more on one side"));
    let behind = Op::Conv { out: 3, window: Window { padding: pads(0, 1), ..before }, groups: 1, bias: true };
    assert!(told(&|b, x| b.push("conv", behind.clone(), &[x])).contains("more on one side"));
    let up = Window { ceil: true, ..Window::square(3, 2, 0) };
    assert!(told(&|b, x| b.max_pool("pool", x, up)).contains("rounds its size up"));
    let sized = Resize { to: ResizeTo::Size([20, 20]), ..Resize::repeat(2) };
    assert!(told(&|b, x| b.push("resized", Op::Resize(sized), &[x])).starts_with("resized cannot"));
    let flat = told(&|b, x| b.push("flat", Op::Rearrange(Rearrange::flatten([3, 16, 16])), &[x]));
    assert!(flat.starts_with("flat cannot") && flat.contains("no such layer"), "{flat}");
    let repeated = told(&|b, x| {
        let x = b.conv("conv1", x, Conv::new(3, 3));
        let mean = b.global_avg_pool("mean", x);
        b.add("sum", x, mean)
    });
    assert!(repeated.starts_with("sum cannot") && repeated.contains("repeated"), "{repeated}");
    let twice = told(&|b, x| {
        let y = b.conv("conv1", x, Conv::new(3, 3));
        b.add("sum", y, x)
    });
    assert!(twice.starts_with("sum cannot") && twice.contains("picture"), "{twice}");
}

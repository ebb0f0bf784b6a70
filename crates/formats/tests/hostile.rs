//! Files that mean harm, of every kind but PyTorch's: an error that names the place, and little memory. All are made here.

mod common;

use common::{graph, refusal_of};
use cspnet_formats::darknet::Network;
use cspnet_formats::{Manifest, ModelFile, OpenModel, StateFile, TimmConfig, read_published, read_published_bytes};
use cspnet_graph::{Builder, Conv, Weights};

fn model() -> ModelFile {
    let mut manifest = Manifest::new("small", graph());
    manifest.labels = vec!["cat".into(), "dog".into()];
    ModelFile { weights: Weights::reference(&manifest.graph), manifest }
}

/// A safetensors file with this header, of which the length may lie.
fn file(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

fn tensor(name: &str, dtype: &str, shape: &str, from: u64, to: u64) -> String {
    format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}")
}

/// Every reader of safetensors refuses a file, for this reason.
fn refused(bytes: &[u8], reason: &str) {
    let graph = graph();
    let all = [
        refusal_of(bytes.len(), || read_published_bytes(bytes, &graph)),
        refusal_of(bytes.len(), || ModelFile::read_bytes(bytes)),
        refusal_of(bytes.len(), || OpenModel::from_bytes(bytes)),
        refusal_of(bytes.len(), || StateFile::read_bytes(bytes)),
    ];
    for error in all {
        assert!(error.contains(reason), "{error}\ninstead of: {reason}");
    }
}

#[test]
fn headers_whose_length_lies_are_refused() {
    let header = format!("{{{}}}", tensor("conv.weight", "F32", "[2,3,1,1]", 0, 24));
    let sound = file(header.as_bytes(), &[0; 24]);
    assert!(read_published_bytes(&sound, &graph()).is_ok());
    let len = sound.len() as u64;
    // Beginnings that are no header's are told apart before the length is believed.
    for claim in [1 << 63, u64::MAX, len + 1, len, len - 7, (8 << 20) + 1, 100_000_000] {
        let mut bytes = sound.clone();
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        refused(&bytes, &format!("its header would have {claim} bytes"));
    }
    for claim in [0, 1, 2, header.len() as u64 - 1, header.len() as u64 + 1] {
        let mut bytes = sound.clone();
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        refused(&bytes, "not a sound safetensors file");
    }
    for len in 0..8 {
        refused(&sound[..len], "too short for a header");
    }
}

#[test]
fn tensors_that_overlap_leave_holes_or_lie_backwards_are_refused() {
    let two = |a: (u64, u64), b: (u64, u64)| {
        let shape = |(from, to): (u64, u64)| format!("[{}]", to.wrapping_sub(from) / 4);
        let [a, b] = [("a", a), ("b", b)].map(|(name, at)| tensor(name, "F32", &shape(at), at.0, at.1));
        file(format!("{{{a},{b}}}").as_bytes(), &[0; 24])
    };
    for (a, b) in [
        ((0, 8), (4, 12)),
        ((0, 8), (16, 24)),
        ((8, 0), (8, 24)),
        ((0, 24), (0, 24)),
        ((4, 12), (12, 24)),
        ((0, u64::MAX), (0, 8)),
    ] {
        refused(&two(a, b), "not a sound safetensors file");
    }
    // More or fewer bytes than the header says.
    let one = format!("{{{}}}", tensor("a", "F32", "[6]", 0, 24));
    for bytes in [23, 25, 0] {
        refused(&file(one.as_bytes(), &vec![0; bytes]), "its length is not the one that its header says");
    }
}

#[test]
fn sizes_that_overflow_and_headers_that_are_none_are_refused() {
    let huge = u64::MAX;
    for (shape, from, to) in [
        (format!("[{huge},{huge}]"), 0, 24),
        (format!("[{},4]", 1_u64 << 62), 0, 0),
        ("[4611686018427387904]".to_owned(), 0, 0),
        ("[-1]".to_owned(), 0, 24),
        ("[1e3]".to_owned(), 0, 24),
        ("[6.0]".to_owned(), 0, 24),
        ("[18446744073709551616]".to_owned(), 0, 24),
        ("[6]".to_owned(), 0, u64::MAX),
        ("[7]".to_owned(), 0, 24),
        (format!("[{}]", vec!["1"; 17].join(",")), 0, 4),
    ] {
        refused(
            &file(format!("{{{}}}", tensor("a", "F32", &shape, from, to)).as_bytes(), &[0; 24]),
            "not a sound safetensors",
        );
    }
    for header in [
        &b"{"[..],
        b"{\"a\":",
        b"{\"a\":null}",
        b"{\"a\":{\"dtype\":\"F33\",\"shape\":[6],\"data_offsets\":[0,24]}}",
        b"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,24]}}",
        b"{\"a\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24,48]}}",
        b"{\"__metadata__\":{\"a\":1}}",
        b"{\"__metadata__\":[]}",
        b"{\"\xff\xfe\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}",
        b"{\"__metadata__\":{\"a\":\"\xc3\x28\"}}",
    ] {
        refused(&file(header, &[0; 24]), "not a sound safetensors file");
    }
    // The place is told.
    refused(&file(b"{\"a\":null}", &[0; 24]), "line 1 column 9");
}

#[test]
fn headers_of_many_things_take_no_memory() {
    let open = |piece: &str, count: usize| format!("{{\"a\":{}", piece.repeat(count));
    let many = |entry: &dyn Fn(usize) -> String, count: usize| {
        format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","))
    };
    let (first, all) = (|i: usize| tensor(&format!("weight_{i}"), "F32", "[200,200]", 0, 160_000), 70_000);
    let texts = |i: usize| format!("\"{i}\":\"\"");
    let long = "x".repeat(600);
    for (header, reason) in [
        // A hundred megabytes, and as many as are read.
        (open("[", 100 << 20), "its header would have 104857605 bytes"),
        (open("[", 8_000_000), "not a sound safetensors file"),
        (open("{\"a\":", 1_500_000), "not a sound safetensors file"),
        (format!("{{{}", tensor("a", "F32", &format!("[{}", "1,".repeat(4_000_000)), 0, 4)), "more than 16 dimensions"),
        (many(&first, all), "more than 65536 tensors"),
        (format!("{{\"__metadata__\":{}}}", many(&texts, 500_000)), "more than 4096 texts"),
        (format!("{{{}}}", tensor(&long, "F32", "[6]", 0, 24)), "a name of 600 bytes"),
        (format!("{{\"__metadata__\":{{\"a\":\"{}\"}}}}", "\\n".repeat(4_000_000)), "its length is not"),
    ] {
        refused(&file(header.as_bytes(), &[0; 24]), reason);
    }
}

#[test]
fn every_cut_of_a_model_is_refused() {
    let bytes = model().to_bytes().unwrap();
    assert!(bytes.len() < 4096 && ModelFile::read_bytes(&bytes).is_ok());
    for len in 0..bytes.len() {
        let error = refusal_of(len, || ModelFile::read_bytes(&bytes[..len]));
        assert!(error.contains("not a sound safetensors file"), "{len}: {error}");
    }
    // As long as it should be, with an end of zeros: written by a machine that went down.
    for kept in (0..bytes.len() - 24).chain([bytes.len() - 8]) {
        let mut zeros = bytes.clone();
        zeros[kept..].fill(0);
        refusal_of(bytes.len(), || ModelFile::read_bytes(&zeros));
    }
}

/// What comes with safetensors as its attacks on itself.
#[test]
fn the_three_attacks_of_safetensors_on_itself_are_refused() {
    let header = format!("{{{}}}", tensor("weight", "F32", "[2,2]", 0, 16));
    let mut longer = file(header.as_bytes(), &[0; 16]);
    longer[..8].copy_from_slice(&1000_u64.to_le_bytes());
    refused(&longer, "its header would have 1000 bytes");
    // Ten million tensors, and so many bytes as they have a header: a file with a hole, which takes no room on the disk.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many.safetensors");
    let len = 787_777_801_u64;
    let begin = tensor("weight_0", "F32", "[2,2]", 0, 16);
    std::fs::write(&path, [&len.to_le_bytes()[..], b"{", begin.as_bytes()].concat()).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(8 + 2 * len).unwrap();
    for error in [
        refusal_of(1 << 20, || read_published(&path, &graph())),
        refusal_of(1 << 20, || ModelFile::read(&path)),
        refusal_of(1 << 20, || StateFile::read(&path)),
    ] {
        assert!(
            error.contains("its header would have 787777801 bytes") && error.contains("many.safetensors"),
            "{error}"
        );
    }
    // Many that lie in the same bytes.
    let entry = |i: usize| tensor(&format!("weight_{i}"), "F32", "[200,200]", 0, 160_000);
    let many = (0..60_000).map(entry).collect::<Vec<_>>().join(",");
    refused(&file(format!("{{{many}}}").as_bytes(), &vec![0; many.len()]), "not a sound safetensors file");
}

/// Each byte of the beginning, and each hundredth of the rest.
#[test]
fn every_cut_of_a_larger_file_is_refused() {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("stem", x, Conv::new(64, 7));
    let x = b.batch_norm("norm", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 100);
    let graph = b.finish(x).unwrap();
    let weights = Weights::reference(&graph);
    let bytes = ModelFile { manifest: Manifest::new("small", graph.clone()), weights }.to_bytes().unwrap();
    assert!(bytes.len() > 60_000 && read_published_bytes(&bytes, &graph).is_ok());
    for len in (0..4096).chain((1..100).map(|hundredth| bytes.len() * hundredth / 100)) {
        refused(&bytes[..len], "not a sound safetensors file");
    }
}

#[test]
fn numbers_that_are_none_are_named() {
    for (dtype, size, infinite) in [
        ("F32", 4, &f32::INFINITY.to_le_bytes()[..]),
        ("F32", 4, &f32::NAN.to_le_bytes()),
        ("F16", 2, &[0, 0x7C]),
        ("BF16", 2, &[0x80, 0x7F]),
        ("F64", 8, &1e300_f64.to_le_bytes()),
    ] {
        let header = format!("{{{}}}", tensor("conv.weight", dtype, "[2,3,1,1]", 0, 6 * size));
        let mut data = vec![0; 6 * size as usize];
        data[..infinite.len()].copy_from_slice(infinite);
        let bytes = file(header.as_bytes(), &data);
        let error = refusal_of(bytes.len(), || read_published_bytes(&bytes, &graph()));
        assert!(error.contains("conv.weight does not hold finite real numbers"), "{error}");
    }
}

/// A model file with this manifest and no tensors, whose hash is wrong.
fn with_manifest(manifest: &str) -> Vec<u8> {
    let quoted = serde_json::to_string(manifest).unwrap();
    file(format!("{{\"__metadata__\":{{\"cspnet\":{quoted},\"cspnet.sha256\":\"0\"}}}}").as_bytes(), &[])
}

#[test]
fn manifests_of_many_things_take_no_memory() {
    let sound = serde_json::to_string(&model().manifest).unwrap();
    // The field stands there twice, and the first time with this value.
    let refusal = |field: &str, value: &str| {
        let bytes =
            with_manifest(&sound.replacen(&format!("\"{field}\":"), &format!("\"{field}\":{value},\"{field}\":"), 1));
        refusal_of(bytes.len(), || ModelFile::read_bytes(&bytes))
    };
    let list = |entry: &str, count: usize| format!("[{}{entry}]", format!("{entry},").repeat(count - 1));
    let map = |count: usize| format!("{{{}}}", (0..count).map(|i| format!("\"{i}\":0")).collect::<Vec<_>>().join(","));
    for value in
        [list("\"\"", 700_000), list("{\"a\":0}", 100_000), list("[]", 300_000), map(300_000), "[".repeat(4_000_000)]
    {
        for field in ["labels", "training", "graph", "network"] {
            let error = refusal(field, &value);
            assert!(error.contains("more than 524288 values"), "{field}: {error}");
        }
    }
    // Almost as many as are taken.
    let input = "{\"path\":\"\",\"op\":\"concat\",\"inputs\":[0]}";
    let graph =
        |nodes: &str, modules: &str| format!("{{\"nodes\":{nodes},\"params\":[],\"modules\":{modules},\"output\":0}}");
    for (field, value) in [
        ("labels", list("\"\"", 500_000)),
        ("training", format!("{{\"a\":{}}}", list("{\"a\":0}", 45_000))),
        ("training", format!("{{\"a\":{}}}", list("[]", 250_000))),
        ("training", map(250_000)),
        ("graph", graph(&list(input, 30_000), "{}")),
        ("graph", graph("[]", &map(250_000))),
        ("graph", graph(&format!("[{}]", input.replace("[0]", &list("0", 500_000))), "{}")),
    ] {
        let error = refusal(field, &value);
        assert!(error.contains("manifest cannot be used"), "{field}: {error}");
    }
}

#[test]
fn configurations_of_timm_that_mean_harm_are_refused() {
    for (text, reason) in [
        ("[".repeat(1 << 20), "more than 524288 values"),
        ("[".repeat(1 << 10), "not a `config.json` of timm"),
        (" ".repeat((4 << 20) + 1), "more than 4194304 bytes"),
        (format!("{{\"label_names\":[{}\"\"]}}", "\"\",".repeat(1 << 20)), "more than 524288 values"),
        (format!("{{\"a\":[{}0]}}", "0,".repeat(500_000)), "names no `architecture`"),
        ("{\"architecture\":\"\\u001b[2J\",\"input_size\":[1,8,8]}".into(), "U+001B"),
        ("{\"architecture\":\"a\",\"input_size\":[3,8]}".into(), "not a `config.json` of timm"),
        ("{\"architecture\":\"a\",\"input_size\":[3,99999999999,99999999999],\"interpolation\":\"bilinear\",\"crop_pct\":1}".into(), "timm"),
    ] {
        let error = refusal_of(text.len(), || TimmConfig::from_json(&text));
        assert!(error.contains(reason), "{error}\ninstead of: {reason}");
    }
}

#[test]
fn texts_that_are_no_networks_of_darknet_are_refused_with_the_line() {
    let net = "[net]\nwidth=8\nheight=8\n";
    for (text, place) in [
        ("<!DOCTYPE html>\n<html lang=\"en\"><body>404</body></html>".to_owned(), "line 1: neither"),
        ("<html lang=\"en\">".to_owned(), "line 1: an option before"),
        ("[convolutional]\nfilters=8".to_owned(), "line 1: a network begins with the section [net]"),
        (format!("{net}[convolutional]\nfilters=1000000000"), "line 4: [convolutional] gives a value of shape"),
        (format!("{net}[convolutional]\nstride=-1"), "line 5: `stride=-1` is not a whole number"),
        (format!("{net}[avgpool]\n[route]\nlayers=1"), "line 6: `layers=1` names no layer before this one"),
        (format!("{net}[avgpool]\n[route]\nlayers=99"), "line 6: "),
        (format!("{net}[route]\nlayers=-1"), "line 5: "),
        (format!("{net}[avgpool]\n[shortcut]\nfrom=-2"), "line 6: "),
        (format!("{net}{}", "[avgpool]\n".repeat(1_000_000)), "line 1: the file has 10000023 bytes"),
        (format!("{net}{}", "[avgpool]\n".repeat(20_000)), "line 16387: more than 16384 sections"),
        (format!("{net}[{}]", "a".repeat(10 << 20)), "line 1: the file has"),
        (format!("{net}[{}]", "a".repeat(1 << 19)), "line 4: a section's name of more than 64 characters"),
        (
            format!("{net}[convolutional]\nactivation={}", "a".repeat(1 << 19)),
            "line 4: [convolutional] with the activation `aaa",
        ),
        (format!("{net}[convolutional]\nfilters={}", "9".repeat(1 << 19)), "line 5: `filters=999"),
        ("[net]\nwidth=8192\nheight=8192\n[convolutional]\nfilters=2147483647\nactivation=relu".to_owned(), "line 4"),
        ("[net]\nwidth=4294967304\nheight=8\n[avgpool]".to_owned(), "line 2: "),
    ] {
        let error = refusal_of(text.len(), || Network::parse(&text));
        assert!(error.contains(place), "{error}\ninstead of: {place}");
    }
    // Lines as Windows ends them, and the mark that its editors put in front.
    let windows = format!("\u{feff}{net}[avgpool]\n[softmax]\n").replace('\n', "\r\n");
    assert_eq!(Network::parse(&windows).unwrap(), Network::parse(&format!("{net}[avgpool]")).unwrap());
}

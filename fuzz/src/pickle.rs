//! Files of PyTorch around a pickle, and pickles that mean harm: made here, none copied.

/// A zip archive with this pickle, and a storage of 24 numbers.
pub fn file(pickle: &[u8]) -> Vec<u8> {
    let numbers: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
    zip(&[("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", &numbers)])
}

/// An archive of members as they are. Their checksums are 0, which PyTorch writes when told not to compute them: so that what is
/// changed in a member is read.
fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let (begin, length) = (file.len() as u32, (bytes.len() as u32).to_le_bytes());
        let name_length = (name.len() as u16).to_le_bytes();
        let common = [&[0; 4][..], &[0; 4], &length, &length, &name_length, &[0; 2]].concat();
        file.extend([&b"PK\x03\x04"[..], &[20, 0, 0, 0, 0, 0], &common, name.as_bytes(), bytes].concat());
        let place = [&[0; 10][..], &begin.to_le_bytes()].concat();
        directory.extend([&b"PK\x01\x02"[..], &[20, 0, 20, 0, 0, 0, 0, 0], &common, &place, name.as_bytes()].concat());
    }
    let count = (members.len() as u16).to_le_bytes();
    let [length, begin] = [directory.len(), file.len()].map(|n| (n as u32).to_le_bytes());
    [&file[..], &directory, b"PK\x05\x06", &[0; 4], &count, &count, &length, &begin, &[0; 2]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[b'X'][..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn integer(n: u8) -> Vec<u8> {
    vec![b'K', n]
}

fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &values.concat()[..], b"t"].concat()
}

fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [&function[..], &tuple(arguments), b"R"].concat()
}

fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &entries[..], b"u"].concat()
}

fn tensor(offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let identifier = [text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), integer(24)];
    let storage = [tuple(&identifier), b"Q".to_vec()].concat();
    let sizes = |sizes: &[u8]| tuple(&sizes.iter().map(|&n| integer(n)).collect::<Vec<_>>());
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [storage, integer(offset), sizes(shape), sizes(strides), vec![0x89], hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

/// Pickles of weights, as PyTorch writes them and otherwise.
pub fn pickles() -> Vec<Vec<u8>> {
    let whole = |value: Vec<u8>| [&[0x80, 2][..], &value, b"."].concat();
    let weights = dict(&[
        ("conv.weight", tensor(0, &[4, 3, 1, 2], &[6, 2, 2, 1])),
        ("fc.bias", tensor(3, &[3], &[7])),
        ("norm.weight", tensor(20, &[4], &[1])),
    ]);
    let command = |module: &str, name: &str| call(global(module, name), &[text("true")]);
    let by_text = [text("builtins"), text("eval"), vec![0x93], tuple(&[text("1")]), b"R".to_vec()].concat();
    let module = [
        call(global("torch.nn", "Linear"), &[]),
        dict(&[("_parameters", weights.clone()), ("_buffers", dict(&[])), ("_modules", dict(&[]))]),
        b"b".to_vec(),
    ];
    let tower = [
        &b"}q\x010"[..],
        &[&b"}("[..], &text("a"), b"h\x01", &text("b"), b"h\x01uq\x010"].concat().repeat(9),
        b"h\x01",
    ];
    [
        weights.clone(),
        dict(&[("state_dict", weights.clone()), ("epoch", integer(3)), ("state_dict_ema", weights)]),
        module.concat(),
        command("os", "system"),
        command("argparse", "Namespace"),
        by_text,
        tower.concat(),
        [b"(".repeat(9), b"t".repeat(9)].concat(),
        [&b"}q\x01("[..], &text("a"), b"h\x01u"].concat(),
    ]
    .map(whole)
    .into()
}

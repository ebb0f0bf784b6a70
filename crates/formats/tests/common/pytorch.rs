//! Archives as PyTorch writes them and with all that may lie, and the pickles in them, piece by piece.

/// A member of an archive, with all that may lie.
#[derive(Clone)]
pub struct Member {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Method in the directory, flags, length packed and not, place.
    pub method: u16,
    pub flags: u16,
    pub lengths: [u32; 2],
    pub begin: Option<u32>,
    pub crc: u32,
    pub own_name: String,
    pub own_length: u32,
}

pub fn member(name: &str, bytes: &[u8]) -> Member {
    let length = bytes.len() as u32;
    Member {
        name: name.into(),
        bytes: bytes.into(),
        method: 0,
        flags: 0,
        lengths: [length; 2],
        begin: None,
        crc: crc32fast::hash(bytes),
        own_name: name.into(),
        own_length: length,
    }
}

pub fn le16(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub fn le32(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The members of an archive, one behind the other, and its directory.
pub fn packed(members: &[Member]) -> [Vec<u8>; 2] {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for m in members {
        let begin = m.begin.unwrap_or(bytes.len() as u32);
        let common = [le32(&[m.crc]), le32(&m.lengths), le16(&[m.name.len() as u16, 0])].concat();
        let entry = [le16(&[20, 20, m.flags, m.method, 0, 0]), common, le16(&[0, 0, 0]), le32(&[0, begin])].concat();
        directory.extend([b"PK\x01\x02", &entry[..], m.name.as_bytes()].concat());
        let own = [le16(&[20, m.flags, m.method, 0, 0]), le32(&[m.crc, m.own_length, m.own_length])].concat();
        let names = le16(&[m.own_name.len() as u16, 0]);
        bytes.extend([b"PK\x03\x04", &own[..], &names, m.own_name.as_bytes(), &m.bytes].concat());
    }
    [bytes, directory]
}

pub fn end(count: u16, directory: usize, begin: usize) -> Vec<u8> {
    [&b"PK\x05\x06"[..], &le16(&[0, 0, count, count]), &le32(&[directory as u32, begin as u32]), &le16(&[0])].concat()
}

pub fn zip(members: &[Member]) -> Vec<u8> {
    let [bytes, directory] = packed(members);
    let end = end(members.len() as u16, directory.len(), bytes.len());
    [bytes, directory, end].concat()
}

/// A file with this pickle and a storage of 24 numbers.
pub fn file(pickle: &[u8]) -> Vec<u8> {
    zip(&members(pickle))
}

pub fn members(pickle: &[u8]) -> Vec<Member> {
    let numbers: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
    vec![member("a/data.pkl", pickle), member("a/byteorder", b"little"), member("a/data/0", &numbers)]
}

// Pieces of pickles.

pub fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &le32(&[text.len() as u32]), text.as_bytes()].concat()
}

pub fn integer(n: i64) -> Vec<u8> {
    [&[0x8A, 8][..], &n.to_le_bytes()].concat()
}

pub fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &values.concat(), b"t"].concat()
}

pub fn integers(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&n| integer(n)).collect::<Vec<_>>())
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(key, value)| [text(key), value.clone()]);
    [&b"}("[..], &entries.collect::<Vec<_>>().concat(), b"u"].concat()
}

pub fn pickle(value: Vec<u8>) -> Vec<u8> {
    [&[0x80, 2][..], &value, b"."].concat()
}

pub fn storage(class: Vec<u8>, key: &str, count: i64) -> Vec<u8> {
    [tuple(&[text("storage"), class, text(key), text("cpu"), integer(count)]), b"Q".to_vec()].concat()
}

pub fn floats() -> Vec<u8> {
    storage(global("torch", "FloatStorage"), "0", 24)
}

pub fn tensor_of(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [storage, integer(offset), integers(shape), integers(strides), vec![0x89], hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

pub fn tensor(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    tensor_of(floats(), offset, shape, strides)
}

pub fn good() -> Vec<u8> {
    tensor(0, &[2, 3, 1, 1], &[3, 1, 1, 1])
}

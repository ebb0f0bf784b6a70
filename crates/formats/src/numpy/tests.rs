use proptest::prelude::*;

use super::*;

/// Written by NumPy 2.4: `savez_compressed(a=arange(6, dtype="f4").reshape(1, 2, 3), b=asfortranarray(array([[1, -2, 3], [4, 5, -6]],
/// dtype=">i2")))`.
const COMPRESSED: &str = "\
504b03042d000000080000002100a97c8d2bffffffffffffffff05001400612e6e707901001000980000000000000058000000000000009b\
ec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9366a2aea3a09e965f54529498179f5f94920a12774bcc294e058a17672416a402f91a\
863a0a463a0ac69a3a0ab50ae4012e063068b007120e4004c40d40bcc00100504b03042d00000008000000210046b1ec3bffffffffffffff\
ff05001400622e6e7079010010008c0000000000000052000000000000009bec17ea1b10c9c850c650ad9e925a9c5ca46ea5a06e9769a4ae\
a3a09e965f54529498179f5f94920a120f292a4d050a17672416a402b91a463a0ac69a3a0ab50ae4032e06460696ffff18581998ffff0200\
504b01022d032d000000080000002100a97c8d2b5800000098000000050000000000000000000000800100000000612e6e7079504b01022d\
032d00000008000000210046b1ec3b520000008c00000005000000000000000000000080018f000000622e6e7079504b0506000000000200\
020066000000180100000000";

/// Written by NumPy 2.4: `savez(t=array([True, False]))`.
const STORED: &str = "\
504b03042d000000000000002100ee19bb5dffffffffffffffff05001400742e6e7079010010008200000000000000820000000000000093\
4e554d5059010076007b276465736372273a20277c6231272c2027666f727472616e5f6f72646572273a2046616c73652c20277368617065\
273a2028322c292c207d20202020202020202020202020202020202020202020202020202020202020202020202020202020202020202020\
20202020202020202020202020200a0100504b01022d032d000000000000002100ee19bb5d82000000820000000500000000000000000000\
00800100000000742e6e7079504b0506000000000100010033000000b90000000000";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// An `.npy` file of the first version with this dictionary.
fn npy(dictionary: &str, numbers: &[u8]) -> Vec<u8> {
    let len = (dictionary.len() as u16).to_le_bytes();
    [NPY, &[1, 0], &len, dictionary.as_bytes(), numbers].concat()
}

/// The only array of a file.
fn only(bytes: &[u8]) -> Result<Array, String> {
    let mut arrays = read_bytes(bytes).map_err(|e| e.to_string())?.ok_or("is no file of NumPy")?;
    Ok(arrays.pop_first().ok_or("holds no array")?.1)
}

fn refusal(bytes: &[u8]) -> String {
    only(bytes).unwrap_err()
}

fn all(array: &Array) -> Vec<f32> {
    array.numbers(0..array.len())
}

#[test]
fn what_numpy_writes_is_read() {
    let arrays = read_bytes(&bytes(COMPRESSED)).unwrap().unwrap();
    let (a, b) = (&arrays["a"], &arrays["b"]);
    assert_eq!((arrays.len(), a.shape(), b.shape()), (2, &[1, 2, 3][..], &[2, 3][..]));
    assert_eq!(all(a), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!((all(b), b.numbers(2..4)), (vec![1.0, -2.0, 3.0, 4.0, 5.0, -6.0], vec![3.0, 4.0]));
    let turned = b.clone().reshaped(vec![3, 1, 2]);
    assert_eq!((turned.shape(), all(&turned)), (&[3, 1, 2][..], all(b)));
    let t = only(&bytes(STORED)).unwrap();
    assert_eq!((t.shape(), all(&t)), (&[2][..], vec![1.0, 0.0]));
    assert!(read_bytes(b"\xff\xd8\xff\xe0 a photo").unwrap().is_none());
    assert!(read_bytes(b"").unwrap().is_none());
}

#[test]
fn every_kind_of_number_is_read() {
    let cases: [(&str, &[u8], f32); 14] = [
        ("|b1", &[1], 1.0),
        ("|i1", &[0x80], -128.0),
        ("|u1", &[0x80], 128.0),
        ("<i2", &[0xfe, 0xff], -2.0),
        (">i2", &[0xff, 0xfe], -2.0),
        ("<u2", &[0xfe, 0xff], 65534.0),
        (">u4", &[0, 0, 1, 2], 258.0),
        ("<i4", &[0xff; 4], -1.0),
        ("<i8", &[0xff; 8], -1.0),
        ("<u8", &[0xff; 8], 18_446_744_073_709_551_616.0),
        ("<f2", &[0, 0x3e], 1.5),
        (">f2", &[0x3e, 0], 1.5),
        ("<f4", &[0, 0, 0x20, 0xc0], -2.5),
        (">f8", &[0x40, 0x04, 0, 0, 0, 0, 0, 0], 2.5),
    ];
    for (kind, number, expected) in cases {
        let array = only(&npy(&format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ()}}"), number)).unwrap();
        assert_eq!((array.shape(), all(&array)), (&[][..], vec![expected]), "{kind}");
    }
    // Of double precision the nearest.
    let third = npy("{'descr': '<f8', 'fortran_order': True, 'shape': (1L,), }\n", &(1.0_f64 / 3.0).to_le_bytes());
    assert_eq!(all(&only(&third).unwrap()), [1.0 / 3.0]);
    let empty = only(&npy("{\"shape\": (0, 3), \"descr\": \"<f4\", \"fortran_order\": False}", &[])).unwrap();
    assert!(empty.is_empty() && all(&empty).is_empty());
}

#[test]
fn headers_that_lie_are_refused() {
    let deep = "(".repeat(9000);
    let many = "1,".repeat(65);
    for (dictionary, reason) in [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", "4 bytes of numbers for shape [2]"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}", "4 bytes of numbers"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,)}", "length that is none"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "length that is none: ``"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "of type `|O`"),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", "of type `<c8`"),
        ("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", "of type `<U1`"),
        ("{'descr': '<f3', 'fortran_order': False, 'shape': (1,)}", "of type `<f3`"),
        ("{'descr': '\u{e9}', 'fortran_order': False, 'shape': (1,)}", "of type `\u{e9}`"),
        ("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,)}", "have fields"),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "`descr` twice"),
        ("{'descr': '<f4', 'shape': (1,)}", "lacks"),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}", "`False` should be"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", "goes on"),
        ("{'descr': '<f4', 'order': 1}", "speaks of `order`"),
        ("{'descr': '<f4", "ends within a text"),
        (&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {deep}"), "length that is none"),
        (&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({many})}}"), "more than 64 axes"),
        ("", "`{` should be"),
    ] {
        let error = refusal(&npy(dictionary, &[0; 4]));
        assert!(error.starts_with("not a NumPy file") && error.contains(reason), "{error}\ninstead of: {reason}");
    }
    let sound = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", &[0; 4]);
    assert!(only(&sound).is_ok());
    for len in NPY.len()..sound.len() {
        assert!(refusal(&sound[..len]).starts_with("not a NumPy file"));
    }
    let version = |version: u8, len: &[u8]| [NPY, &[version, 0], len].concat();
    assert!(refusal(&version(4, &[0; 4])).contains("version 4"));
    assert!(refusal(&version(2, &[0xff; 4])).contains("at most 10000"));
}

#[test]
fn archives_that_grow_too_long_or_are_damaged_are_refused() {
    let sound = bytes(COMPRESSED);
    // What the directory says of the first member.
    let entry = sound.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let changed = |at: usize, new: &[u8]| {
        let mut bytes = sound.clone();
        bytes[entry + at..][..new.len()].copy_from_slice(new);
        bytes
    };
    let long = refusal(&changed(24, &((MAX_GAIN + sound.len()) as u32).to_le_bytes()));
    assert!(long.contains("numpy.savez"), "{long}");
    for (bytes, reason) in [
        (changed(24, &151_u32.to_le_bytes()), "a: unpacks to more than the 151 bytes"),
        (changed(24, &153_u32.to_le_bytes()), "a: cannot be unpacked to 153 bytes"),
        (changed(16, &[1, 2, 3, 4]), "a: its bytes are not those written"),
        (changed(10, &[12, 0]), "compressed in a way that is not read, number 12"),
    ] {
        let error = refusal(&bytes);
        assert!(error.starts_with("not a NumPy file") && error.contains(reason), "{error}\ninstead of: {reason}");
    }
    for at in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x41;
        let _ = read_bytes(&damaged);
        let _ = read_bytes(&sound[..at]);
    }
}

#[test]
fn memory_is_taken_for_what_is_there_only() {
    // One member that claims to become nearly as long as is allowed, and lies.
    let mut bytes = bytes(COMPRESSED);
    let entry = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bytes[entry + 24..][..4].copy_from_slice(&(MAX_GAIN as u32 - 1000).to_le_bytes());
    let mut refused = false;
    let memory = allocation_counter::measure(|| refused = read_bytes(&bytes).is_err());
    assert!(refused && memory.bytes_max < 64 << 20, "{memory:?}");
    let stored = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000,)}", &vec![7; 1_000_000]);
    let mut array = None;
    let memory = allocation_counter::measure(|| array = only(&stored).ok());
    assert!(array.unwrap().len() == 1_000_000 && memory.bytes_max < 1_100_000, "{memory:?}");
    let one = Array::new(vec![1; 64], &[1.0]);
    let many: Vec<_> = (0..=MAX_ARRAYS).map(|i| (i.to_string(), one.clone())).collect();
    assert!(refusal(&to_bytes(&many).unwrap()).contains("it has 4097 arrays"));
    assert!(only(&to_bytes(&many[1..]).unwrap()).is_ok());
}

#[test]
fn arrays_of_one_name_are_not_written() {
    let array = || ("a".to_owned(), Array::new(vec![1], &[1.0]));
    assert!(to_bytes(&[array(), array()]).unwrap_err().to_string().contains("two arrays have the name `a`"));
    assert!(to_bytes(&[("n".repeat(70_000), array().1)]).is_err());
}

/// Names and shapes of some arrays.
fn shapes() -> impl Strategy<Value = BTreeMap<String, Vec<usize>>> {
    proptest::collection::btree_map("[a-z\u{e9}/.]{0,8}", proptest::collection::vec(0_usize..4, 0..5), 0..5)
}

proptest! {
    #[test]
    fn what_is_written_is_read(shapes in shapes()) {
        let array = |shape: Vec<usize>| {
            let len = shape.iter().product();
            Array::new(shape, &(0..len).map(|i: usize| i as f32 / 3.0).collect::<Vec<_>>())
        };
        let arrays: Vec<(String, Array)> = shapes.into_iter().map(|(name, shape)| (name, array(shape))).collect();
        let read = read_bytes(&to_bytes(&arrays).unwrap()).unwrap().unwrap();
        prop_assert_eq!(read.into_iter().collect::<Vec<_>>(), arrays);
    }
}

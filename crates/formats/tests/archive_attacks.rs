//! Archives that mean harm, around pickles that are sound: little memory, and an error that names the member.

mod common;

use std::io::{Seek, SeekFrom, Write};

use allocation_counter::measure;
use common::{
    Member, call, dict, end, file, global, good, graph, le16, le32, member, members, packed, pickle, read, refused,
    storage, tensor_of, text, zip,
};
use cspnet_formats::read_published;
use proptest::prelude::*;

#[test]
fn archives_within_archives_and_other_pickles_are_not_looked_into() {
    let sound = members(&pickle(dict(&[("conv.weight", good())])));
    let attack = pickle(call(global("os", "system"), &[text("true")]));
    // What nobody refers to is not read, whatever it is called.
    let mut more = sound.clone();
    more.extend([
        member("a/data/1", &attack),
        member("a/other.pkl", &attack),
        member("a/data.pkl.zip", &file(&attack)),
    ]);
    assert!(read(&zip(&more)).is_ok());
    // Two pickles one behind the other: the second is not the first's.
    let both = [pickle(dict(&[("conv.weight", good())])), attack].concat();
    refused(&file(&both), "something stands behind its end");
    // Of a storage only numbers are read.
    let mut inside = sound.clone();
    inside[2] = member("a/data/0", &[&pickle(good())[..], &[0; 96]].concat()[..96]);
    assert!(read(&zip(&inside)).is_ok());
}

/// Its checksum would take as long as reading all of it, for twenty-four bytes.
#[test]
fn small_tensors_of_large_storages_are_refused_before_these_are_read() {
    let large = 300 << 20;
    let class = storage(global("torch", "FloatStorage"), "0", i64::from(large) / 4);
    let code = pickle(dict(&[("conv.weight", tensor_of(class, 0, &[2, 3, 1, 1], &[3, 1, 1, 1]))]));
    let mut all = members(&code);
    all[2] = Member { lengths: [large; 2], own_length: large, bytes: Vec::new(), ..all[2].clone() };
    let [bytes, directory] = packed(&all);
    let begin = bytes.len() + large as usize;
    let behind = [&directory[..], &end(3, directory.len(), begin)].concat();
    // A file with a hole, which takes no room on the disk.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pth");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&bytes).unwrap();
    file.seek(SeekFrom::Start(begin as u64)).unwrap();
    file.write_all(&behind).unwrap();
    let mut error = String::new();
    let taken = measure(|| error = read_published(&path, &graph()).unwrap_err().to_string()).bytes_max;
    assert!(error.contains("have 24 bytes and lie in storages of 314572800"), "{error}");
    assert!(taken < 1 << 20, "{taken}");
}

#[test]
fn archives_that_lie_are_refused() {
    let sound = members(&pickle(dict(&[("conv.weight", good())])));
    assert!(read(&zip(&sound)).is_ok());
    let changed = |place: usize, change: &dyn Fn(&mut Member)| {
        let mut members = sound.clone();
        change(&mut members[place]);
        zip(&members)
    };
    for (bytes, reason) in [
        (changed(2, &|m| m.method = 8), "a/data/0 is compressed"),
        (changed(0, &|m| m.method = 12), "a/data.pkl is compressed"),
        (changed(2, &|m| m.flags = 1), "a/data/0 is encrypted"),
        (changed(2, &|m| m.lengths = [96, 1 << 30]), "two lengths, 1073741824 and 96"),
        (changed(2, &|m| m.lengths = [1 << 30; 2]), "something else than the directory"),
        (changed(2, &|m| (m.lengths, m.own_length) = ([1 << 30; 2], 1 << 30)), "a/data/0: reaches beyond"),
        (changed(2, &|m| m.lengths = [u32::MAX; 2]), "lacks a number of a/data/0"),
        (changed(2, &|m| m.own_name = "a/data/1".into()), "a/data/0: has a header that says something else"),
        (changed(2, &|m| m.own_length = 95), "a/data/0: has a header that says something else"),
        (changed(2, &|m| m.begin = Some(1)), "a/data/0: has a header that says something else"),
        (changed(2, &|m| m.begin = Some(u32::MAX - 1)), "a/data/0: reaches beyond"),
        (changed(2, &|m| m.name = "a/data.pkl".into()), "a/data.pkl: has a header"),
        (
            changed(2, &|m| (m.name, m.own_name) = ("a/data.pkl".into(), "a/data.pkl".into())),
            "a/data.pkl: is there twice",
        ),
        (changed(0, &|m| (m.name, m.own_name) = ("a/data.pkx".into(), "a/data.pkx".into())), "without a `data.pkl`"),
        (changed(1, &|m| (m.name, m.own_name) = ("b/data.pkl".into(), "b/data.pkl".into())), "without a `data.pkl`"),
        (changed(1, &|m| (m.name, m.own_name) = ("a/constants.pkl".into(), "a/constants.pkl".into())), "TorchScript"),
        (changed(1, &|m| *m = member("a/byteorder", b"big")), "a/byteorder: is not `little`"),
        (changed(0, &|m| m.crc ^= 4), "a/data.pkl: has been damaged"),
        (changed(2, &|m| m.crc ^= 4), "conv.weight: has been damaged"),
    ] {
        refused(&bytes, reason);
    }
    // Two entries for one piece of the file.
    let mut twice = sound.clone();
    twice.push(Member { begin: Some(0), ..twice[0].clone() });
    refused(&zip(&twice), "is there twice");
    // A member within another.
    let [inner, _] = packed(&[member("a/inner", b"")]);
    let outer = [member("a/outer", &inner), Member { begin: Some(37), ..member("a/inner", b"") }];
    refused(&zip(&[&outer[..], &sound].concat()), "lets two members share bytes");
}

#[test]
fn ends_of_archives_that_lie_are_refused() {
    let sound = members(&pickle(dict(&[("conv.weight", good())])));
    let [bytes, directory] = packed(&sound);
    let with = |end: Vec<u8>| [&bytes[..], &directory, &end].concat();
    let (len, begin) = (directory.len(), bytes.len());
    let large = |count: u64, len: u64, begin: u64, place: u64| {
        let record = [&b"PK\x06\x06"[..], &44_u64.to_le_bytes(), &le16(&[45, 45]), &le32(&[0, 0])].concat();
        let numbers: Vec<u8> = [count, count, len, begin].iter().flat_map(|n| n.to_le_bytes()).collect();
        let locator = [&b"PK\x06\x07"[..], &le32(&[0]), &place.to_le_bytes(), &le32(&[1])].concat();
        [record, numbers, locator].concat()
    };
    let unsaid = end(u16::MAX, u32::MAX as usize, u32::MAX as usize);
    let place = (begin + len) as u64;
    assert!(read(&with(end(3, len, begin))).is_ok());
    assert!(read(&with([large(3, len as u64, begin as u64, place), unsaid.clone()].concat())).is_ok());
    assert!(read(&with([large(3, len as u64, begin as u64, place), end(3, len, begin)].concat())).is_ok());
    for (end, reason) in [
        (end(4, len, begin), "counts more members than"),
        (end(2, len, begin), "the directory: is longer than its entries"),
        (end(u16::MAX, len, begin), "counts more members than"),
        (end(3, len - 1, begin), "does not follow the directory"),
        (end(3, len, begin + 1), "does not follow the directory"),
        (end(3, len + begin, 0), "the directory: "),
        (unsaid.clone(), "does not follow the directory"),
        ([large(3, len as u64, begin as u64, place + 1), unsaid.clone()].concat(), "does not stand where it says"),
        ([large(3, len as u64, begin as u64, u64::MAX), unsaid.clone()].concat(), "does not stand where it says"),
        ([large(u64::MAX, len as u64, begin as u64, place), unsaid.clone()].concat(), "counts more members"),
        ([large(3, u64::MAX, begin as u64, place), unsaid.clone()].concat(), "does not follow the directory"),
        ([large(3, len as u64, u64::MAX, place), unsaid.clone()].concat(), "does not follow the directory"),
        ([large(3, len as u64, begin as u64, place), end(2, len, begin)].concat(), "does not agree with itself"),
        ([end(3, len, begin), b"more".to_vec()].concat(), "the archive's end: is missing"),
    ] {
        refused(&with(end), reason);
    }
    let mut cut = directory.clone();
    cut[28] += 10;
    refused(&[&bytes[..], &cut, &end(3, len, begin)].concat(), "has a header that says something else");
    cut[28] = 0xFF;
    refused(&[&bytes[..], &cut, &end(3, len, begin)].concat(), "the directory: is cut off within an entry");
    // A directory of many members, and one that is longer than any is read.
    let empty: Vec<Member> = (0..60_000).map(|i| member(&format!("a/{i}"), b"")).collect();
    refused(&zip(&empty), "without a `data.pkl`");
    let long = |count: usize| -> Vec<Member> {
        (0..count).map(|i| member(&format!("a/{i}/{}", "x".repeat(6000)), b"")).collect()
    };
    refused(&zip(&long(1)), "a name of 6004 bytes");
    refused(&zip(&long(1000)), "at most 4194304 are read");
}

/// Zeros, deflated: a thousandth of their length.
fn deflated(name: &str, len: usize) -> Member {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(&vec![0; len]).unwrap();
    let bytes = packer.finish().unwrap();
    let lengths = [bytes.len() as u32, len as u32];
    let crc = crc32fast::hash(&vec![0; len]);
    Member { method: 8, lengths, crc, own_length: u32::MAX, ..member(name, &bytes) }
}

/// What comes with safetensors as its attacks on PyTorch's and NumPy's files: members that unpack to forty gigabytes.
#[test]
fn members_that_unpack_to_many_times_their_length_are_not_unpacked() {
    let mut parts = members(&pickle(dict(&[("conv.weight", good())])));
    let bomb = deflated("a/data/0", 100 << 20);
    assert!(bomb.bytes.len() < 1 << 20);
    parts[2] = bomb.clone();
    refused(&zip(&parts), "a/data/0 is compressed");
    // As long as 32 bits can say.
    parts[2] = Member { lengths: [bomb.lengths[0], u32::MAX - 1], ..bomb.clone() };
    refused(&zip(&parts), "a/data/0 is compressed");
    // Nobody refers to it.
    parts.push(Member { name: "a/data/1".into(), own_name: "a/data/1".into(), ..bomb });
    parts[2] = members(&[])[2].clone();
    refused(&zip(&parts), "a/data/1 is compressed");
    // The pickle itself.
    refused(&zip(&[deflated("a/data.pkl", 40 << 20)]), "a/data.pkl is compressed");
    let arrays = zip(&[deflated("weights.npy", 100 << 20)]);
    let mut error = String::new();
    let taken = measure(|| error = cspnet_formats::numpy::read_bytes(&arrays).unwrap_err().to_string()).bytes_max;
    assert!(error.contains("it would unpack to 104857600 bytes"), "{error}");
    assert!(taken < 1 << 20, "{taken}");
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(bytes: Vec<u8>) {
        let _ = read(&[&b"PK\x03\x04"[..], &bytes].concat());
        let _ = read(&[&b"PK\x03\x04"[..], &bytes, &end(1, bytes.len(), 4)].concat());
    }
}

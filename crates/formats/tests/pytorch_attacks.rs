//! Files that look like PyTorch's and mean harm: nothing runs, nothing panics, little memory is taken, and the error names the place.

use std::io::{Seek, SeekFrom, Write};

use allocation_counter::measure;
use cspnet_formats::{FormatError, Matching, read_published, read_published_bytes};
use cspnet_graph::{Builder, Conv, Graph, Weights};
use proptest::prelude::*;

/// A network with one parameter, `conv.weight`, of shape `[2, 3, 1, 1]`.
fn graph() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(2, 1));
    b.finish(x).unwrap()
}

fn read(bytes: &[u8]) -> Result<(Weights, Matching), FormatError> {
    read_published_bytes(bytes, &graph())
}

/// What is said of a file that cannot be used, while no more memory is taken than is promised.
fn refusal(bytes: &[u8]) -> String {
    let mut error = String::new();
    let taken = measure(|| error = read(bytes).unwrap_err().to_string());
    assert!(taken.bytes_max <= bytes.len() as u64 + (64 << 20), "{} MB for: {error}", taken.bytes_max >> 20);
    assert!(!error.contains(char::is_control) && error.len() < 2000, "{error:?}");
    error
}

/// Refused, and for the reason that is meant.
fn refused(bytes: &[u8], reason: &str) {
    let error = refusal(bytes);
    assert!(error.contains(reason), "{error}\ninstead of: {reason}");
}

/// A member of an archive, with all that may lie.
#[derive(Clone)]
struct Member {
    name: String,
    bytes: Vec<u8>,
    /// Method in the directory, flags, length packed and not, place.
    method: u16,
    flags: u16,
    lengths: [u32; 2],
    begin: Option<u32>,
    crc: u32,
    own_name: String,
    own_length: u32,
}

fn member(name: &str, bytes: &[u8]) -> Member {
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

fn le16(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn le32(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The members of an archive, one behind the other, and its directory.
fn packed(members: &[Member]) -> [Vec<u8>; 2] {
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

fn end(count: u16, directory: usize, begin: usize) -> Vec<u8> {
    [&b"PK\x05\x06"[..], &le16(&[0, 0, count, count]), &le32(&[directory as u32, begin as u32]), &le16(&[0])].concat()
}

fn zip(members: &[Member]) -> Vec<u8> {
    let [bytes, directory] = packed(members);
    let end = end(members.len() as u16, directory.len(), bytes.len());
    [bytes, directory, end].concat()
}

/// A file with this pickle and a storage of 24 numbers.
fn file(pickle: &[u8]) -> Vec<u8> {
    zip(&members(pickle))
}

fn members(pickle: &[u8]) -> Vec<Member> {
    let numbers: Vec<u8> = (0..24).flat_map(|i| (i as f32).to_le_bytes()).collect();
    vec![member("a/data.pkl", pickle), member("a/byteorder", b"little"), member("a/data/0", &numbers)]
}

// Pieces of pickles.

fn text(text: &str) -> Vec<u8> {
    [&b"X"[..], &le32(&[text.len() as u32]), text.as_bytes()].concat()
}

fn integer(n: i64) -> Vec<u8> {
    [&[0x8A, 8][..], &n.to_le_bytes()].concat()
}

fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
    [&b"("[..], &values.concat(), b"t"].concat()
}

fn integers(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&n| integer(n)).collect::<Vec<_>>())
}

fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().flat_map(|(key, value)| [text(key), value.clone()]);
    [&b"}("[..], &entries.collect::<Vec<_>>().concat(), b"u"].concat()
}

fn pickle(value: Vec<u8>) -> Vec<u8> {
    [&[0x80, 2][..], &value, b"."].concat()
}

fn storage(class: Vec<u8>, key: &str, count: i64) -> Vec<u8> {
    [tuple(&[text("storage"), class, text(key), text("cpu"), integer(count)]), b"Q".to_vec()].concat()
}

fn floats() -> Vec<u8> {
    storage(global("torch", "FloatStorage"), "0", 24)
}

fn tensor_of(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let hooks = call(global("collections", "OrderedDict"), &[]);
    let arguments = [storage, integer(offset), integers(shape), integers(strides), vec![0x89], hooks];
    call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
}

fn tensor(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    tensor_of(floats(), offset, shape, strides)
}

fn good() -> Vec<u8> {
    tensor(0, &[2, 3, 1, 1], &[3, 1, 1, 1])
}

/// A file whose `conv.weight` is this value.
fn weight(value: Vec<u8>) -> Vec<u8> {
    file(&pickle(dict(&[("conv.weight", value)])))
}

fn first(bytes: &[u8]) -> Vec<f32> {
    read(bytes).unwrap().0.get(0).to_vec()
}

#[test]
fn what_is_made_here_is_read_where_it_is_sound() {
    assert_eq!(first(&weight(good())), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(first(&weight(tensor(18, &[2, 3, 1, 1], &[3, 1, 1, 1]))), [18.0, 19.0, 20.0, 21.0, 22.0, 23.0]);
    assert_eq!(first(&weight(tensor(1, &[2, 3, 1, 1], &[1, 2, 9, 0]))), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    assert_eq!(first(&weight(tensor(0, &[2, 3, 1, 1], &[12, 4, 1, 1]))), [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]);
}

#[test]
fn commands_are_neither_run_nor_passed_over() {
    let marker = std::env::temp_dir().join(format!("cspnet-attack-{}", std::process::id()));
    let command = format!("touch {}", marker.display());
    let run = |module: &str, name: &str| call(global(module, name), &[text(&command)]);
    let by_text = |module: &str, name: &str| {
        let function = [text(module), text(name), vec![0x93]].concat();
        call(function, &[text(&command)])
    };
    for attack in [
        run("os", "system"),
        run("posix", "system"),
        run("nt", "system"),
        run("subprocess", "check_output"),
        run("builtins", "eval"),
        run("__builtin__", "exec"),
        run("runpy", "_run_code"),
        run("webbrowser", "open"),
        run("pty", "spawn"),
        run("socket", "create_connection"),
        by_text("os", "system"),
        by_text("builtins", "__import__"),
        by_text("torch.serialization", "os.system"),
        [by_text("builtins", "exec"), b"0".to_vec(), good()].concat(),
        [global("os", "system"), tuple(&[text(&command)]), vec![0x81]].concat(),
    ] {
        for bytes in [
            weight(attack.clone()),
            file(&pickle(attack.clone())),
            file(&pickle(dict(&[("conv.weight", good()), ("epoch", attack.clone())]))),
        ] {
            refused(&bytes, "nothing of it was run");
        }
    }
    // The opcodes by which older protocols call.
    for opcode in [&b"(S'true'\nios\nsystem\n"[..], b"(cos\nsystem\nS'true'\no", b"S'x'\n", b"I01\n", b"p0\n", b"P0\n"]
    {
        let error = refusal(&file(&pickle(opcode.to_vec())));
        assert!(
            error.contains("is not one that checkpoints are made of") || error.contains("nothing of it"),
            "{error}"
        );
    }
    assert!(!marker.exists());
}

/// What scanners of pickles look for, by where it hides: in calls of every sort, in what is called with what, in hooks and states.
#[test]
fn attacks_are_refused_with_their_name_wherever_they_hide() {
    let argument = text("true");
    let stack_global = |module: &str, name: &str| [text(module), text(name), vec![0x93]].concat();
    // Module and name come out of the memo.
    let by_memo = |module: &str, name: &str| {
        [text(module), b"q\x010".to_vec(), text(name), b"q\x02".to_vec(), b"0h\x01h\x02\x93".to_vec()].concat()
    };
    let forms: [&dyn Fn(Vec<u8>) -> Vec<u8>; 10] = [
        // REDUCE and NEWOBJ.
        &|f| call(f, std::slice::from_ref(&argument)),
        &|f| [f, tuple(std::slice::from_ref(&argument)), vec![0x81]].concat(),
        // A call of what a call has made, and one of many in a row.
        &|f| call(call(f, std::slice::from_ref(&argument)), &[]),
        &|f| (0..50).fold(f, |made, _| call(made, &[])),
        // As the argument of something harmless.
        &|f| call(global("functools", "partial"), &[f, argument.clone()]),
        &|f| call(global("__builtin__", "getattr"), &[f, text("system")]),
        // As the hooks of a tensor, the class of a storage, and the key of a dictionary.
        &|f| {
            let arguments = [floats(), integer(0), integers(&[1]), integers(&[1]), vec![0x89], call(f, &[])];
            call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
        },
        &|f| tensor_of(storage(f, "0", 24), 0, &[1], &[1]),
        &|f| [&b"}("[..], &f, &argument, b"u"].concat(),
        // As the state of an object, by which `__setstate__` is called.
        &|f| [call(global("argparse", "Namespace"), &[]), dict(&[("a", f)]), b"b".to_vec()].concat(),
    ];
    for (module, name) in [
        ("os", "system"),
        ("posix", "popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("__builtin__", "execfile"),
        ("torch", "load"),
        ("torch.serialization", "load"),
        ("torch.hub", "load"),
        ("torch.jit.unsupported_tensor_ops", "execWrapper"),
        ("torch.utils.collect_env", "run"),
        ("torch._inductor.codecache", "compile_file"),
        ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
        ("numpy.f2py.crackfortran", "getlincoef"),
        ("numpy.testing._private.utils", "runstring"),
        ("operator", "attrgetter"),
        ("code", "InteractiveInterpreter.runcode"),
        ("importlib", "import_module"),
        ("cloudpickle.cloudpickle", "_make_function"),
        ("types", "CodeType"),
        ("logging", "FileHandler"),
        ("io", "FileIO"),
        ("shutil", "rmtree"),
        ("ssl", "get_server_certificate"),
        ("sys", "modules"),
        ("pickle", "loads"),
        ("linecache", "os.system"),
    ] {
        for named in [global(module, name), stack_global(module, name), by_memo(module, name)] {
            for form in forms {
                let attack = form(named.clone());
                let beside = dict(&[("conv.weight", good()), ("epoch", attack.clone())]);
                // Where its result is thrown away, and where it is part of what is read.
                for code in [[attack, b"0".to_vec(), good()].concat(), beside] {
                    let error = refusal(&file(&pickle(code)));
                    let told = error.contains(&format!("{module}.{name}")) && error.contains("nothing of it was run");
                    assert!(told && error.contains("a/data.pkl, byte "), "{module}.{name}: {error}");
                }
            }
        }
    }
}

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

#[test]
fn unknown_classes_stand_for_themselves() {
    let made = call(global("argparse", "Namespace"), &[]);
    let told = [made.clone(), dict(&[("lr", integer(1))]), b"b".to_vec()].concat();
    assert!(read(&file(&pickle(dict(&[("args", told), ("conv.weight", good())])))).is_ok());
    refused(&weight(made.clone()), "holds no tensors by name");
    let two = dict(&[("conv.weight", made.clone()), ("other", good())]);
    refused(&file(&pickle(two)), "conv.weight is made by argparse.Namespace, which is not read");
    refused(&weight(tensor_of(made, 0, &[2, 3, 1, 1], &[3, 1, 1, 1])), "a tensor of what argparse.Namespace makes");
    let class = storage(global("argparse", "Namespace"), "0", 24);
    refused(&weight(tensor_of(class, 0, &[1], &[1])), "argparse.Namespace is no storage");
    let complex = storage(global("torch", "ComplexFloatStorage"), "0", 12);
    let two = dict(&[("other", good()), ("conv.weight", tensor_of(complex, 0, &[2, 3, 1, 1], &[3, 1, 1, 1]))]);
    refused(&file(&pickle(two)), "conv.weight holds a kind of number that is not read");
}

#[test]
fn of_parts_with_as_many_parameters_the_averaged_one_is_taken() {
    let halves = |path: &[&str]| {
        let inner = dict(&[("conv.weight", good())]);
        path.iter().rev().fold(inner, |value, name| dict(&[(name, value)]))
    };
    for (averaged, part) in
        [(&["ema", "module"][..], "ema.module"), (&["model_ema"], "model_ema"), (&["model"], "model")]
    {
        let other = if part == "model" { "weights" } else { "model" };
        let entries = [(averaged[0], halves(&averaged[1..])), (other, halves(&[]))];
        let matching = read(&file(&pickle(dict(&entries)))).unwrap().1;
        assert_eq!((matching.part.as_str(), matching.other_parts[0].as_str()), (part, other));
    }
    // A prefix that few names have does not count.
    let mixed = dict(&[("net.conv.weight", good()), ("loss.weight", tensor(0, &[24], &[1]))]);
    let matching = read(&file(&pickle(mixed))).unwrap().1;
    assert_eq!((matching.prefix.as_str(), matching.left_over), ("net.", vec!["loss.weight".to_owned()]));
}

#[test]
fn tensors_lie_in_their_storage() {
    let shape = [2, 3, 1, 1];
    for (bytes, reason) in [
        (weight(tensor(-1, &shape, &[3, 1, 1, 1])), "negative size or place, -1"),
        (weight(tensor(0, &[-2, -3, 1, 1], &[3, 1, 1, 1])), "negative size or place, -2"),
        (weight(tensor(6, &shape, &[-3, 1, 1, 1])), "negative size or place, -3"),
        (weight(tensor(19, &shape, &[3, 1, 1, 1])), "reaches beyond its storage of 24 numbers"),
        (weight(tensor(0, &shape, &[22, 1, 1, 1])), "reaches beyond"),
        (weight(tensor(i64::MAX, &shape, &[3, 1, 1, 1])), "reaches beyond"),
        (weight(tensor(0, &shape, &[i64::MAX, i64::MAX, 1, 1])), "reaches beyond"),
        (weight(tensor(0, &[1 << 40, 1 << 40, 1 << 40], &[0, 0, 0])), "reaches beyond"),
        (weight(tensor(0, &[25], &[1])), "reaches beyond"),
        (weight(tensor(0, &shape, &[3, 1])), "4 sizes and 2 strides"),
        (weight(tensor(0, &[1; 17], &[1; 17])), "17 dimensions"),
        (
            weight(tensor_of(storage(global("torch", "FloatStorage"), "0", 25), 0, &shape, &[3, 1, 1, 1])),
            "should have 25",
        ),
        (
            weight(tensor_of(storage(global("torch", "FloatStorage"), "0", -1), 0, &shape, &[3, 1, 1, 1])),
            "a count of -1",
        ),
        (
            weight(tensor_of(storage(global("torch", "FloatStorage"), "0", i64::MAX), 0, &shape, &[3, 1, 1, 1])),
            "should have",
        ),
        (weight(tensor_of(storage(global("torch", "DoubleStorage"), "0", 24), 0, &shape, &[3, 1, 1, 1])), "96 bytes"),
        (
            weight(tensor_of(storage(global("torch", "FloatStorage"), "1", 24), 0, &shape, &[3, 1, 1, 1])),
            "storage 1 is not",
        ),
        (
            weight(tensor_of(storage(global("torch", "FloatStorage"), "../data.pkl", 24), 0, &shape, &[3; 4])),
            "is not in the file",
        ),
        (weight(tensor_of(integer(1), 0, &shape, &[3, 1, 1, 1])), "something that is no storage"),
        (weight([integer(0), b"Q".to_vec()].concat()), "no storage"),
        (weight(call(global("torch._utils", "_rebuild_tensor_v2"), &[floats()])), "too few arguments"),
    ] {
        refused(&bytes, reason);
        assert!(refusal(&bytes).contains("a/data.pkl, byte "));
    }
}

#[test]
fn numbers_that_share_a_place_are_not_multiplied() {
    let shape = [2, 3, 1, 1];
    for strides in [[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [2, 1, 1, 1], [1, 0, 5, 5]] {
        refused(&weight(tensor(0, &shape, &strides)), "conv.weight has numbers that share a place");
    }
    // Elsewhere such a tensor does no harm, for nobody reads it.
    let both = dict(&[("conv.weight", good()), ("huge", tensor(0, &[1 << 20, 1 << 20], &[0, 0]))]);
    assert_eq!(read(&file(&pickle(both))).unwrap().1.matched, ["conv.weight"]);
    // Many tensors of one storage.
    let mut b = Builder::new();
    let mut x = b.input(24);
    let names: Vec<String> = (0..400).map(|i| format!("conv{i}")).collect();
    for name in &names {
        x = b.conv(name, x, Conv::new(1, 1));
        x = b.concat("wide", &[x; 24]);
    }
    let graph = b.finish(x).unwrap();
    let names: Vec<String> = graph.params().iter().map(|p| p.name.clone()).collect();
    let big = member("a/data/0", &[0; 96]);
    let one = tensor(0, &[1, 24, 1, 1], &[24, 1, 1, 1]);
    // The tensor once, and then by the memo.
    let entries = names.iter().enumerate().flat_map(|(i, name)| match i {
        0 => [text(name), one.clone(), b"q\x07".to_vec()].concat(),
        _ => [text(name), b"h\x07".to_vec()].concat(),
    });
    let shared = pickle([&b"}("[..], &entries.collect::<Vec<u8>>(), b"u"].concat());
    let bytes = zip(&[member("a/data.pkl", &shared), big]);
    let error = read_published_bytes(&bytes, &graph).unwrap_err().to_string();
    assert!(error.contains("its tensors share their numbers: together they would have 38400 bytes"), "{error}");
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
fn numbers_that_are_none_are_refused() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut parts = members(&pickle(dict(&[("conv.weight", good())])));
        parts[2] = member("a/data/0", &[value.to_le_bytes(); 24].concat());
        refused(&zip(&parts), "conv.weight does not hold finite real numbers");
    }
    let longs = storage(global("torch", "LongStorage"), "0", 12);
    refused(&weight(tensor_of(longs, 0, &[2, 3, 1, 1], &[3, 1, 1, 1])), "does not hold finite real numbers");
    // Too large for single precision.
    let doubles = storage(global("torch", "DoubleStorage"), "0", 6);
    let mut parts = members(&pickle(dict(&[("conv.weight", tensor_of(doubles, 0, &[2, 3, 1, 1], &[3, 1, 1, 1]))])));
    parts[2] = member("a/data/0", &[1e300_f64.to_le_bytes(); 6].concat());
    refused(&zip(&parts), "conv.weight does not hold finite real numbers");
}

#[test]
fn bombs_burst_at_their_limits() {
    let many = |piece: &[u8], count: usize| pickle(piece.repeat(count));
    let tower = |levels: usize| {
        // Each dictionary holds the one before twice.
        let level = [&b"}("[..], &text("a"), b"h\x01", &text("b"), b"h\x01uq\x010"].concat();
        pickle([b"}q\x010".to_vec(), level.repeat(levels), b"h\x01".to_vec()].concat())
    };
    let nested = |levels: usize| {
        let open = [&b"}"[..], &text("a")].concat().repeat(levels);
        pickle([open, b"N".to_vec(), b"s".repeat(levels)].concat())
    };
    let long = "x".repeat(500);
    for (bytes, reason) in [
        (many(b"]", 20 << 20), "it piles up more than"),
        (many(b"N", 20 << 20), "it piles up more than"),
        (many(b"(", 20 << 20), "it nests more than"),
        (many(b"]0", 10 << 20), "would take more than 32 MB"),
        (many(b"NNN\x870", 4 << 20), "would take more than 32 MB"),
        (pickle([b"]".to_vec(), b"Na".repeat(10 << 20)].concat()), "would take more than 32 MB"),
        (
            pickle([b"]".to_vec(), [b"(".to_vec(), b"N".repeat(100_000), b"e".to_vec()].concat().repeat(100)].concat()),
            "32 MB",
        ),
        (pickle([b"}".to_vec(), b"NNs".repeat(8 << 20)].concat()), "would take more than 32 MB"),
        (pickle((0..3_000_000_u32).flat_map(|i| [&b"Nr"[..], &i.to_le_bytes(), b"0"].concat()).collect()), "32 MB"),
        // Lists that are short after the stack was high.
        (
            pickle([b"(".to_vec(), b"N".repeat(100_000), b"1".to_vec(), b"(t0".repeat(1000), b"N".to_vec()].concat()),
            "no tensors",
        ),
        (many(b"ccollections\nOrderedDict\n)R0", 1 << 20), "would take more than 32 MB"),
        (many(&[0x8A, 0, b'0'], 12 << 20), "has 37748739 bytes; at most"),
        (nested(100_000), "it piles up more than"),
        (nested(1000), "nest deeper than 32"),
        (tower(25), "more than"),
        (pickle(b"}q\x01(X\x01\0\0\0ah\x01u".to_vec()), "nest deeper than 32, or hold themselves"),
        (pickle(b"]q\x01h\x01a".to_vec()), "holds no tensors by name"),
    ] {
        refused(&file(&bytes), reason);
    }
    // The same long name for many tensors, and for many dictionaries.
    let begin = [&b"}q\x03"[..], &text(&long), b"q\x010"].concat();
    let tensors = [begin.clone(), good(), b"q\x020(".to_vec(), b"h\x01h\x02".repeat(60_000), b"u".to_vec()].concat();
    refused(&file(&pickle(tensors)), "would take more than 32 MB");
    let dicts = [begin, b"}q\x020(".to_vec(), b"h\x01h\x02".repeat(60_000), b"u".to_vec()].concat();
    refused(&file(&pickle(dicts)), "would take more than 32 MB");
    for length in [513, 20 << 20] {
        refused(&file(&pickle(dict(&[(&"x".repeat(length), good())]))), &format!("a name of {length} bytes"));
        refused(&file(&pickle(dict(&[(&"x".repeat(length), dict(&[]))]))), &format!("a name of {length} bytes"));
    }
    refused(&file(&pickle(dict(&[("conv\u{1b}[2K", good())]))), "control character U+001B");
}

#[test]
fn pickles_that_make_no_sense_are_refused_at_the_byte() {
    for (bytes, reason) in [
        (&b""[..], "byte 0: it breaks off"),
        (b"\x80", "byte 0: it breaks off"),
        (b"\x80\x01N.", "protocol 1"),
        (b"\x80\x06N.", "protocol 6"),
        (b"\x80\x02.", "byte 2: a value is missing"),
        (b"\x80\x02NN.", "byte 4: it ends with more than one value"),
        (b"\x80\x02(N.", "it ends with more than one value"),
        (b"\x80\x02N.N.", "byte 3: something stands behind its end"),
        (b"\x80\x02X\xff\xff\xff\xffab.", "byte 2: it breaks off"),
        (b"\x80\x02X\x02\0\0\0\xff\xfe.", "a text that is not UTF-8"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "byte 2: a frame that is longer"),
        (b"\x80\x02B\xff\xff\xff\x7fab.", "it breaks off"),
        (b"\x80\x02\x8a\xffab.", "it breaks off"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fab.", "opcode 0x8B"),
        (b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "opcode 0x8D"),
        (b"\x80\x02h\x05.", "value 5 was never kept"),
        (b"\x80\x02q\x05.", "a value is missing"),
        (b"\x80\x02t.", "a mark is missing"),
        (b"\x80\x02N(\x85.", "a value is missing"),
        (b"\x80\x02]N]s.", "something that is no dictionary"),
        (b"\x80\x02}(Nu.", "a key without a value"),
        (b"\x80\x02)Na.", "something that is no list"),
        (b"\x80\x02N)R.", "something that cannot be called"),
        (b"\x80\x02ccollections\nOrderedDict\nNR.", "no tuple"),
        (b"\x80\x02NNb.", "a state for something that is no object"),
        (b"\x80\x02ccollections", "a name without an end"),
        (b"\x80\x02NN\x93.", "a class whose name is no text"),
        (b"\x80\x02N.", "holds no tensors by name"),
        (b"\x80\x02}.", "holds no tensors by name"),
    ] {
        let error = refusal(&file(bytes));
        assert!(error.contains("a/data.pkl") && error.contains(reason), "{error}\ninstead of: {reason}");
    }
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

/// Opcodes that are allowed, with short operands, so that random ones get far.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<Vec<u8>> = vec![
        b"(".to_vec(),
        b"t".to_vec(),
        b"]".to_vec(),
        b"}".to_vec(),
        b")".to_vec(),
        b"N".to_vec(),
        b"a".to_vec(),
        b"e".to_vec(),
        b"s".to_vec(),
        b"u".to_vec(),
        b"0".to_vec(),
        b"1".to_vec(),
        b"R".to_vec(),
        b"b".to_vec(),
        b"Q".to_vec(),
        b"q\0".to_vec(),
        b"h\0".to_vec(),
        b"q\x01".to_vec(),
        b"h\x01".to_vec(),
        b"K\x02".to_vec(),
        vec![0x81],
        vec![0x85],
        vec![0x86],
        vec![0x87],
        vec![0x88],
        vec![0x8F],
        vec![0x90],
        vec![0x91],
        vec![0x93],
        vec![0x94],
        integer(-1),
        text("conv.weight"),
        text("_modules"),
        text("_parameters"),
        text("storage"),
        text("0"),
        global("collections", "OrderedDict"),
        global("torch._utils", "_rebuild_tensor_v2"),
        global("torch._utils", "_rebuild_parameter"),
        global("torch", "FloatStorage"),
        global("torch", "Size"),
        global("timm", "Net"),
        floats(),
        good(),
        dict(&[("conv.weight", good())]),
        integers(&[2, 3, 1, 1]),
    ];
    proptest::collection::vec(proptest::sample::select(pieces), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn random_opcodes_do_no_harm(code in opcodes()) {
        let _ = read(&file(&pickle(code)));
    }

    #[test]
    fn random_bytes_do_no_harm(bytes: Vec<u8>) {
        let _ = read(&file(&pickle(bytes.clone())));
        let _ = read(&[&b"PK\x03\x04"[..], &bytes].concat());
        let _ = read(&[&b"PK\x03\x04"[..], &bytes, &end(1, bytes.len(), 4)].concat());
    }
}

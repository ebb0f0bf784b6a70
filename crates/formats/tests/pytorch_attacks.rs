//! Pickles that mean harm: nothing runs, nothing panics, little memory is taken, and the error names the place.

mod common;

use common::{
    call, dict, file, first, floats, global, good, integer, integers, member, members, pickle, read, refusal, refused,
    storage, tensor, tensor_of, text, tuple, weight, zip,
};
use cspnet_formats::read_published_bytes;
use cspnet_graph::{Builder, Conv};
use proptest::prelude::*;

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
    for opcode in [&b"(S'true'\nios\nsystem\n"[..], b"(cos\nsystem\nS'true'\no"] {
        refused(&file(&pickle(opcode.to_vec())), "call os.system, which weights never need");
    }
    // Those that older protocols have for everything else are followed, and refused in the end.
    for (code, at, opcode) in [
        (&b"S'x'\n"[..], 2, "53"),
        (b"Vx\n", 2, "56"),
        (b"U\x01x", 2, "55"),
        (b"T\x01\0\0\0\xff", 2, "54"),
        (b"I01\n", 2, "49"),
        (b"Np0\n0g0\n", 3, "70"),
        (b"NN2(l(d\x86\x87\x86", 4, "32"),
        (b"(NF1.5\nd", 4, "46"),
        (b"(NL1L\nl", 4, "4C"),
        (b"P0\n", 2, "50"),
        (b"\x82\x01", 2, "82"),
    ] {
        let error = format!("a/data.pkl, byte {at}: opcode 0x{opcode} is not one that checkpoints are made of");
        refused(&file(&pickle(code.to_vec())), &error);
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
    let forms: [&dyn Fn(Vec<u8>) -> Vec<u8>; 12] = [
        // REDUCE, NEWOBJ and NEWOBJ_EX.
        &|f| call(f, std::slice::from_ref(&argument)),
        &|f| [f, tuple(std::slice::from_ref(&argument)), vec![0x81]].concat(),
        &|f| [f, tuple(std::slice::from_ref(&argument)), dict(&[]), vec![0x92]].concat(),
        // What a tensor of a class of its own is made by.
        &|f| call(global("torch._tensor", "_rebuild_from_type_v2"), &[f, b"N".to_vec(), tuple(&[]), b"N".to_vec()]),
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
fn what_the_newest_protocols_write_is_read() {
    let bytes = |opcode: u8, count: usize| [&[opcode], &(count as u64).to_le_bytes()[..], &vec![7; count]].concat();
    // The state of NumPy's generator lies in a byte array, long whole numbers and long bytes beside it.
    let long = |count: u32| [&[0x8B][..], &count.to_le_bytes(), &vec![1; count as usize]].concat();
    let state = [bytes(0x96, 2496), bytes(0x8E, 300), long(4), long(300)];
    // A configuration made with named arguments.
    let named = [global("dataclasses", "Config"), tuple(&[]), dict(&[("lr", integer(1))]), vec![0x92]].concat();
    let key = [&[0x8D][..], &11_u64.to_le_bytes(), b"conv.weight"].concat();
    let all = [&b"}("[..], &text("state"), &tuple(&state), &text("args"), &named, &key, &good(), b"u"].concat();
    assert_eq!(first(&file(&pickle(all))), first(&weight(good())));
}

/// As `torch.Tensor.__reduce_ex__` has it of one with attributes, or of a subclass.
#[test]
fn tensors_with_attributes_are_tensors() {
    let arguments = [floats(), integer(0), integers(&[2, 3, 1, 1]), integers(&[3, 1, 1, 1]), vec![0x89], b"N".to_vec()];
    let of = |function: Vec<u8>| {
        let state = dict(&[("is_shared", vec![0x88])]);
        let given = [function, global("timm", "Tensor"), tuple(&arguments), state];
        call(global("torch._tensor", "_rebuild_from_type_v2"), &given)
    };
    assert_eq!(first(&weight(of(global("torch._utils", "_rebuild_tensor_v2")))), first(&weight(good())));
    let two = dict(&[("conv.weight", of(global("timm", "made"))), ("other", good())]);
    refused(&file(&pickle(two)), "conv.weight is made by torch._tensor._rebuild_from_type_v2, which is not read");
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
        (pickle([b"N".to_vec(), b"2".repeat(20 << 20)].concat()), "it piles up more than"),
        (many(b"(l0", 10 << 20), "would take more than 32 MB"),
        (many(b"(d0", 10 << 20), "would take more than 32 MB"),
        (pickle((0..2_000_000_u32).flat_map(|i| format!("Np{i}\n0").into_bytes()).collect()), "32 MB"),
        (pickle([b"S".to_vec(), vec![b'x'; 30 << 20]].concat()), "a line without an end"),
        (pickle([b"Sxx\n0".repeat(6 << 20), b"N".to_vec()].concat()), "opcode 0x53"),
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
        (b"\x80\x02\x8b\xff\xff\xff\x7fab.", "it breaks off"),
        (b"\x80\x02\x8b\xff\xff\xff\xffab.", "it breaks off"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "it breaks off"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.", "it breaks off"),
        (b"\x80\x04N)}\x92.", "something that cannot be called"),
        (b"\x80\x04)}\x92.", "a value is missing"),
        (b"\x80\x05\x97.", "opcode 0x97"),
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
        (b"\x80\x02p0\n.", "byte 2: a value is missing"),
        (b"\x80\x02Npx\n.", "a place that is no number"),
        (b"\x80\x02g99999999999999999999\n.", "a place that is no number"),
        (b"\x80\x02g7\n.", "value 7 was never kept"),
        (b"\x80\x022.", "a value is missing"),
        (b"\x80\x02S'x'", "a line without an end"),
        (b"\x80\x02l.", "a mark is missing"),
        (b"\x80\x02(Nd.", "a key without a value"),
        (b"\x80\x02(o.", "a value is missing"),
        (b"\x80\x02(No.", "something that cannot be called"),
        (b"\x80\x02itimm\nNet\n.", "a mark is missing"),
        (b"\x80\x02T\xff\xff\xff\xffx.", "it breaks off"),
        (b"\x80\x02N.", "holds no tensors by name"),
        (b"\x80\x02}.", "holds no tensors by name"),
    ] {
        let error = refusal(&file(bytes));
        assert!(error.contains("a/data.pkl") && error.contains(reason), "{error}\ninstead of: {reason}");
    }
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
        vec![0x92],
        vec![0x93],
        vec![0x94],
        b"l".to_vec(),
        b"d".to_vec(),
        b"o".to_vec(),
        b"2".to_vec(),
        b"p1\n".to_vec(),
        b"g1\n".to_vec(),
        b"itimm\nNet\n".to_vec(),
        b"S'conv.weight'\n".to_vec(),
        integer(-1),
        text("conv.weight"),
        text("_modules"),
        text("_parameters"),
        text("storage"),
        text("0"),
        global("collections", "OrderedDict"),
        global("torch._utils", "_rebuild_tensor_v2"),
        global("torch._utils", "_rebuild_parameter"),
        global("torch._tensor", "_rebuild_from_type_v2"),
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
        let _ = read(&file(&pickle(bytes)));
    }
}

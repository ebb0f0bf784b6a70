//! What the scanners of pickles are tested with, picklescan 1.0.5 and fickling 0.1.12, and what comes with safetensors as
//! its attack on PyTorch's files: every kind of their samples, made anew here. None is run, and the error names what it
//! would call.

mod common;

use common::{Member, dict, file, global, good, integer, member, pickle, refusal, refused, text, tuple, zip};

/// Classes and functions that the samples call.
const CALLED: &str = "\
    __builtin__.eval __builtin__.exec __builtin__.compile __builtin__.globals __builtin__.apply \
    __builtin__.__import__ builtins.eval builtins.exec builtins.compile builtins.open builtins.breakpoint \
    builtins.__import__ __builtins__.eval numpy.__builtins__ os.system os.popen os.execv posix.system posix.popen \
    nt.system subprocess.run subprocess.call subprocess.Popen subprocess.check_output commands.run \
    commands.getoutput SocketServer.TCPServer xmlrpclib.ServerProxy sys.exit sys.modules pty.spawn runpy._run_code \
    runpy.run_path runpy.run_module importlib.import_module importlib.util.find_spec imp.load_source \
    pkgutil.resolve_name marshal.loads types.FunctionType types.CodeType ctypes.CDLL ctypes.util.find_library \
    code.InteractiveInterpreter code.InteractiveInterpreter.runcode code.InteractiveConsole codeop.compile_command \
    multiprocessing.util.spawnv_passfds _posixsubprocess.fork_exec pydoc.locate pydoc.pipepager pickle.loads \
    cPickle.loads _pickle.loads shelve.open dill.loads cloudpickle.cloudpickle._make_function \
    cloudpickle.cloudpickle._builtin_type cloudpickle.cloudpickle._function_setstate \
    cloudpickle.cloudpickle._make_cell cloudpickle.cloudpickle._make_empty_cell cloudpickle.cloudpickle.subimport \
    _frozen_importlib._gcd_import gc.get_objects site.execsitecustomize tempfile.mkdtemp filecmp.cmp pexpect.run \
    socketserver.TCPServer atexit.register sqlite3.connect fileinput.input compileall.compile_file joblib.load \
    pandas.read_pickle httplib.HTTPSConnection http.client.HTTPSConnection requests.api.get \
    aiohttp.client.ClientSession urllib.request.urlopen socket.socket socket.create_connection _socket.socket \
    ssl.get_server_certificate smtplib.SMTP ftplib.FTP poplib.POP3 telnetlib.Telnet nntplib.NNTP \
    imaplib.IMAP4_stream xmlrpc.client.ServerProxy webbrowser.open bdb.Bdb bdb.Bdb.run pdb.run pip.main \
    ensurepip._run_pip venv.create timeit.timeit cProfile.run cProfile.runctx profile.run profile.Profile.run \
    profile.Profile.runctx trace.Trace.run trace.Trace.runctx doctest.debug_script \
    lib2to3.pgen2.grammar.Grammar.loads lib2to3.pgen2.pgen.ParserGenerator.make_label \
    idlelib.debugobj.ObjectTreeItem.SetText idlelib.autocomplete.AutoComplete.get_entity \
    idlelib.autocomplete.AutoComplete.fetch_completions idlelib.calltip.Calltip.fetch_tip idlelib.calltip.get_entity \
    idlelib.run.Executive.runcode idlelib.pyshell.ModifiedInterpreter.runcommand \
    idlelib.pyshell.ModifiedInterpreter.runcode asyncio.unix_events._UnixSubprocessTransport._start \
    distutils.file_util.write_file _aix_support._read_cmd_output _osx_support._find_build_tool \
    _osx_support._read_output _operator.attrgetter _pyrepl.pager.pipe_pager \
    test.support.script_helper.assert_python_ok uuid._get_command_stdout io.FileIO _io.FileIO logging.FileHandler \
    operator.attrgetter operator.itemgetter operator.methodcaller _operator.methodcaller \
    numpy.testing._private.utils.runstring numpy.f2py.crackfortran.getlincoef numpy.load torch.load \
    torch.serialization.load torch.hub.load torch._inductor.codecache.compile_file \
    torch._dynamo.guards.GuardBuilder.get torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression \
    torch.utils.collect_env.run torch.utils.collect_env.run_and_read_all \
    torch.utils.bottleneck.__main__.run_cprofile torch.utils.bottleneck.__main__.run_autograd_prof \
    torch.utils.data.datapipes.utils.decoder.basichandlers torch.utils._config_module.ConfigModule.load_config \
    torch.jit.unsupported_tensor_ops.execWrapper fickling.hook.remove_hook \
    fickling.hook.deactivate_safe_ml_environment picklescan.scanner.scan_bytes modelscan.modelscan.ModelScan";

/// What Python's pickler writes of an object that asks to be made by a call of `module.name('id')`.
fn called(protocol: u8, module: &str, name: &str) -> Vec<u8> {
    let short = |text: &str| [&[0x8C, text.len() as u8][..], text.as_bytes(), b"\x94"].concat();
    let by_lines = global(module, name);
    match protocol {
        0 => [&by_lines[..], b"p0\n(Vid\np1\ntp2\nRp3\n."].concat(),
        1 => [&by_lines[..], b"q\0(", &text("id"), b"q\x01tq\x02Rq\x03."].concat(),
        2 | 3 => [&[0x80, protocol][..], &by_lines, b"q\0", &text("id"), b"q\x01\x85q\x02Rq\x03."].concat(),
        _ => {
            let code =
                [short(module), short(name), b"\x93\x94".to_vec(), short("id"), b"\x85\x94R\x94.".to_vec()].concat();
            [&[0x80, protocol, 0x95][..], &(code.len() as u64).to_le_bytes(), &code].concat()
        }
    }
}

/// Refused, for what would be called.
fn named(code: &[u8], path: &str) {
    let error = refusal(&file(code));
    let told =
        error.contains(&format!("call {path}, which weights never need")) && error.contains("nothing of it was run");
    assert!(told && error.contains("a/data.pkl, byte "), "{error}\ninstead of: {path}");
}

#[test]
fn calls_are_named_in_every_protocol() {
    for path in CALLED.split_ascii_whitespace() {
        // A name may have dots, and where it begins makes no difference.
        for (dot, _) in path.match_indices('.') {
            let (module, name) = (&path[..dot], &path[dot + 1..]);
            (0..=5).for_each(|protocol| named(&called(protocol, module, name), path));
        }
    }
}

/// By what tensors and containers never need, but which by itself does nothing: it stands for itself, and nothing else is there.
#[test]
fn what_could_be_harmless_is_named_as_what_the_file_holds() {
    for (module, name) in
        [("__builtin__", "getattr"), ("builtins", "getattr"), ("posixpath", "join"), ("linecache", "getline")]
    {
        for protocol in 2..=5 {
            let error = refusal(&file(&called(protocol, module, name)));
            assert!(error.contains(&format!("holds no tensors by name, only `{module}.{name}`")), "{error}");
        }
        for protocol in 0..2 {
            refusal(&file(&called(protocol, module, name)));
        }
    }
}

/// Forms by which one scanner or another has been deceived.
#[test]
fn calls_are_named_in_every_form() {
    let stack_global = |module: &str, name: &str| [text(module), text(name), b"\x93".to_vec()].concat();
    let reduce = |function: Vec<u8>, argument: &str| [function, text(argument), b"\x85R".to_vec()].concat();
    let proto = |code: &[&[u8]]| [b"\x80\x04", &code.concat()[..], b"."].concat();
    // From "Sour Pickles" (Slaviero, 2011): code is compiled and run, and its result taken out of its globals.
    named(
        b"c__builtin__\nglobals\n(tRp100\n0c__builtin__\ncompile\n(S'read=1;'\nS''\nS'exec'\ntRp101\n0c__builtin__\neval\n(g101\ng100\n\
          tRp102\n0c__builtin__\ngetattr\n(c__builtin__\ndict\nS'get'\ntRp103\n0c__builtin__\napply\n(g103\n(g100\nS'read'\nltRp104\n0\
          g104\n.",
        "__builtin__.globals",
    );
    // INST and OBJ.
    named(b"(S'raise RuntimeError(\"run\")'\ni__builtin__\nexec\n.", "__builtin__.exec");
    named(b"(ios\nsystem\nS'id'\n\x85R.", "os.system");
    named(b"(cpty\nspawn\nS'id'\no.", "pty.spawn");
    named(b"(cos\nsystem\nS\"whoami\"\no.", "os.system");
    // Module and name by UNICODE, PUT and GET among others, without a protocol; and with bytes behind the end.
    let by_memo = b"Vos\np2\n0Vsystem\np3\n0Vtorch\np0\n0VLongStorage\np1\n0g2\ng3\n\x93(Vcat flag.txt\ntR.";
    named(by_memo, "os.system");
    named(&[&by_memo[..], b"\n\n\t\t"].concat(), "os.system");
    named(b"S'os'\nS'system'\n\x93S'ls'\n\x85R.", "os.system");
    named(b"U\x02osU\x06system\x93S'ls'\n\x85R.", "os.system");
    // What makes a scanner break off afterwards: a value that was never kept, a number for a module, an end in the middle.
    named(b"\x80\x04cos\nsystem\nVecho\n\x85R0\x8C\x02os\x94h\x03h\0\x93KB.", "os.system");
    named(b"\x80\x04cos\nsystem\nVecho\n\x85R0J\x2A\0\0\0\x94\x8C\x02os\x94h\0h\x01\x93KB.", "os.system");
    named(b"cbuiltins\nexec\n(X>\nf = open('my_file.txt', 'a'); f.write('Malicious'); f.close()tRX.", "builtins.exec");
    // A function that is found by the attributes of a module.
    let attribute = reduce(stack_global("operator", "attrgetter"), "system");
    let module = reduce(stack_global("builtins", "__import__"), "os");
    named(&proto(&[&attribute, &module, b"\x85R", &text("echo"), b"\x85R"]), "operator.attrgetter");
    let getattr = stack_global("builtins", "getattr");
    for (path, found) in [
        ("ctypes.CDLL", reduce(stack_global("ctypes", "CDLL"), "libc.so.6")),
        ("importlib.import_module", reduce(stack_global("importlib", "import_module"), "os")),
        ("code.InteractiveInterpreter", [stack_global("code", "InteractiveInterpreter"), b")R".to_vec()].concat()),
    ] {
        named(&proto(&[&getattr, &found, &text("system"), b"\x86R", &text("id"), b"\x85R"]), path);
    }
    // Names put together from letters by calls: the first of them is told.
    let letters = |n: &[i64]| {
        [
            b"h\0".to_vec(),
            tuple(&n.iter().map(|&n| integer(n)).collect::<Vec<_>>()),
            b"R".to_vec(),
            text("abc"),
            b"\x85R\x94".to_vec(),
        ]
        .concat()
    };
    let dynamic =
        [global("operator", "itemgetter"), b"q\x000".to_vec(), letters(&[1, 2]), letters(&[0, 2]), b"\x93".to_vec()];
    named(&proto(&[&dynamic.concat()]), "operator.itemgetter");
    // Python's functions by way of a module that has them, with POP_MARK.
    let module =
        [stack_global("numpy", "poly1d"), stack_global("numpy", "size"), stack_global("numpy", "__builtins__")]
            .concat();
    named(&proto(&[b"(", &module, b"1N"]), "numpy.__builtins__");
    // What is made by a harmless function of a harmful one, and of a state.
    let partial =
        [stack_global("functools", "partial"), stack_global("torch.serialization", "load"), b"\x85R".to_vec()].concat();
    named(
        &proto(&[&partial, b"(", &stack_global("torch.serialization", "load"), b")}Ntb)R"]),
        "torch.serialization.load",
    );
    named(&proto(&[&reduce(stack_global("pty", "spawn"), "id"), &text("state"), b"b"]), "pty.spawn");
    named(
        &proto(&[
            &stack_global("marshal", "loads"),
            b"C\x01x\x85R",
            &stack_global("types", "FunctionType"),
            b"h\0}\x86R)R",
        ]),
        "marshal.loads",
    );
    named(b"\x80\x02cbdb\nBdb\n)\x81}X\x04\0\0\0skipNsbX\x02\0\0\0id\x86.", "bdb.Bdb");
}

/// Before, behind and instead of what is sound: as fickling and others put code into checkpoints.
#[test]
fn calls_that_are_put_into_a_sound_pickle_are_named() {
    let sound = dict(&[("conv.weight", good())]);
    let exec = [global("__builtin__", "exec"), b"(X\x02\0\0\0idtR".to_vec()].concat();
    for code in [
        [exec.clone(), b"0".to_vec(), sound.clone()],
        [sound.clone(), exec.clone(), b"0".to_vec()],
        [sound.clone(), b"0".to_vec(), exec.clone()],
        [sound.clone(), exec.clone(), b"\x86".to_vec()],
        [b"(".to_vec(), exec.clone(), [b"1", &sound[..]].concat()],
        // With a second and a third protocol.
        [sound.clone(), [b"\x80\x03\x80\x02", &exec[..]].concat(), b"0".to_vec()],
    ] {
        named(&pickle(code.concat()), "__builtin__.exec");
    }
    // The attack of safetensors: a dictionary that is made by `eval` and filled afterwards.
    let made =
        [global("__builtin__", "eval"), tuple(&[text("os.system('echo pwned') or dict()")]), b"R".to_vec()].concat();
    let filled = [&made[..], b"(", &text("weight"), &good(), b"u"].concat();
    named(&pickle(filled), "__builtin__.eval");
    // Of several pickles the first is read, by PyTorch as well.
    let benign = b"\x80\x04]\x94(\x8C\x01a\x94\x8C\x01b\x94e.";
    for code in [[&benign[..], &called(4, "requests.api", "get")].concat(), [benign.as_slice(); 3].concat()] {
        refused(&file(&code), "a/data.pkl, byte 14: something stands behind its end");
    }
}

/// What a scanner passes over and PyTorch opens: archives that Python's reader finds wrong, and pickles under other names.
#[test]
fn archives_of_attacks_are_refused() {
    let attack = || member("a/data.pkl", &called(4, "builtins", "eval"));
    let call = "call builtins.eval, which";
    for (parts, reason) in [
        (vec![attack()], call),
        (vec![Member { flags: 0x20, ..attack() }], call),
        (vec![Member { flags: 0x40, ..attack() }], call),
        (vec![Member { flags: 1, ..attack() }], "a/data.pkl is encrypted"),
        (vec![Member { crc: 1, ..attack() }], "a/data.pkl: has been damaged"),
        // Zero stands for a sum that was not computed.
        (vec![Member { crc: 0, ..attack() }], call),
        (vec![Member { own_name: "a/datap.kl".into(), ..attack() }], "a header that says something else"),
        (vec![Member { name: "a/datap.kl".into(), ..attack() }], "a header that says something else"),
        (vec![Member { name: "data.pkl".into(), own_name: "data.pkl".into(), ..attack() }], "without a `data.pkl`"),
        (vec![member("a/data.txt", &attack().bytes)], "without a `data.pkl`"),
        (vec![member("a/b/data.pkl", &attack().bytes)], "without a `data.pkl`"),
    ] {
        refused(&zip(&parts), reason);
    }
    // Without an archive, as PyTorch once wrote them, and under the first bytes of a photo or of an archive of tapes.
    let old = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    refused(&[&old[..], &attack().bytes].concat(), "in the form of before version 1.6");
    let mut tape = vec![0; 1536];
    tape[..10].copy_from_slice(b"weight.pkl");
    tape[257..262].copy_from_slice(b"ustar");
    tape[512..][..attack().bytes.len()].copy_from_slice(&attack().bytes);
    for bytes in [&attack().bytes[..], &called(0, "os", "system"), b"\x89PNG\r\n\x1a\n\0\0", &tape] {
        refused(bytes, "neither a safetensors file nor one that PyTorch's `torch.save` wrote");
    }
    let header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
    let begin = [&b"\x93NUMPY\x01\0"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
    let objects = [begin, called(3, "ssl", "get_server_certificate")].concat();
    let error = cspnet_formats::numpy::read_bytes(&objects).unwrap_err().to_string();
    assert!(error.contains("of type `|O`"), "{error}");
}

/// Lists of lists, each of which holds the one before many times: a billion values if each is counted wherever it is.
#[test]
fn values_that_multiply_take_no_memory() {
    let often = |by: &[u8]| by.repeat(9);
    let laughs = |layers: usize, by: &dyn Fn(usize) -> Vec<u8>| {
        let layer = |i: usize| [&by(i)[..], b"l"].concat();
        pickle([b"(".repeat(layers), text("lol"), (0..layers).flat_map(layer).collect()].concat())
    };
    let by_copies = laughs(9, &|_| often(b"2"));
    let by_memo = laughs(9, &|i| [b"q".as_slice(), &[i as u8], &often(&[b'h', i as u8])].concat());
    refused(&file(&by_copies), "opcode 0x32");
    refused(&file(&by_memo), "opcode 0x6C");
    let appended = pickle([b"]\x94".to_vec(), b"h\0a".repeat(200)].concat());
    refused(&file(&appended), "holds no tensors by name");
}

//! The classes and functions that a pickle may name. Those that only attacks need are refused by name; nothing is ever called.
//!
//! Not here: what calling one would give ([`super::calls`]).

use std::fmt;

use safetensors::Dtype;

/// A class or function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Global<'a> {
    pub module: &'a str,
    pub name: &'a str,
}

impl fmt::Display for Global<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// What of Python and its libraries attacks call to take over the program that opens a pickle: modules, classes and functions. That
/// nothing happens here does not rest on this list: it is there so that whoever has such a file hears of it. What networks that were
/// stored whole have as well, such as `getattr` and `functools.partial`, is not in it, for by itself it can do nothing. At the end are
/// programs that look for attacks, which one may switch off from within.
const WEAPONS: &str = "os posix nt subprocess sys shutil socket ssl pty runpy importlib imp popen2 webbrowser ctypes \
    marshal codeop pip ensurepip pdb bdb timeit asyncio pickle cPickle dill cloudpickle shelve requests urllib \
    urllib2 httplib http aiohttp ftplib smtplib telnetlib imaplib poplib nntplib xmlrpc multiprocessing \
    posixsubprocess pydoc doctest cProfile idlelib lib2to3 distutils venv frozen_importlib frozen_importlib_external \
    gc site tempfile filecmp pexpect socketserver SocketServer BaseHTTPServer SimpleXMLRPCServer DocXMLRPCServer \
    xmlrpclib atexit sqlite3 fileinput compileall zipimport pkgutil pyrepl aix_support osx_support commands \
    code.InteractiveInterpreter code.InteractiveConsole profile.Profile profile.run profile.runctx trace.Trace \
    test.support io.FileIO io.open io.open_code logging.FileHandler logging.config uuid._get_command_stdout \
    operator.attrgetter operator.itemgetter operator.methodcaller types.FunctionType types.CodeType numpy.f2py \
    numpy.testing numpy.load numpy.ctypeslib pandas.read_pickle joblib.load torch.load torch.hub \
    torch.serialization.load torch.package torch._dynamo torch._inductor torch.jit.unsupported_tensor_ops \
    torch.fx.experimental torch.utils._config_module torch.utils.bottleneck torch.utils.collect_env \
    torch.utils.cpp_extension torch.utils.data.datapipes fickling picklescan modelscan modelaudit";

/// Functions of Python itself with which the same can be done.
const BUILTIN_WEAPONS: &str =
    "eval exec execfile compile open file input raw_input breakpoint apply globals locals vars help reload";

/// Names by which one gets from anything to everything.
const KEYS: [&str; 6] = ["__builtins__", "__globals__", "__import__", "__subclasses__", "__getattribute__", "__code__"];

/// Whether a path is that of a weapon or within one. Modules in C have the name of those that they are for behind an underscore.
fn is_weapon(path: &str) -> bool {
    let path = path.strip_prefix('_').unwrap_or(path);
    let within = |weapon| path.strip_prefix(weapon).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('.'));
    WEAPONS.split(' ').any(within)
}

impl<'a> Global<'a> {
    /// The global of this name, unless it is one of those that only attacks need.
    pub(super) fn new(module: &'a str, name: &'a str) -> Result<Self, String> {
        let global = Self { module, name };
        // A name may lead through what another module has imported.
        let through = name.rsplit_once('.').map_or("", |(path, _)| path);
        let first = name.split('.').next();
        let is_builtin = matches!(module, "builtins" | "__builtin__")
            && BUILTIN_WEAPONS.split(' ').any(|weapon| first == Some(weapon));
        let path = global.to_string();
        let has_key = path.split('.').any(|part| KEYS.contains(&part));
        if is_builtin || has_key || is_weapon(&path) || through.split('.').any(is_weapon) {
            return Err(format!(
                "it makes programs that open it call {path}, which weights never need: the file may be an attack; nothing \
                 of it was run; open it with nothing else, and ask where it comes from"
            ));
        }
        Ok(global)
    }

    /// The kind of numbers in a storage of this class: `None` if it is no storage, `Some(None)` if it is one of a kind that is
    /// not known here.
    pub(super) fn storage(self) -> Option<Option<Dtype>> {
        if !matches!(self.module, "torch" | "torch.storage") {
            return None;
        }
        Some(match self.name.strip_suffix("Storage")? {
            "Float" => Some(Dtype::F32),
            "Half" => Some(Dtype::F16),
            "BFloat16" => Some(Dtype::BF16),
            "Double" => Some(Dtype::F64),
            "Long" => Some(Dtype::I64),
            "Int" => Some(Dtype::I32),
            "Short" => Some(Dtype::I16),
            "Char" => Some(Dtype::I8),
            "Byte" => Some(Dtype::U8),
            "Bool" => Some(Dtype::BOOL),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_attacks_need_is_refused_by_name() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("__builtin__", "exec"),
            ("subprocess", "Popen"),
            ("importlib.util", "module_from_spec"),
            ("torch.serialization", "os.system"),
            ("torch.serialization", "load"),
            ("numpy.testing._private.utils", "runstring"),
            ("code", "InteractiveInterpreter.runcode"),
            ("builtins", "eval.__call__"),
            ("builtins", "__import__"),
            ("_io", "FileIO"),
            ("_operator", "methodcaller"),
            ("numpy", "__builtins__"),
            ("collections", "OrderedDict.__init__.__globals__"),
        ] {
            let error = Global::new(module, name).unwrap_err();
            assert!(error.contains(&format!("{module}.{name}")) && error.contains("nothing of it was run"), "{error}");
        }
        for (module, name) in [
            ("argparse", "Namespace"),
            ("types", "SimpleNamespace"),
            ("__builtin__", "set"),
            ("timm.models.code", "os"),
            ("code", "Net"),
            ("osmium", "Net"),
            ("torch", "loaded"),
            ("functools", "partial"),
            ("_io", "BytesIO"),
            ("_codecs", "encode"),
            ("copyreg", "__newobj__"),
        ] {
            assert!(Global::new(module, name).is_ok());
        }
    }
}

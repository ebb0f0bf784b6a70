//! The classes and functions that a pickle may name, and what calling one gives.
//!
//! Nothing is ever called: the few that make up a checkpoint's tensors and containers are understood, all others give a value
//! that stands for whatever they would have made.

use std::fmt;

use safetensors::Dtype;

use super::heap::{Heap, Object, Storage, Tensor, Value};
use crate::archive::Member;

/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 16;

/// A class or function by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Global<'a> {
    module: &'a str,
    name: &'a str,
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
    fn storage(self) -> Option<Option<Dtype>> {
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

    /// What calling it with these arguments gives.
    pub(super) fn call(self, heap: &mut Heap<'a>, arguments: Value<'a>) -> Result<Value<'a>, String> {
        let given = heap.tuple(arguments).ok_or("the arguments of a call are no tuple")?;
        match (self.module, self.name, given) {
            ("collections", "OrderedDict", []) => heap.add(Object::Dict(Vec::new())),
            ("torch._utils", "_rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
                let tensor = tensor(heap, storage, offset, shape, strides)?;
                heap.charge::<usize>(2 * tensor.shape.len())?;
                heap.charge::<Tensor>(1)?;
                heap.add(Object::Tensor(Box::new(tensor)))
            }
            ("torch._utils", "_rebuild_tensor_v2", _) => Err(format!("{self} has too few arguments")),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", &[tensor, ..]) => Ok(tensor),
            ("torch", "Size", &[sizes]) if heap.tuple(sizes).is_some() => Ok(sizes),
            _ => heap.add(Object::Opaque { made_by: self, state: None }),
        }
    }
}

/// The storage that a persistent identifier names: `('storage', class, key, place, count)`.
pub(super) fn storage<'a>(
    heap: &mut Heap<'a>,
    identifier: Value<'a>,
    member: impl Fn(&str) -> Option<Member>,
) -> Result<Value<'a>, String> {
    let Some(&[Value::Text("storage"), class, Value::Text(key), _place, Value::Integer(count)]) =
        heap.tuple(identifier)
    else {
        return Err("a reference to something that is no storage".into());
    };
    let Some(Object::Global(class)) = heap.get(class) else { return Err("a storage without a class".into()) };
    let dtype = class.storage().ok_or_else(|| format!("{class} is no storage"))?;
    let len = usize::try_from(count).map_err(|_| format!("storage {key} has a count of {count}"))?;
    let member = member(key).ok_or_else(|| format!("storage {key} is not in the file"))?;
    let bytes = dtype.map(|d| len.saturating_mul(d.bitsize() / 8));
    if bytes.is_some_and(|bytes| bytes != member.len) {
        return Err(format!("storage {key} has {} bytes, and should have {len} numbers of {class}", member.len));
    }
    heap.add(Object::Storage(Storage { member, dtype, len }))
}

/// A tensor of a storage, all of whose numbers are there.
fn tensor<'a>(
    heap: &Heap<'a>,
    storage: Value<'a>,
    offset: Value<'a>,
    shape: Value<'a>,
    strides: Value<'a>,
) -> Result<Tensor, String> {
    let storage = match heap.get(storage) {
        Some(Object::Storage(storage)) => *storage,
        Some(Object::Opaque { made_by, .. }) => {
            return Err(format!("a tensor of what {made_by} makes, which is no storage"));
        }
        _ => return Err("a tensor of something that is no storage".into()),
    };
    let whole = |value| match value {
        Value::Integer(n) => usize::try_from(n).map_err(|_| format!("a tensor with a negative size or place, {n}")),
        _ => Err("a tensor with a size or place that is no whole number".into()),
    };
    let all = |value| {
        let values = heap.tuple(value).ok_or("a tensor whose sizes are no tuple")?;
        if values.len() > MAX_DIMENSIONS {
            return Err(format!("a tensor of {} dimensions; at most {MAX_DIMENSIONS} are read", values.len()));
        }
        values.iter().map(|&v| whole(v)).collect::<Result<Vec<_>, _>>()
    };
    let tensor = Tensor { storage, offset: whole(offset)?, shape: all(shape)?, strides: all(strides)? };
    if tensor.shape.len() != tensor.strides.len() {
        return Err(format!("a tensor of {} sizes and {} strides", tensor.shape.len(), tensor.strides.len()));
    }
    match tensor.reach() {
        Some(reach) if reach <= storage.len => Ok(tensor),
        _ => Err(format!(
            "a tensor of shape {:?} from place {} on reaches beyond its storage of {} numbers",
            tensor.shape, tensor.offset, storage.len
        )),
    }
}

impl Tensor {
    /// The place behind its last number in its storage; `None` if there can be none, or if it has more numbers than can be.
    fn reach(&self) -> Option<usize> {
        self.shape.iter().try_fold(1_usize, |all, &n| all.checked_mul(n.max(1)))?;
        if self.shape.contains(&0) {
            return Some(self.offset);
        }
        let mut dims = self.shape.iter().zip(&self.strides);
        let last = dims.try_fold(self.offset, |at, (&n, &s)| at.checked_add((n - 1).checked_mul(s)?))?;
        last.checked_add(1)
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

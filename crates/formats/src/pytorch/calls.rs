//! What calling a class or function of a pickle gives.
//!
//! Nothing is ever called: the few that make up a checkpoint's tensors and containers are understood, all others give a value
//! that stands for whatever they would have made.

use super::globals::Global;
use super::heap::{Heap, Object, Storage, Tensor, Value};
use crate::archive::Member;

/// Most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 16;

/// What calling a class or function with these arguments gives.
pub(super) fn call<'a>(global: Global<'a>, heap: &mut Heap<'a>, arguments: Value<'a>) -> Result<Value<'a>, String> {
    let given = heap.tuple(arguments).ok_or("the arguments of a call are no tuple")?;
    match (global.module, global.name, given) {
        ("collections", "OrderedDict", []) => heap.add(Object::Dict(Vec::new())),
        ("torch._utils", "_rebuild_tensor_v2", &[storage, offset, shape, strides, ..]) => {
            let tensor = tensor(heap, storage, offset, shape, strides)?;
            heap.charge::<usize>(2 * tensor.shape.len())?;
            heap.charge::<Tensor>(1)?;
            heap.add(Object::Tensor(Box::new(tensor)))
        }
        ("torch._utils", "_rebuild_tensor_v2", _) => Err(format!("{global} has too few arguments")),
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", &[tensor, ..]) => Ok(tensor),
        // A tensor with attributes of its own, or of a class of its own: what makes a plain one, the class, its arguments, the attributes.
        ("torch._tensor", "_rebuild_from_type_v2", &[function, _class, arguments, ..]) => match heap.get(function) {
            Some(&Object::Global(function)) if function.module == "torch._utils" => call(function, heap, arguments),
            _ => heap.add(Object::Opaque { made_by: global, state: None }),
        },
        ("torch", "Size", &[sizes]) if heap.tuple(sizes).is_some() => Ok(sizes),
        _ => heap.add(Object::Opaque { made_by: global, state: None }),
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

//! What a pickle makes, as plain values that refer to each other by number: so loops do no harm, and nothing is ever deep.
//!
//! Not here: which opcode makes which ([`super::machine`]).

use safetensors::Dtype;

use super::globals::Global;
use crate::archive::Member;

/// Memory that all values of a pickle may take, in bytes: enough for some ten thousand tensors.
const MAX_MEMORY: usize = 32 << 20;

/// A value on the stack or in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
    Object(Id),
    /// None, a truth value, bytes, a fraction: what no tensor depends on.
    Plain,
}

/// The number of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// A value that others refer to.
#[derive(Clone, Debug)]
pub(super) enum Object<'a> {
    List(Vec<Value<'a>>),
    Tuple(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Global(Global<'a>),
    Storage(Storage),
    Tensor(Box<Tensor>),
    /// Something made by a class or function that is not known here, with what it was told to keep.
    Opaque {
        made_by: Global<'a>,
        state: Option<Id>,
    },
}

/// Numbers that tensors are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub member: Member,
    /// Their kind, if it is one of those known here.
    pub dtype: Option<Dtype>,
    /// How many they are, as far as is known.
    pub len: usize,
}

/// Some numbers of a storage.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub storage: Storage,
    /// The first of them.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// How many numbers further the next one of each dimension stands.
    pub strides: Vec<usize>,
}

/// All objects of a pickle, and what is left of the memory they may take.
pub(super) struct Heap<'a> {
    objects: Vec<Object<'a>>,
    left: usize,
}

impl<'a> Heap<'a> {
    pub(super) fn new() -> Self {
        Self { objects: Vec::new(), left: MAX_MEMORY }
    }

    /// Takes memory for so many things of one type, before they are there. A list that grows may be twice as long as what it
    /// holds.
    pub(super) fn charge<T>(&mut self, count: usize) -> Result<(), String> {
        let bytes = count.saturating_mul(2 * size_of::<T>());
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            format!("its values would take more than {} MB, without the tensors' numbers", MAX_MEMORY >> 20)
        })?;
        Ok(())
    }

    /// Keeps an object. What it holds has been charged.
    pub(super) fn add(&mut self, object: Object<'a>) -> Result<Value<'a>, String> {
        self.charge::<Object<'_>>(1)?;
        self.objects.push(object);
        Ok(Value::Object(Id(self.objects.len() as u32 - 1)))
    }

    /// The object that a value refers to.
    pub(super) fn get(&self, value: Value<'a>) -> Option<&Object<'a>> {
        match value {
            Value::Object(id) => Some(self.of(id)),
            _ => None,
        }
    }

    /// The object of a number.
    pub(super) fn of(&self, id: Id) -> &Object<'a> {
        &self.objects[id.0 as usize]
    }

    /// The object that a value refers to, to change.
    pub(super) fn get_mut(&mut self, value: Value<'a>) -> Option<&mut Object<'a>> {
        match value {
            Value::Object(id) => Some(&mut self.objects[id.0 as usize]),
            _ => None,
        }
    }

    /// The entries of a dictionary.
    pub(super) fn dict(&self, value: Value<'a>) -> Option<&[(Value<'a>, Value<'a>)]> {
        match self.get(value)? {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    /// The values of a tuple.
    pub(super) fn tuple(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match self.get(value)? {
            Object::Tuple(values) => Some(values),
            _ => None,
        }
    }
}

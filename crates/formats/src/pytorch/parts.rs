//! The tensors of a checkpoint by name: those of each dictionary of it, and of each module that was stored whole.

use super::heap::{Heap, Id, Object, Tensor, Value};
use crate::published::numbers::Numbers;
use crate::published::part::{Part, Tensor as Published};
use crate::tensors::{Entry, Stored};
use crate::text;

/// How deep dictionaries and modules are looked into.
const MAX_DEPTH: usize = 32;

/// Most entries that are looked at. A dictionary that is in several others is looked at in each.
const MAX_ENTRIES: usize = 1 << 18;

/// Attributes of an object among which those of PyTorch's modules are looked for; they come first.
const MAX_ATTRIBUTES: usize = 256;

/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 512;

/// The tensors in a value, those of each dictionary together.
pub(super) fn find<'a>(heap: &mut Heap<'a>, value: Value<'a>) -> Result<Vec<Part>, String> {
    let mut finder = Finder { heap, parts: Vec::new(), tensors: 0, entries: 0 };
    finder.part(value, "", 0)?;
    Ok(finder.parts)
}

struct Finder<'h, 'a> {
    heap: &'h mut Heap<'a>,
    parts: Vec<Part>,
    /// Tensors found so far, apart from what only stands in the place of one.
    tensors: usize,
    /// Entries looked at so far.
    entries: usize,
}

impl<'a> Finder<'_, 'a> {
    /// The tensors of a dictionary, and then those of the dictionaries in it; or those of a module.
    fn part(&mut self, value: Value<'a>, path: &str, depth: usize) -> Result<(), String> {
        let (place, before) = (self.parts.len(), self.tensors);
        self.parts.push(Part { path: path.to_owned(), tensors: Vec::new() });
        let mut within = Vec::new();
        if let Some(state) = self.module(value) {
            self.members(state, "", place, depth)?;
        }
        for i in 0.. {
            let Some((key, value)) = self.pair(value, i) else { break };
            self.count(depth)?;
            let Value::Text(key) = key else { continue };
            if self.heap.dict(value).is_some() || self.module(value).is_some() {
                let path = join(path, key)?;
                self.heap.charge::<u8>(path.len())?;
                self.heap.charge::<(String, Value<'_>)>(1)?;
                within.push((path, value));
            } else {
                self.tensor(value, key, place)?;
            }
        }
        if self.tensors == before {
            self.parts.remove(place);
        }
        within.into_iter().try_for_each(|(path, value)| self.part(value, &path, depth + 1))
    }

    /// The tensors of a module's own and of the modules in it.
    fn members(&mut self, state: Id, path: &str, place: usize, depth: usize) -> Result<(), String> {
        for kind in ["_parameters", "_buffers", "_modules"] {
            let Some(dict) = self.entry(state, kind) else { continue };
            for i in 0.. {
                let Some((key, value)) = self.pair(dict, i) else { break };
                self.count(depth)?;
                let Value::Text(key) = key else { continue };
                let name = join(path, key)?;
                match (kind, self.module(value)) {
                    ("_modules", Some(state)) => self.members(state, &name, place, depth + 1)?,
                    ("_modules", None) => {}
                    _ => self.tensor(value, &name, place)?,
                }
            }
        }
        Ok(())
    }

    /// An entry of a dictionary by its place.
    fn pair(&self, dict: Value<'a>, i: usize) -> Option<(Value<'a>, Value<'a>)> {
        self.heap.dict(dict)?.get(i).copied()
    }

    /// What a module of PyTorch keeps, if a value is one.
    fn module(&self, value: Value<'a>) -> Option<Id> {
        let Some(&Object::Opaque { state: Some(state), .. }) = self.heap.get(value) else { return None };
        self.entry(state, "_modules").and_then(|v| self.heap.dict(v)).map(|_| state)
    }

    /// An entry of what a module keeps.
    fn entry(&self, dict: Id, name: &str) -> Option<Value<'a>> {
        let Object::Dict(entries) = self.heap.of(dict) else { return None };
        entries.iter().take(MAX_ATTRIBUTES).find(|(key, _)| *key == Value::Text(name)).map(|&(_, value)| value)
    }

    /// Notes a tensor, or what stands in a tensor's place and cannot be read.
    fn tensor(&mut self, value: Value<'a>, name: &str, place: usize) -> Result<(), String> {
        let content = match self.heap.get(value) {
            Some(Object::Tensor(tensor)) => {
                check_name(name)?;
                self.tensors += 1;
                numbers(tensor, name)
            }
            Some(Object::Opaque { made_by, .. }) => {
                check_name(name)?;
                Err(format!("is made by {made_by}, which is not read"))
            }
            _ => return Ok(()),
        };
        self.heap.charge::<Published>(1)?;
        self.heap.charge::<u8>(2 * name.len() + MAX_NAME)?;
        self.parts[place].tensors.push(Published { name: name.to_owned(), content });
        Ok(())
    }

    fn count(&mut self, depth: usize) -> Result<(), String> {
        self.entries += 1;
        if depth == MAX_DEPTH {
            return Err(format!("its dictionaries nest deeper than {MAX_DEPTH}, or hold themselves"));
        }
        if self.entries > MAX_ENTRIES {
            return Err(format!("its dictionaries have more than {MAX_ENTRIES} entries, each counted wherever it is"));
        }
        Ok(())
    }
}

/// A tensor's numbers by where they are in the file; or why they are not read.
fn numbers(tensor: &Tensor, name: &str) -> Result<Numbers, String> {
    let Tensor { storage, offset, shape, strides } = tensor;
    let dtype = storage.dtype.ok_or("holds a kind of number that is not read")?;
    let begin = storage.member.begin + offset * dtype.bitsize() / 8;
    let entry = Entry { name: name.to_owned(), dtype, shape: shape.clone() };
    Numbers::strided(Stored::new(entry, begin), strides, storage.member)
}

fn join(path: &str, key: &str) -> Result<String, String> {
    check_name(key)?;
    let name = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    check_name(&name).map(|()| name)
}

fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes; at most {MAX_NAME} are read", name.len()));
    }
    text::check("the name of a tensor", name)
}

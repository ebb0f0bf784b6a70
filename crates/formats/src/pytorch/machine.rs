//! Runs a pickle's opcodes: those that make up plain values and containers, of protocols 2 to 5. Every other is refused.
//!
//! The language is that of Python's `pickletools`. Not here: what calls give ([`super::calls`]).

mod older;

use std::collections::HashMap;

use super::calls;
use super::globals::Global;
use super::heap::{Heap, Object, Value};
use crate::archive::Member;
use crate::error::FormatError;

/// Most values on the stack at a time. Python's pickler puts a thousand entries of a container there at a time.
const MAX_STACK: usize = 1 << 17;

/// Longest name of a class or function, in bytes.
const MAX_NAME: usize = 256;

/// What a pickle makes: its value, and the objects that it refers to. `name` is the pickle's in messages, `member` gives the
/// storage of a key.
///
/// # Errors
/// If the pickle breaks off, says something that makes no sense, or uses what is not allowed; with the byte at which it does.
pub(super) fn run<'a>(
    name: &str,
    code: &'a [u8],
    member: impl Fn(&str) -> Option<Member>,
) -> Result<(Heap<'a>, Value<'a>), FormatError> {
    let mut machine = Machine {
        code,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        heap: Heap::new(),
        older: None,
    };
    loop {
        let begin = machine.at;
        let (at, why) = match machine.step(&member) {
            Ok(None) => continue,
            Ok(Some(value)) => match machine.older {
                None => return Ok((machine.heap, value)),
                Some((at, opcode)) => (at, older::unknown(opcode)),
            },
            Err(why) => (begin, why),
        };
        return Err(FormatError::PyTorch(why).within(&format!("{name}, byte {at}")));
    }
}

struct Machine<'a> {
    code: &'a [u8],
    /// The next byte.
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    heap: Heap<'a>,
    /// The first opcode of the older protocols: where it stands, and which it is.
    older: Option<(usize, u8)>,
}

impl<'a> Machine<'a> {
    /// Runs an opcode; the last one gives the pickle's value.
    fn step(&mut self, member: &impl Fn(&str) -> Option<Member>) -> Result<Option<Value<'a>>, String> {
        match self.byte()? {
            // PROTO and FRAME.
            0x80 => self.protocol()?,
            0x95 => self.frame()?,
            b'.' => return self.stop().map(Some),
            // Plain values.
            b'N' | 0x88 | 0x89 => self.push(Value::Plain)?,
            b'J' => self.signed().and_then(|n| self.push(Value::Integer(n)))?,
            b'K' => self.unsigned(1).and_then(|n| self.push(Value::Integer(n as i64)))?,
            b'M' => self.unsigned(2).and_then(|n| self.push(Value::Integer(n as i64)))?,
            0x8A => self.long(1)?,
            0x8B => self.long(4)?,
            b'G' => self.take(8).and_then(|_| self.push(Value::Plain))?,
            b'X' => self.text(4)?,
            0x8C => self.text(1)?,
            0x8D => self.text(8)?,
            b'C' => self.skip(1)?,
            b'B' => self.skip(4)?,
            0x8E | 0x96 => self.skip(8)?,
            // Containers. Sets are lists here, and frozen ones tuples.
            b']' | 0x8F => self.make(Object::List(Vec::new()))?,
            b')' => self.make(Object::Tuple(Vec::new()))?,
            b'}' => self.make(Object::Dict(Vec::new()))?,
            b'(' => self.mark()?,
            b't' | 0x91 => self.marked().and_then(|values| self.tuple(values))?,
            n @ 0x85..=0x87 => self.last(usize::from(n - 0x84)).and_then(|values| self.tuple(values))?,
            b'a' => self.last(1).and_then(|values| self.append(values))?,
            b'e' | 0x90 => self.marked().and_then(|values| self.append(values))?,
            b's' => self.last(2).and_then(|values| self.set(values))?,
            b'u' => self.marked().and_then(|values| self.set(values))?,
            // The stack and the memo.
            b'0' => self.drop_top()?,
            b'1' => self.marked().map(drop)?,
            b'q' => self.unsigned(1).and_then(|n| self.keep(n))?,
            b'r' => self.unsigned(4).and_then(|n| self.keep(n))?,
            0x94 => self.keep(self.memo.len() as u64)?,
            b'h' => self.unsigned(1).and_then(|n| self.recall(n))?,
            b'j' => self.unsigned(4).and_then(|n| self.recall(n))?,
            // Classes, functions and what they make.
            b'c' => self.global()?,
            0x93 => self.stack_global()?,
            b'R' | 0x81 => self.call()?,
            0x92 => self.call_with_names()?,
            b'b' => self.build()?,
            b'Q' => self.reference(member)?,
            other => self.older(other)?,
        }
        Ok(None)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// The next bytes.
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.code[self.at..];
        let taken = rest.get(..count).ok_or("it breaks off")?;
        self.at += count;
        Ok(taken)
    }

    fn unsigned(&mut self, bytes: usize) -> Result<u64, String> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn signed(&mut self) -> Result<i64, String> {
        self.unsigned(4).map(|n| i64::from(n as u32 as i32))
    }

    /// A whole number of any length; none that a tensor depends on has more than 64 bits.
    fn long(&mut self, length: usize) -> Result<(), String> {
        let count = self.unsigned(length)? as usize;
        let bytes = self.take(count)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xFF } else { 0 };
        let mut eight = [fill; 8];
        let fits = bytes.len() <= 8;
        self.push(if fits {
            eight[..bytes.len()].copy_from_slice(bytes);
            Value::Integer(i64::from_le_bytes(eight))
        } else {
            Value::Plain
        })
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let count = self.unsigned(length)? as usize;
        let text = std::str::from_utf8(self.take(count)?).map_err(|_| "a text that is not UTF-8")?;
        self.push(Value::Text(text))
    }

    /// Bytes, which no tensor depends on.
    fn skip(&mut self, length: usize) -> Result<(), String> {
        let count = self.unsigned(length)? as usize;
        self.take(count)?;
        self.push(Value::Plain)
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.byte()? {
            2..=5 => Ok(()),
            other => Err(format!("pickle protocol {other} is not read; PyTorch writes protocols 2 to 5")),
        }
    }

    /// A frame's length, which only says how much to read at a time.
    fn frame(&mut self) -> Result<(), String> {
        let count = self.unsigned(8)?;
        if count > (self.code.len() - self.at) as u64 {
            Err("a frame that is longer than the pickle".into())
        } else {
            Ok(())
        }
    }

    fn stop(&mut self) -> Result<Value<'a>, String> {
        let value = self.pop()?;
        match (self.stack.is_empty(), self.marks.is_empty(), self.at == self.code.len()) {
            (true, true, true) => Ok(value),
            (_, _, false) => Err("something stands behind its end".into()),
            _ => Err("it ends with more than one value".into()),
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        if self.stack.len() == MAX_STACK {
            return Err(format!("it piles up more than {MAX_STACK} values"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), String> {
        if self.marks.len() == MAX_STACK {
            return Err(format!("it nests more than {MAX_STACK} containers"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Takes the last values off the stack, down to the last mark at most.
    fn last(&mut self, count: usize) -> Result<Vec<Value<'a>>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count).filter(|&from| from >= floor);
        Ok(self.above(from.ok_or("a value is missing")?))
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.last(1).map(|values| values[0])
    }

    /// Takes everything above the last mark off the stack, and the mark.
    fn marked(&mut self) -> Result<Vec<Value<'a>>, String> {
        let from = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.above(from))
    }

    /// Takes everything above a height off the stack, into a list that is no longer than that.
    fn above(&mut self, from: usize) -> Vec<Value<'a>> {
        self.stack.drain(from..).collect()
    }

    fn drop_top(&mut self) -> Result<(), String> {
        match self.marks.last() {
            Some(&mark) if mark == self.stack.len() => self.marked().map(drop),
            _ => self.pop().map(drop),
        }
    }

    fn make(&mut self, object: Object<'a>) -> Result<(), String> {
        let value = self.heap.add(object)?;
        self.push(value)
    }

    fn tuple(&mut self, values: Vec<Value<'a>>) -> Result<(), String> {
        self.heap.charge::<Value<'_>>(values.len())?;
        self.make(Object::Tuple(values))
    }

    /// Appends values to the list that lies on top. What was made by something unknown takes what it gets.
    fn append(&mut self, values: Vec<Value<'a>>) -> Result<(), String> {
        let list = self.top()?;
        self.heap.charge::<Value<'_>>(values.len())?;
        match self.heap.get_mut(list) {
            Some(Object::List(list)) => list.extend(values),
            Some(Object::Opaque { .. }) => {}
            _ => return Err("values are appended to something that is no list".into()),
        }
        Ok(())
    }

    /// Puts keys with their values into the dictionary that lies on top.
    fn set(&mut self, values: Vec<Value<'a>>) -> Result<(), String> {
        let dict = self.top()?;
        self.heap.charge::<Value<'_>>(values.len())?;
        if !values.len().is_multiple_of(2) {
            return Err("a key without a value".into());
        }
        match self.heap.get_mut(dict) {
            Some(Object::Dict(entries)) => entries.extend(values.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Some(Object::Opaque { .. }) => {}
            _ => return Err("entries are put into something that is no dictionary".into()),
        }
        Ok(())
    }

    /// The value on top, which stays.
    fn top(&mut self) -> Result<Value<'a>, String> {
        let value = self.pop()?;
        self.stack.push(value);
        Ok(value)
    }

    fn keep(&mut self, place: u64) -> Result<(), String> {
        let value = self.top()?;
        self.heap.charge::<(u32, Value<'_>)>(1)?;
        self.memo.insert(place as u32, value);
        Ok(())
    }

    fn recall(&mut self, place: u64) -> Result<(), String> {
        let value = *self.memo.get(&(place as u32)).ok_or_else(|| format!("value {place} was never kept"))?;
        self.push(value)
    }

    /// A class or function named by two lines.
    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        self.make(Object::Global(Global::new(module, name)?))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = &self.code[self.at..];
        let end = rest.iter().take(MAX_NAME).position(|&b| b == b'\n').ok_or("a name without an end")?;
        let text = std::str::from_utf8(self.take(end + 1)?).map_err(|_| "a name that is not UTF-8")?;
        Ok(&text[..end])
    }

    /// A class or function named by two texts.
    fn stack_global(&mut self) -> Result<(), String> {
        match self.last(2)?[..] {
            [Value::Text(module), Value::Text(name)] if module.len().max(name.len()) <= MAX_NAME => {
                self.make(Object::Global(Global::new(module, name)?))
            }
            _ => Err("a class whose name is no text, or an endless one".into()),
        }
    }

    /// What a class or function makes of its arguments.
    fn call(&mut self) -> Result<(), String> {
        let values = self.last(2)?;
        let made = match self.heap.get(values[0]) {
            Some(&Object::Global(global)) => calls::call(global, &mut self.heap, values[1])?,
            Some(&Object::Opaque { made_by, .. }) => self.heap.add(Object::Opaque { made_by, state: None })?,
            _ => return Err("a call of something that cannot be called".into()),
        };
        self.push(made)
    }

    /// The same where some of the arguments have names, which none has that makes a tensor or a container of a checkpoint.
    fn call_with_names(&mut self) -> Result<(), String> {
        let values = self.last(3)?;
        match self.heap.get(values[0]) {
            Some(&(Object::Global(made_by) | Object::Opaque { made_by, .. })) => {
                self.make(Object::Opaque { made_by, state: None })
            }
            _ => Err("a call of something that cannot be called".into()),
        }
    }

    /// Gives an object its state. Only unknown ones have one that matters: the metadata of a dictionary and the like do not.
    fn build(&mut self) -> Result<(), String> {
        let given = self.pop()?;
        let object = self.top()?;
        match (self.heap.get_mut(object), given) {
            (Some(Object::Opaque { state, .. }), Value::Object(id)) => *state = Some(id),
            (Some(_), _) => {}
            (None, _) => return Err("a state for something that is no object".into()),
        }
        Ok(())
    }

    fn reference(&mut self, member: &impl Fn(&str) -> Option<Member>) -> Result<(), String> {
        let identifier = self.pop()?;
        let storage = calls::storage(&mut self.heap, identifier, member)?;
        self.push(storage)
    }
}

//! What protocols 0 and 1 have where later ones have something shorter: texts and numbers in lines, and calls of other forms.
//!
//! PyTorch writes no checkpoints in them, and none is read. Attacks are written in them, though, for scanners that do not know them
//! all; so they are followed up to what an attack names. Not here: escapes in texts, which no name that is told has.

use super::super::globals::Global;
use super::super::heap::{Object, Value};
use super::Machine;

impl<'a> Machine<'a> {
    /// Runs an opcode that only the older protocols need, and notes that there is one.
    ///
    /// # Errors
    /// If it is none, or makes no sense.
    pub(super) fn older(&mut self, opcode: u8) -> Result<(), String> {
        let begin = self.at - 1;
        match opcode {
            b'S' | b'V' => self.text_line()?,
            b'U' => self.old_text(1)?,
            b'T' => self.old_text(4)?,
            b'I' | b'L' | b'F' => self.rest_of_line().and_then(|_| self.push(Value::Plain))?,
            b'l' => self.filled(Object::List(Vec::new()), Self::append)?,
            b'd' => self.filled(Object::Dict(Vec::new()), Self::set)?,
            b'2' => self.top().and_then(|value| self.push(value))?,
            b'p' => self.place().and_then(|place| self.keep(place))?,
            b'g' => self.place().and_then(|place| self.recall(place))?,
            b'i' => self.instance_by_name()?,
            b'o' => self.instance()?,
            other => return Err(unknown(other)),
        }
        self.older.get_or_insert((begin, opcode));
        Ok(())
    }

    /// The bytes up to the end of the line, which is passed.
    fn rest_of_line(&mut self) -> Result<&'a [u8], String> {
        let end = self.code[self.at..].iter().position(|&b| b == b'\n').ok_or("a line without an end")?;
        self.take(end + 1).map(|line| &line[..end])
    }

    /// A text, in quotes or not.
    fn text_line(&mut self) -> Result<(), String> {
        let line = self.rest_of_line()?;
        let quoted = |quote| line.strip_prefix(&[quote])?.strip_suffix(&[quote]);
        self.push_bytes(quoted(b'\'').or_else(|| quoted(b'"')).unwrap_or(line))
    }

    /// A text of Python 2 behind its length of so many bytes.
    fn old_text(&mut self, length: usize) -> Result<(), String> {
        let count = self.unsigned(length)? as usize;
        let bytes = self.take(count)?;
        self.push_bytes(bytes)
    }

    fn push_bytes(&mut self, bytes: &'a [u8]) -> Result<(), String> {
        self.push(std::str::from_utf8(bytes).map_or(Value::Plain, Value::Text))
    }

    /// A container of what lies above the last mark.
    fn filled(
        &mut self,
        container: Object<'a>,
        fill: impl Fn(&mut Self, Vec<Value<'a>>) -> Result<(), String>,
    ) -> Result<(), String> {
        let values = self.marked()?;
        self.make(container)?;
        fill(self, values)
    }

    /// A place of the memo.
    fn place(&mut self) -> Result<u64, String> {
        let line = self.rest_of_line()?;
        let place = std::str::from_utf8(line).ok().and_then(|text| text.parse::<u32>().ok());
        place.map(u64::from).ok_or_else(|| "a place that is no number".into())
    }

    /// A call of a class or function that two lines name, with what lies above the last mark.
    fn instance_by_name(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let function = self.heap.add(Object::Global(Global::new(module, name)?))?;
        let arguments = self.marked()?;
        self.instance_of(function, arguments)
    }

    /// A call of the first value above the last mark, with the others.
    fn instance(&mut self) -> Result<(), String> {
        let mut values = self.marked()?.into_iter();
        let function = values.next().ok_or("a value is missing")?;
        self.instance_of(function, values.collect())
    }

    fn instance_of(&mut self, function: Value<'a>, arguments: Vec<Value<'a>>) -> Result<(), String> {
        self.push(function)?;
        self.tuple(arguments)?;
        self.call()
    }
}

/// What is said of an opcode that is not read.
pub(super) fn unknown(opcode: u8) -> String {
    format!("opcode 0x{opcode:02X} is not one that checkpoints are made of")
}

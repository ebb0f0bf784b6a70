//! Values of Thrift's compact protocol, in which Parquet files describe themselves.
//!
//! Parquet's own reader takes memory for what such a description claims. So it is read here before, into values of which there may
//! only be so many. Not here: what the fields mean ([`super::layout`]).

/// Most values in one description. A column of a row group has some thirty.
const MOST_VALUES: usize = 1 << 19;

/// Most structures in its lists, row groups and columns before all. Parquet's reader takes some hundred bytes for each.
const MOST_STRUCTS: usize = 1 << 17;

/// How deep values may nest; Parquet's have less than ten levels.
const MOST_LEVELS: usize = 24;

/// A value, as far as anything here depends on it.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    List(Vec<Value<'a>>),
    /// Fields by their numbers.
    Struct(Vec<(i16, Value<'a>)>),
    Truth,
    Byte,
    Fraction,
}

/// Why bytes are no description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// They end within it.
    Cut,
    /// They are none, or one of too many values.
    Wrong(&'static str),
}

/// The structure with which some bytes begin, and how many of them it takes.
pub(super) fn read(bytes: &[u8]) -> Result<(Value<'_>, usize), Trouble> {
    let mut reader = Reader { rest: bytes, values: MOST_VALUES, structs: MOST_STRUCTS };
    let value = reader.structure(0)?;
    Ok((value, bytes.len() - reader.rest.len()))
}

impl<'a> Value<'a> {
    /// A field of a structure.
    pub(super) fn field(&self, number: i16) -> Option<&Value<'a>> {
        match self {
            Self::Struct(fields) => fields.iter().find(|(n, _)| *n == number).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A field that is a whole number.
    pub(super) fn number(&self, field: i16) -> Option<i64> {
        match self.field(field)? {
            Self::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// A field that is a text or bytes.
    pub(super) fn bytes(&self, field: i16) -> Option<&'a [u8]> {
        match self.field(field)? {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The values of a field that is a list; none if it is not there.
    pub(super) fn list(&self, field: i16) -> &[Value<'a>] {
        match self.field(field) {
            Some(Self::List(values)) => values,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// How many more there may be.
    values: usize,
    structs: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Trouble> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Trouble::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Trouble> {
        self.take(1).map(|b| b[0])
    }

    /// A whole number in groups of seven bits, the least first.
    fn unsigned(&mut self) -> Result<u64, Trouble> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Trouble::Wrong("a number of more than 64 bits"))
    }

    /// A whole number whose lowest bit is its sign.
    fn signed(&mut self) -> Result<i64, Trouble> {
        self.unsigned().map(|n| (n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// A length, of things that take at least a byte each.
    fn length(&mut self) -> Result<usize, Trouble> {
        let length = usize::try_from(self.unsigned()?).unwrap_or(usize::MAX);
        if length > self.rest.len() { Err(Trouble::Cut) } else { Ok(length) }
    }

    /// Counts a value before memory is taken for it.
    fn count(&mut self) -> Result<(), Trouble> {
        self.values = self.values.checked_sub(1).ok_or(Trouble::Wrong("more values than any file has"))?;
        Ok(())
    }

    fn structure(&mut self, level: usize) -> Result<Value<'a>, Trouble> {
        let (mut fields, mut number) = (Vec::new(), 0_i16);
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(Value::Struct(fields));
            }
            number = match head >> 4 {
                0 => i16::try_from(self.signed()?).map_err(|_| Trouble::Wrong("a field of no number"))?,
                further => number.checked_add(further.into()).ok_or(Trouble::Wrong("a field of no number"))?,
            };
            self.count()?;
            // The value of a truth value that is a field is part of its kind.
            let value = if matches!(head & 15, 1 | 2) { Value::Truth } else { self.value(head & 15, level + 1)? };
            fields.push((number, value));
        }
    }

    fn value(&mut self, kind: u8, level: usize) -> Result<Value<'a>, Trouble> {
        if level > MOST_LEVELS {
            return Err(Trouble::Wrong("values that nest deeper than any do"));
        }
        match kind {
            // Parquet's reader passes over them without reading a byte, two thousand million of them if a list says so.
            1 | 2 => Err(Trouble::Wrong("a list of truth values")),
            3 => self.byte().map(|_| Value::Byte),
            4..=6 => self.signed().map(Value::Number),
            7 => self.take(8).map(|_| Value::Fraction),
            8 => {
                let length = self.length()?;
                self.take(length).map(Value::Bytes)
            }
            9 | 10 => self.list(level),
            12 => self.structure(level),
            _ => Err(Trouble::Wrong("a value of an unknown kind")),
        }
    }

    fn list(&mut self, level: usize) -> Result<Value<'a>, Trouble> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.length()?,
            few => few.into(),
        };
        if head & 15 == 12 {
            self.structs = self.structs.checked_sub(count).ok_or(Trouble::Wrong("more parts than any file has"))?;
        }
        // One after the other, so that memory is taken for values that are there.
        let mut values = Vec::new();
        for _ in 0..count {
            self.count()?;
            values.push(self.value(head & 15, level + 1)?);
        }
        Ok(Value::List(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lists_and_numbers_are_read() {
        // 1: i32 -3, 2: list of two structures with a text each, 5: true, 6: i64 300, 40: an empty list.
        let bytes = b"\x15\x05\x19\x2c\x18\x02ab\x00\x28\x01c\x00\x31\x16\xd8\x04\x09\x50\x00\x00rest";
        let (value, length) = read(bytes).unwrap();
        assert_eq!(length, bytes.len() - 4);
        assert_eq!((value.number(1), value.number(6), value.number(2)), (Some(-3), Some(300), None));
        assert_eq!(value.list(2).iter().map(|v| v.bytes(1)).collect::<Vec<_>>(), [Some(&b"ab"[..]), None]);
        assert_eq!(value.list(2)[1].bytes(2), Some(&b"c"[..]));
        assert_eq!((value.field(5), value.list(40)), (Some(&Value::Truth), &[][..]));
        for cut in 0..length {
            assert_eq!(read(&bytes[..cut]), Err(Trouble::Cut), "{cut}");
        }
    }

    #[test]
    fn claims_take_no_memory() {
        let far = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F];
        for kind in [0x18, 0x19, 0x1A] {
            let claim = [&[kind][..], &[0xFC][usize::from(kind == 0x18)..], &far].concat();
            assert_eq!(read(&claim), Err(Trouble::Cut), "{kind}");
        }
        let wrong = |bytes: &[u8]| matches!(read(bytes), Err(Trouble::Wrong(_)));
        assert!(
            wrong(&[0x1C; 1000])
                && wrong(&b"\x19\x19".repeat(1000))
                && wrong(b"\x1b\x00\x00")
                && wrong(b"\x19\x22\x01\x01\x00")
                && wrong(&[0x16; 20].map(|b| b | 0x80))
        );
        // Empty structures of one byte each, and numbers of one.
        for (count, kind) in [(MOST_STRUCTS + 1, 12_u8), (MOST_VALUES + 1, 5)] {
            let length = [(count & 0x7F) as u8 | 0x80, (count >> 7 & 0x7F) as u8 | 0x80, (count >> 14) as u8];
            let bytes = [&[0x19, 0xF0 | kind][..], &length, &vec![0; count], &[0]].concat();
            assert!(wrong(&bytes), "{kind}");
        }
        // Truth values, which are all in the heads of their fields.
        assert!(wrong(&b"\x01\x00".repeat(MOST_VALUES + 1)));
    }
}

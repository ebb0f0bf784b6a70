//! Protocol buffers on the wire (<https://protobuf.dev/programming-guides/encoding/>): the fields of a message, one after another.
//!
//! A file is read through a small window, so what is long in it, such as the numbers of a tensor, is passed over and never in
//! memory. Everything that is kept is charged before it is made. Not here: what a field of ONNX means.

use super::allowance::Allowance;
use crate::error::FormatError;
use crate::tensors::Bytes;
use crate::text::shown;

/// Fields that are read: more than any network has, and less than a second's work.
const MAX_FIELDS: usize = 1 << 23;

/// Longest text, in bytes.
const MAX_TEXT: usize = 4096;

/// Bytes that are read at a time.
const WINDOW: usize = 16 << 10;

/// A piece of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub begin: usize,
    pub end: usize,
}

impl Span {
    pub(super) fn len(self) -> usize {
        self.end - self.begin
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    /// A text, bytes, a message, or numbers that are packed.
    Bytes(Span),
}

/// Reads a file's fields, and counts what that costs.
pub(super) struct Reader<'a> {
    file: &'a Bytes<'a>,
    window: Vec<u8>,
    /// Where in the file the window begins.
    begin: usize,
    allowance: &'a Allowance,
    fields_left: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a Bytes<'a>, allowance: &'a Allowance) -> Self {
        Self { file, window: Vec::new(), begin: 0, allowance, fields_left: MAX_FIELDS }
    }

    /// The whole file, which is one message.
    pub(super) fn all(&self) -> Span {
        Span { begin: 0, end: self.file.len() }
    }

    /// Gives every field of a message to `take`, in the order of the file.
    pub(super) fn each(
        &mut self,
        mut message: Span,
        mut take: impl FnMut(&mut Self, u32, Content) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        while message.begin < message.end {
            let (number, content) = self.field(&mut message)?;
            take(self, number, content)?;
        }
        Ok(())
    }

    /// The first field of what is left of a message, which begins behind it afterwards.
    fn field(&mut self, left: &mut Span) -> Result<(u32, Content), FormatError> {
        let at = left.begin;
        self.fields_left = self.fields_left.checked_sub(1).ok_or_else(|| refuse(at, "has too many fields"))?;
        let tag = self.varint(left)?;
        let number = u32::try_from(tag >> 3).ok().filter(|&n| n != 0 && n < 1 << 29);
        let number = number.ok_or_else(|| refuse(at, "is no field of a message"))?;
        let content = match tag & 7 {
            0 => Content::Varint(self.varint(left)?),
            1 => Content::Fixed64(self.fixed(left)?),
            2 => {
                let length = usize::try_from(self.varint(left)?).unwrap_or(usize::MAX);
                if length > left.len() {
                    return Err(refuse(at, "is a field that is longer than what it is in"));
                }
                let span = Span { begin: left.begin, end: left.begin + length };
                left.begin = span.end;
                Content::Bytes(span)
            }
            5 => Content::Fixed32(self.fixed(left)?),
            _ => return Err(refuse(at, "is a field of a type that ONNX does not use")),
        };
        Ok((number, content))
    }

    fn fixed<const N: usize>(&mut self, left: &mut Span) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte(left)?;
        }
        Ok(bytes)
    }

    fn varint(&mut self, left: &mut Span) -> Result<u64, FormatError> {
        let (at, mut value) = (left.begin, 0);
        for shift in (0..64).step_by(7) {
            let byte = self.byte(left)?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(refuse(at, "is a number that does not end"))
    }

    fn byte(&mut self, left: &mut Span) -> Result<u8, FormatError> {
        let at = left.begin;
        if at >= left.end {
            return Err(refuse(at, "is where a message ends in the midst of a field"));
        }
        left.begin += 1;
        if at < self.begin || at - self.begin >= self.window.len() {
            self.window.resize(WINDOW.min(self.file.len() - at), 0);
            self.begin = at;
            self.file.read(at, &mut self.window)?;
        }
        Ok(self.window[at - self.begin])
    }

    /// Takes memory for so many things of one type, before they are there: a list that grows may be twice as long as what it holds.
    pub(super) fn charge<T>(&mut self, count: usize) -> Result<(), FormatError> {
        self.take(count.saturating_mul(2 * size_of::<T>()))
    }

    fn take(&mut self, bytes: usize) -> Result<(), FormatError> {
        self.allowance.take(bytes).map_err(|why| FormatError::OnnxFile(format!("its nodes and names {why}")))
    }

    /// Takes memory for so many numbers of a list. It may be the longest thing there is, and lies at two places when it has grown.
    pub(super) fn charge_numbers<T>(&mut self, count: usize) -> Result<(), FormatError> {
        self.take(count.saturating_mul(3 * size_of::<T>()))
    }

    /// The bytes of a piece, to keep.
    fn bytes(&mut self, span: Span) -> Result<Vec<u8>, FormatError> {
        self.take(span.len())?;
        let mut bytes = vec![0; span.len()];
        self.file.read(span.begin, &mut bytes)?;
        Ok(bytes)
    }

    /// A text, such as a name.
    pub(super) fn text(&mut self, content: Content) -> Result<String, FormatError> {
        let span = content.bytes()?;
        if span.len() > MAX_TEXT {
            return Err(refuse(span.begin, &format!("is a name of {} bytes; at most {MAX_TEXT} are read", span.len())));
        }
        self.long_text(content)
    }

    /// A text of any length.
    pub(super) fn long_text(&mut self, content: Content) -> Result<String, FormatError> {
        let span = content.bytes()?;
        let bytes = self.bytes(span)?;
        String::from_utf8(bytes).map_err(|_| refuse(span.begin, "is a text that is not UTF-8"))
    }

    /// Adds the integers of a repeated field: one, or many that are packed.
    pub(super) fn integers(&mut self, content: Content, to: &mut Vec<i64>) -> Result<(), FormatError> {
        match content {
            Content::Varint(value) => {
                self.charge_numbers::<i64>(1)?;
                to.push(value as i64);
            }
            Content::Bytes(mut span) => {
                // Each has a byte at least.
                self.charge_numbers::<i64>(span.len())?;
                while span.begin < span.end {
                    to.push(self.varint(&mut span)? as i64);
                }
            }
            _ => return Err(content.refused()),
        }
        Ok(())
    }

    /// Adds the real numbers of a repeated field.
    pub(super) fn floats(&mut self, content: Content, to: &mut Vec<f32>) -> Result<(), FormatError> {
        match content {
            Content::Fixed32(bytes) => {
                self.charge_numbers::<f32>(1)?;
                to.push(f32::from_le_bytes(bytes));
            }
            Content::Bytes(mut span) if span.len() % 4 == 0 => {
                self.charge_numbers::<f32>(span.len() / 4)?;
                while span.begin < span.end {
                    to.push(f32::from_le_bytes(self.fixed(&mut span)?));
                }
            }
            _ => return Err(content.refused()),
        }
        Ok(())
    }
}

impl Content {
    pub(super) fn integer(self) -> Result<i64, FormatError> {
        match self {
            Self::Varint(value) => Ok(value as i64),
            _ => Err(self.refused()),
        }
    }

    pub(super) fn float(self) -> Result<f32, FormatError> {
        match self {
            Self::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.refused()),
        }
    }

    pub(super) fn bytes(self) -> Result<Span, FormatError> {
        match self {
            Self::Bytes(span) => Ok(span),
            _ => Err(self.refused()),
        }
    }

    fn refused(self) -> FormatError {
        FormatError::OnnxFile(match self {
            Self::Bytes(span) => format!("byte {} begins something of another type than ONNX has there", span.begin),
            other => format!("{other:?} is of another type than ONNX has there"),
        })
    }
}

fn refuse(at: usize, why: &str) -> FormatError {
    FormatError::OnnxFile(format!("byte {at} {}", shown(why)))
}

/// `StringStringEntryProto`, whose value is read by `read`.
pub(super) fn entry<'a>(
    reader: &mut Reader<'a>,
    span: Span,
    read: fn(&mut Reader<'a>, Content) -> Result<String, FormatError>,
) -> Result<(String, String), FormatError> {
    let (mut key, mut value) = (String::new(), String::new());
    reader.each(span, |reader, number, content| {
        match number {
            1 => key = reader.text(content)?,
            2 => value = read(reader, content)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::read::allowance::MAX_MEMORY;

    type Fields = Vec<(u32, Content)>;

    fn fields(bytes: &[u8]) -> Result<Fields, String> {
        let (file, allowance) = (Bytes::Memory(bytes), Allowance::new());
        let mut reader = Reader::new(&file, &allowance);
        let mut all = Vec::new();
        let span = reader.all();
        reader
            .each(span, |_, number, content| {
                all.push((number, content));
                Ok(())
            })
            .map_err(|e| e.to_string())?;
        Ok(all)
    }

    #[test]
    fn fields_of_all_types_are_read() {
        let bytes = [
            0x08, 0x96, 0x01, 0x12, 2, 7, 8, 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0xf8, 0xff, 0xff, 0xff,
            0x0f, 1,
        ];
        assert_eq!(
            fields(&bytes).unwrap(),
            [
                (1, Content::Varint(150)),
                (2, Content::Bytes(Span { begin: 5, end: 7 })),
                (3, Content::Fixed32([1, 2, 3, 4])),
                (4, Content::Fixed64([1, 2, 3, 4, 5, 6, 7, 8])),
                ((1 << 29) - 1, Content::Varint(1)),
            ]
        );
        assert_eq!(fields(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_place() {
        for (bytes, why) in [
            (&[0x08][..], "byte 1 is where a message ends"),
            (&[0x08, 1, 0x08, 0x80][..], "byte 4 is where a message ends"),
            (&[0x12, 3, 1, 2][..], "byte 0 is a field that is longer"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..], "byte 0 is a field that is longer"),
            (&[0x08, 1, 0x03][..], "byte 2 is no field"),
            (&[0x0b][..], "byte 0 is a field of a type"),
            (
                &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..],
                "byte 1 is a number that does not",
            ),
            (&[0x1d, 1, 2, 3][..], "byte 4 is where a message ends"),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 1, 1][..], "byte 0 is no field"),
        ] {
            let told = fields(bytes).unwrap_err();
            assert!(told.contains(why), "{bytes:?}: {told}");
        }
    }

    #[test]
    fn repeated_numbers_may_be_packed_or_not() {
        let bytes = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0x80, 0x3f];
        let (file, allowance) = (Bytes::Memory(&bytes), Allowance::new());
        let mut reader = Reader::new(&file, &allowance);
        let mut integers = vec![];
        reader.integers(Content::Varint(9), &mut integers).unwrap();
        reader.integers(Content::Bytes(Span { begin: 0, end: 11 }), &mut integers).unwrap();
        assert_eq!(integers, [9, 1, -1]);
        let mut floats = vec![];
        reader.floats(Content::Fixed32([0, 0, 0, 0x40]), &mut floats).unwrap();
        reader.floats(Content::Bytes(Span { begin: 11, end: 15 }), &mut floats).unwrap();
        assert_eq!(floats, [2.0, 1.0]);
        assert!(reader.floats(Content::Bytes(Span { begin: 11, end: 14 }), &mut floats).is_err());
        assert!(reader.integers(Content::Fixed32([0; 4]), &mut integers).is_err());
    }

    #[test]
    fn what_is_kept_is_charged_before_it_is_made() {
        let bytes = vec![0x61; MAX_MEMORY + 1];
        let (file, allowance) = (Bytes::Memory(&bytes), Allowance::new());
        let mut reader = Reader::new(&file, &allowance);
        let name = Content::Bytes(Span { begin: 3, end: 4 + MAX_TEXT });
        assert!(reader.text(name).unwrap_err().to_string().contains("byte 3 is a name of 4097 bytes"));
        let all = reader.all();
        let told = reader.long_text(Content::Bytes(all)).unwrap_err().to_string();
        assert!(told.contains("its nodes and names would take more than 48 MB"), "{told}");
        assert!(reader.charge::<u64>(usize::MAX).is_err());
        assert_eq!(reader.text(Content::Bytes(Span { begin: 0, end: 3 })).unwrap(), "aaa");
    }
}

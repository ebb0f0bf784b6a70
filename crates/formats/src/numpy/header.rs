//! What stands before the numbers of an `.npy` file: how they are written, and in which shape.
//!
//! It is a dictionary as Python writes one down, of which only what NumPy itself writes is understood: nothing is nested, so there is
//! no depth to run out of.

use half::f16;

/// Longest dictionary that is read, in bytes, as NumPy has it.
const MAX_LEN: usize = 10_000;

/// Most axes, as NumPy has it.
const MAX_AXES: usize = 64;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub shape: Vec<usize>,
    /// Else the last axis does.
    pub first_axis_runs_fastest: bool,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    form: Form,
    size: usize,
    /// The most significant byte comes first.
    is_big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Bool,
    Signed,
    Unsigned,
    Real,
}

impl Kind {
    /// That of numbers such as `<f4`.
    fn parse(text: &str) -> Option<Self> {
        let order = text.get(..1)?;
        let form = match text.get(1..2)? {
            "b" => Form::Bool,
            "i" => Form::Signed,
            "u" => Form::Unsigned,
            "f" => Form::Real,
            _ => return None,
        };
        let size = match (form, text.get(2..)?) {
            (Form::Bool | Form::Signed | Form::Unsigned, "1") => 1,
            (Form::Signed | Form::Unsigned | Form::Real, "2") => 2,
            (Form::Signed | Form::Unsigned | Form::Real, "4") => 4,
            (Form::Signed | Form::Unsigned | Form::Real, "8") => 8,
            _ => return None,
        };
        let is_big_endian = match order {
            "<" | "|" => false,
            ">" => true,
            _ => return None,
        };
        Some(Self { form, size, is_big_endian })
    }

    /// Bytes of a number.
    pub(super) fn size(self) -> usize {
        self.size
    }

    /// A number from its bytes, in single precision.
    pub(super) fn number(self, bytes: &[u8]) -> f32 {
        // As the least significant bytes of eight.
        let mut least = [0; 8];
        for (i, byte) in bytes.iter().enumerate() {
            least[if self.is_big_endian { bytes.len() - 1 - i } else { i }] = *byte;
        }
        let whole = u64::from_le_bytes(least);
        match (self.form, self.size) {
            (Form::Bool, _) => f32::from(u8::from(whole != 0)),
            (Form::Unsigned, _) => whole as f32,
            (Form::Signed, size) => {
                let unused = 64 - 8 * size as u32;
                ((whole << unused) as i64 >> unused) as f32
            }
            (Form::Real, 2) => f16::from_bits(whole as u16).to_f32(),
            (Form::Real, 4) => f32::from_bits(whole as u32),
            (Form::Real, _) => f64::from_bits(whole) as f32,
        }
    }
}

impl Header {
    /// That of numbers of single precision.
    pub(super) fn single(shape: Vec<usize>) -> Self {
        let kind = Kind { form: Form::Real, size: 4, is_big_endian: false };
        Self { kind, shape, first_axis_runs_fastest: false }
    }

    /// Bytes of all numbers, if they can be counted.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.kind.size, |n, &len| n.checked_mul(len))
    }

    /// The header at the beginning of a file's bytes, and where the numbers begin.
    pub(super) fn parse(file: &[u8]) -> Result<(Self, usize), String> {
        let cut = || "it ends within its header".to_owned();
        let version = *file.get(6).ok_or_else(cut)?;
        if !file.starts_with(super::NPY) {
            return Err("it does not begin as an array does".into());
        }
        // The first version has two bytes for the header's length.
        let (begin, len) = match (version, file.get(8..12)) {
            (1, _) => {
                let len = file.get(8..10).ok_or_else(cut)?;
                (10, usize::from(u16::from_le_bytes([len[0], len[1]])))
            }
            (2 | 3, Some(len)) => (12, u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize),
            (2 | 3, None) => return Err(cut()),
            _ => return Err(format!("it has version {version}; 1 to 3 are read")),
        };
        if len > MAX_LEN {
            return Err(format!("its header has {len} bytes; at most {MAX_LEN} are read"));
        }
        let text = file.get(begin..begin + len).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|e| format!("its header is no text: {e}"))?;
        Ok((Scanner(text).header()?, begin + len))
    }

    /// The dictionary and what comes before it, so long that the numbers begin at a multiple of 64 bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let lengths: String = self.shape.iter().map(|len| format!("{len}, ")).collect();
        // A tuple of one has a comma behind it; none of NumPy's readers minds one behind several.
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", lengths.trim_end());
        let len = (10 + text.len() + 1).next_multiple_of(64) - 10;
        let mut bytes = [super::NPY, &[1, 0], &(len as u16).to_le_bytes(), text.as_bytes()].concat();
        bytes.resize(10 + len - 1, b' ');
        bytes.push(b'\n');
        bytes
    }
}

/// What is left of a dictionary's text.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn header(mut self) -> Result<Header, String> {
        let (mut kind, mut order, mut shape) = (None, None, None);
        self.expect("{")?;
        while !self.take("}") {
            let key = self.text()?;
            self.expect(":")?;
            let is_new = match key {
                "descr" => kind.replace(self.kind()?).is_none(),
                "fortran_order" => order.replace(self.truth()?).is_none(),
                "shape" => shape.replace(self.lengths()?).is_none(),
                other => return Err(format!("its header speaks of `{other}`")),
            };
            if !is_new {
                return Err(format!("its header says `{key}` twice"));
            }
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        if !self.0.trim().is_empty() {
            return Err("its header goes on behind its end".into());
        }
        match (kind, order, shape) {
            (Some(kind), Some(first_axis_runs_fastest), Some(shape)) => {
                Ok(Header { kind, shape, first_axis_runs_fastest })
            }
            _ => Err("its header lacks `descr`, `fortran_order` or `shape`".into()),
        }
    }

    /// Whether this comes next; then it is left behind.
    fn take(&mut self, wanted: &str) -> bool {
        let rest = self.0.trim_start();
        let behind = rest.strip_prefix(wanted);
        self.0 = behind.unwrap_or(rest);
        behind.is_some()
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        if self.take(wanted) {
            return Ok(());
        }
        let found: String = self.0.chars().take(20).collect();
        Err(format!("its header has `{found}` where `{wanted}` should be"))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let quote = if self.take("'") { '\'' } else { '"' };
        if quote == '"' {
            self.expect("\"")?;
        }
        let (text, rest) = self.0.split_once(quote).ok_or("its header ends within a text")?;
        self.0 = rest;
        Ok(text)
    }

    fn kind(&mut self) -> Result<Kind, String> {
        if self.0.trim_start().starts_with('[') {
            return Err("its elements have fields; numbers are read".into());
        }
        let text = self.text()?;
        Kind::parse(text).ok_or_else(|| {
            format!("its elements are of type `{text}`; booleans, integers and real numbers of 16 to 64 bits are read")
        })
    }

    fn truth(&mut self) -> Result<bool, String> {
        if self.take("True") {
            return Ok(true);
        }
        self.expect("False").map(|()| false)
    }

    /// A tuple of lengths.
    fn lengths(&mut self) -> Result<Vec<usize>, String> {
        let mut lengths = Vec::new();
        self.expect("(")?;
        while !self.take(")") {
            self.0 = self.0.trim_start();
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(end);
            lengths.push(digits.parse().map_err(|_| format!("its header has a length that is none: `{digits}`"))?);
            // Python 2 put an L behind long ones.
            self.0 = rest.strip_prefix('L').unwrap_or(rest);
            if lengths.len() > MAX_AXES {
                return Err(format!("it has more than {MAX_AXES} axes"));
            }
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(lengths)
    }
}

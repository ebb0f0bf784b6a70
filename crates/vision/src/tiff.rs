//! What a TIFF file must prove before its decoder sees it (TIFF 6.0; BigTIFF as in libtiff): no list in its first directory is
//! longer than the file, and those that say where the picture is are no longer than pictures need. The decoder takes memory for as many
//! values as a list claims, thirty times the bytes that they have in the file. And what the decoder does not know of a picture: that
//! colours have been multiplied by alpha, or are places in a palette. Nothing is decoded here.

use std::borrow::Cow;

use crate::VisionError;
use crate::colour::Meaning;
use crate::options::Budget;

/// Tags that the decoder reads, the private and the descriptive ones left out.
const READ: std::ops::RangeInclusive<u64> = 254..=532;

/// Those among them that are for people, which the decoder does not read: name, description, make, model, page, software, time, author,
/// computer, printer. Microscopes describe all they know in half a megabyte.
const TEXTS: [u64; 10] = [269, 270, 271, 272, 285, 305, 306, 315, 316, 337];
const ASCII: u64 = 2;

/// Most values of one that is read: offsets of strips of one row, of more rows than a picture has.
const MAX_VALUES: u64 = 1 << 18;

/// Tags that tell what samples mean.
const BITS: u64 = 258;
const PHOTOMETRIC: u64 = 262;
const SAMPLES: u64 = 277;
const PLANAR: u64 = 284;
const PREDICTOR: u64 = 317;
const COLOUR_MAP: u64 = 320;
const EXTRA_SAMPLES: u64 = 338;
const TOLD: [u64; 7] = [BITS, PHOTOMETRIC, SAMPLES, PLANAR, PREDICTOR, COLOUR_MAP, EXTRA_SAMPLES];

/// Their values.
const BLACK_IS_ZERO: u64 = 1;
const RGB: u64 = 2;
const PALETTE: u64 = 3;
const CMYK: u64 = 5;
const PREMULTIPLIED: u64 = 1;
const STRAIGHT: u64 = 2;

/// A file whose first directory claims nothing that it cannot have.
pub(crate) struct Checked<'a> {
    /// The file; where it has a palette, as one of grey, which the decoder reads.
    pub bytes: Cow<'a, [u8]>,
    pub meaning: Meaning,
}

/// Whether a file is a BigTIFF, whose places have 64 bits.
pub(crate) fn is_big(bytes: &[u8]) -> bool {
    bytes.starts_with(b"II\x2b\0") || bytes.starts_with(b"MM\0\x2b")
}

/// Looks at the first directory.
pub(crate) fn checked<'a>(bytes: &'a [u8], budget: Budget<'_>) -> Result<Checked<'a>, VisionError> {
    let directory = Directory::read(bytes)?;
    directory.refuse_garbled()?;
    let [photometric, samples, bits] =
        [(PHOTOMETRIC, 0), (SAMPLES, 1), (BITS, 1)].map(|(tag, d)| directory.one(tag, d));
    if photometric == PALETTE && samples == 1 && bits == 8 {
        budget.memory(bytes.len() as u64)?;
        return directory.with_palette();
    }
    let is_premultiplied = photometric == RGB && directory.one(EXTRA_SAMPLES, 0) == PREMULTIPLIED;
    let meaning = if is_premultiplied { Meaning::Premultiplied } else { Meaning::Plain };
    Ok(Checked { bytes: Cow::Borrowed(bytes), meaning })
}

/// The first directory of a file.
struct Directory<'a> {
    bytes: &'a [u8],
    little: bool,
    /// Bytes of an offset or a count.
    word: usize,
    /// The first of each of the tags that are looked at.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    kind: u64,
    values: u64,
    /// Where its values are, or where it stands where they are.
    at: usize,
}

impl<'a> Directory<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, VisionError> {
        let mut read = Self { bytes, little: bytes.starts_with(b"II"), word: 4, entries: Vec::new() };
        let is_big = read.number(2, 2)? == 43;
        // Bytes of the count of entries, and of an entry.
        let (head, entry) = if is_big { (8, 20) } else { (2, 12) };
        read.word = if is_big { 8 } else { 4 };
        let word = read.word;
        let directory = usize::try_from(read.number(word, word)?).map_err(|_| truncated())?;
        let count = read.number(directory, head)?;
        for i in 0..count.min(bytes.len() as u64) as usize {
            let at = directory + head + i * entry;
            let (tag, kind, values) = (read.number(at, 2)?, read.number(at + 2, 2)?, read.number(at + 4, word)?);
            // What has a type of its own is not read.
            let Some(size) = size(kind) else { continue };
            let len = values.checked_mul(size).filter(|&len| len <= bytes.len() as u64);
            let is_text = kind == ASCII && TEXTS.contains(&tag);
            if len.is_none() || (READ.contains(&tag) && values > MAX_VALUES && !is_text) {
                let reason = format!("its tag {tag} claims {values} values; the file has {} bytes", bytes.len());
                return Err(VisionError::damaged("TIFF", reason));
            }
            if TOLD.contains(&tag) && read.entry(tag).is_none() {
                read.entries.push(Entry { tag, kind, values, at: at + 4 + word });
            }
        }
        Ok(read)
    }

    fn number(&self, at: usize, len: usize) -> Result<u64, VisionError> {
        let bytes = at.checked_add(len).and_then(|end| self.bytes.get(at..end)).ok_or_else(truncated)?;
        let join = |number, byte: &u8| number << 8 | u64::from(*byte);
        Ok(if self.little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    }

    fn entry(&self, tag: u64) -> Option<Entry> {
        self.entries.iter().copied().find(|entry| entry.tag == tag)
    }

    /// How many values a tag has.
    fn count(&self, tag: u64) -> u64 {
        self.entry(tag).map_or(0, |entry| entry.values)
    }

    /// The first value of a tag.
    fn one(&self, tag: u64, default: u64) -> u64 {
        self.entry(tag).and_then(|entry| self.value(entry, 0)).unwrap_or(default)
    }

    /// A value, if it is a whole number that is there.
    fn value(&self, entry: Entry, i: usize) -> Option<u64> {
        let size = size(entry.kind).filter(|_| matches!(entry.kind, 1 | 3 | 4 | 16))? as usize;
        if i as u64 >= entry.values {
            return None;
        }
        let is_here = entry.values.checked_mul(size as u64)? <= self.word as u64;
        let at = if is_here { entry.at } else { usize::try_from(self.number(entry.at, self.word).ok()?).ok()? };
        self.number(at.checked_add(i.checked_mul(size)?)?, size).ok()
    }

    /// Refuses what the decoder would put out as noise: it takes samples away that are no colours, and then adds up differences as if
    /// they were still there.
    fn refuse_garbled(&self) -> Result<(), VisionError> {
        let (samples, extra) = (self.one(SAMPLES, 1), self.count(EXTRA_SAMPLES));
        let is_alpha = [PREMULTIPLIED, STRAIGHT].contains(&self.one(EXTRA_SAMPLES, 0));
        let (photometric, colours) = (self.one(PHOTOMETRIC, 0), samples.saturating_sub(extra));
        let kept = match (photometric, colours) {
            (RGB, 3) | (CMYK, 4) => colours + u64::from(is_alpha),
            _ => colours,
        };
        if self.one(PREDICTOR, 1) == 1 || self.one(PLANAR, 1) != 1 || samples == kept {
            return Ok(());
        }
        let reason = format!("its pixels have {samples} samples, of which {kept} are colours, with a predictor");
        Err(VisionError::Unsupported { format: "TIFF", reason })
    }

    /// A copy in which places in the palette are shades of grey.
    fn with_palette(&self) -> Result<Checked<'a>, VisionError> {
        let map = self.entry(COLOUR_MAP).filter(|map| map.values == 3 * 256);
        let map = map.ok_or_else(|| VisionError::damaged("TIFF", "its palette has not 256 colours"))?;
        let mut colours = Box::new([[0; 3]; 256]);
        for (i, colour) in colours.iter_mut().enumerate() {
            for (channel, value) in colour.iter_mut().enumerate() {
                // First all reds, and of each the upper byte, as in Pillow.
                let wide = self.value(map, channel * 256 + i).ok_or_else(truncated)?;
                *value = (wide >> 8) as u8;
            }
        }
        let kind = self.entry(PHOTOMETRIC).ok_or_else(truncated)?;
        let size = size(kind.kind).unwrap_or(2) as usize;
        let mut bytes = self.bytes.to_vec();
        let lowest = if self.little { kind.at } else { kind.at + size - 1 };
        *bytes.get_mut(lowest).ok_or_else(truncated)? = BLACK_IS_ZERO as u8;
        Ok(Checked { bytes: Cow::Owned(bytes), meaning: Meaning::Palette(colours) })
    }
}

/// Bytes of a value of a type, if it is one of the standard's.
fn size(kind: u64) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 | 16..=18 => Some(8),
        _ => None,
    }
}

fn truncated() -> VisionError {
    VisionError::damaged("TIFF", "the data end too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose directory has these entries of tag, type and count.
    fn file(entries: &[(u16, u16, u64)], little: bool, big: bool) -> Vec<u8> {
        let number = |n: u64, len: usize| -> Vec<u8> {
            let bytes = n.to_le_bytes()[..len].to_vec();
            if little { bytes } else { bytes.into_iter().rev().collect() }
        };
        let word = if big { 8 } else { 4 };
        let mut bytes = [if little { b"II" } else { b"MM" }, &number(if big { 43 } else { 42 }, 2)[..]].concat();
        bytes.extend(if big { [number(8, 2), number(0, 2), number(16, 8)].concat() } else { number(8, 4) });
        bytes.extend(number(entries.len() as u64, if big { 8 } else { 2 }));
        for &(tag, kind, count) in entries {
            bytes.extend([number(tag.into(), 2), number(kind.into(), 2), number(count, word), vec![0; word]].concat());
        }
        bytes.extend(vec![0; 1 << 20]);
        bytes
    }

    #[test]
    fn lists_that_claim_more_than_the_file_has_are_refused() {
        for (little, big) in [(true, false), (false, false), (true, true), (false, true)] {
            let check =
                |tag, kind, count| Directory::read(&file(&[(256, 4, 1), (tag, kind, count)], little, big)).map(drop);
            assert!(
                check(273, 4, 1 << 18).is_ok() && check(34377, 1, 1 << 20).is_ok() && check(9, 99, 1 << 30).is_ok()
            );
            // A long description is as long as the file allows; nothing else may be called a text.
            assert!(check(270, 2, 1 << 20).is_ok() && check(270, 2, 1 << 22).is_err());
            assert!(check(270, 1, 1 << 20).is_err() && check(273, 2, 1 << 20).is_err());
            for (tag, kind, count) in
                [(273, 4, u64::from(u32::MAX)), (279, 3, (1 << 18) + 1), (34377, 1, 1 << 21), (34665, 5, 1 << 18)]
            {
                let error = check(tag, kind, count).unwrap_err().to_string();
                assert!(error.contains(&format!("its tag {tag} claims {count} values")), "{error}");
            }
            let whole = file(&[(256, 4, 1), (273, 4, 9)], little, big);
            for len in 0..64 {
                assert!(Directory::read(&whole[..len]).is_err() || len >= 34, "{len}");
            }
        }
        assert!(Directory::read(&file(&[(273, 16, u64::MAX)], true, true)).is_err());
    }
}

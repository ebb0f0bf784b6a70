//! What a TIFF file must prove before its decoder sees it (TIFF 6.0; BigTIFF as in libtiff): no list in its first directory is
//! longer than the file, and those that say where the picture is are no longer than pictures need. The decoder takes memory for as many
//! values as a list claims, thirty times the bytes that they have in the file. Nothing is decoded here.

use crate::VisionError;

/// Tags that the decoder reads, the private and the descriptive ones left out.
const READ: std::ops::RangeInclusive<u64> = 254..=532;

/// Most values of one that is read: offsets of strips of one row, of more rows than a picture has.
const MAX_VALUES: u64 = 1 << 18;

/// Returns the file, if its first directory claims nothing else.
pub(crate) fn checked(bytes: &[u8]) -> Result<&[u8], VisionError> {
    let little = bytes.starts_with(b"II");
    let number = |at: usize, len: usize| {
        let bytes = at.checked_add(len).and_then(|end| bytes.get(at..end)).ok_or_else(truncated)?;
        let join = |number, byte: &u8| number << 8 | u64::from(*byte);
        Ok::<u64, VisionError>(if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    };
    let big = number(2, 2)? == 43;
    // Bytes of an offset or a count, of the count of entries, and of an entry.
    let (word, head, entry) = if big { (8, 8, 20) } else { (4, 2, 12) };
    let directory = usize::try_from(number(word, word)?).map_err(|_| truncated())?;
    let count = number(directory, head)?;
    for i in 0..count.min(bytes.len() as u64) as usize {
        let at = directory + head + i * entry;
        let (tag, kind, values) = (number(at, 2)?, number(at + 2, 2)?, number(at + 4, word)?);
        // What has a type of its own is not read.
        let Some(size) = size(kind) else { continue };
        let len = values.checked_mul(size).filter(|&len| len <= bytes.len() as u64);
        if len.is_none() || (READ.contains(&tag) && values > MAX_VALUES) {
            let reason = format!("its tag {tag} claims {values} values; the file has {} bytes", bytes.len());
            return Err(VisionError::damaged("TIFF", reason));
        }
    }
    Ok(bytes)
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
            let check = |tag, kind, count| checked(&file(&[(256, 4, 1), (tag, kind, count)], little, big)).map(drop);
            assert!(
                check(273, 4, 1 << 18).is_ok() && check(34377, 1, 1 << 20).is_ok() && check(9, 99, 1 << 30).is_ok()
            );
            for (tag, kind, count) in
                [(273, 4, u64::from(u32::MAX)), (279, 3, (1 << 18) + 1), (34377, 1, 1 << 21), (34665, 5, 1 << 18)]
            {
                let error = check(tag, kind, count).unwrap_err().to_string();
                assert!(error.contains(&format!("its tag {tag} claims {count} values")), "{error}");
            }
            let whole = file(&[(256, 4, 1), (273, 4, 9)], little, big);
            for len in 0..64 {
                assert!(checked(&whole[..len]).is_err() || len >= 34, "{len}");
            }
        }
        assert!(checked(&file(&[(273, 16, u64::MAX)], true, true)).is_err());
    }
}

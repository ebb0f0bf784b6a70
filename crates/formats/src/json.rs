//! What a JSON text may ask for, looked at before it is understood.
//!
//! A value of two bytes takes up to some hundred bytes of memory once it is a label, a node or an entry of a map, so a text's length
//! alone says little. Not here: what the values mean.

use std::path::Path;

use crate::error::FormatError;
use crate::tensors::Bytes;

/// Most values in a text; each key counts as one, and an object as eight more, since a map takes memory for several entries with its
/// first. A network of a thousand layers with twenty thousand classes has a tenth of it.
const MAX_VALUES: usize = 1 << 19;

/// What an object counts for beside its entries.
const OBJECT: usize = 8;

/// Whether a text has no more values than its readers have memory for. Whether it is JSON is not looked at.
///
/// # Errors
/// If it has more.
pub fn check(text: &[u8]) -> Result<(), String> {
    let (mut values, mut is_quoted, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b',' | b':' | b'[' => values += 1,
            b'{' => values += OBJECT,
            _ => {}
        }
    }
    match values {
        0..=MAX_VALUES => Ok(()),
        _ => Err(format!("it has more than {MAX_VALUES} values, each object counted as {OBJECT}")),
    }
}

/// The text of a file that is at most so long and passes [`check`].
///
/// # Errors
/// If it is no ordinary file, cannot be read, is longer, has more values, or is no UTF-8.
pub fn read(path: &Path, max_len: usize) -> Result<String, FormatError> {
    let file = Bytes::open(path)?;
    let refuse = |why: String| FormatError::NotAFile { path: path.to_owned(), why };
    if file.len() > max_len {
        return Err(refuse(format!("has {} bytes; at most {max_len} are read", file.len())));
    }
    let mut bytes = vec![0; file.len()];
    file.read(0, &mut bytes)?;
    check(&bytes).map_err(|why| refuse(format!("cannot be used: {why}")))?;
    String::from_utf8(bytes).map_err(|e| refuse(format!("is no text: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_texts_are_not() {
        let most = |piece: &str, each: usize| format!("[{}0]", piece.repeat((MAX_VALUES - 1) / each));
        for (piece, each) in [("0,", 1), ("[],", 2), ("\"a\":0,", 2), ("{},", OBJECT + 1), ("\"[,{\\\",:\",", 1)] {
            assert_eq!(check(most(piece, each).as_bytes()), Ok(()), "{piece}");
            assert!(check(most(&piece.repeat(2), each).as_bytes()).unwrap_err().contains("more than"), "{piece}");
        }
        assert!(check("[".repeat(MAX_VALUES + 1).as_bytes()).is_err());
    }

    #[test]
    fn only_files_of_a_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read(&path, 2).unwrap(), "{}");
        assert!(read(&path, 1).unwrap_err().to_string().contains("has 2 bytes"));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(read(&path, 2).unwrap_err().to_string().contains("is no text"));
        assert!(read(dir.path(), 2).is_err());
    }
}

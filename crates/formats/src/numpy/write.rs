//! Arrays as the bytes of an `.npz` file, as `numpy.savez` writes it: a zip archive of members that are stored as they are.

use super::Array;
use super::header::Header;
use crate::error::FormatError;

/// The version of zip that is needed to read a member, and the flag that its name is UTF-8.
const VERSION: u16 = 20;
const UTF_8: u16 = 1 << 11;

/// The first day that zip knows, so that the same arrays are the same bytes.
const DATE: u16 = 1 << 5 | 1;

/// Arrays by name as the bytes of an `.npz` file, in their order; each is written in single precision.
///
/// # Errors
/// If two have one name, or they are too long for an archive: four gigabytes, or 65,535 arrays.
///
/// ```
/// use cspnet_formats::numpy::{Array, read_bytes, to_bytes};
///
/// let array = Array::new(vec![1, 2], &[0.5, -3.0]);
/// let bytes = to_bytes(&[("logits".into(), array.clone())])?;
/// assert_eq!(read_bytes(&bytes)?.unwrap()["logits"], array);
/// # Ok::<(), cspnet_formats::FormatError>(())
/// ```
pub fn to_bytes(arrays: &[(String, Array)]) -> Result<Vec<u8>, FormatError> {
    let too_long = |what: &str| FormatError::NumPyLength(format!("{what} longer than its archive can say"));
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (place, (name, array)) in arrays.iter().enumerate() {
        if arrays[..place].iter().any(|(other, _)| other == name) {
            return Err(FormatError::NumPyLength(format!("two arrays have the name `{name}`")));
        }
        let member = member(array);
        let file_name = format!("{name}.npy");
        let [begin, len] = [bytes.len(), member.len()].map(u32::try_from);
        let (Ok(begin), Ok(len), Ok(name_len)) = (begin, len, u16::try_from(file_name.len())) else {
            return Err(too_long(&format!("`{name}` or what comes before it is")));
        };
        let crc = crc32fast::hash(&member);
        // What both the directory and the member's own header say.
        let common = [
            &le16(&[VERSION, UTF_8, 0, 0, DATE])[..],
            &le32(&[crc, len, len]),
            // No extra field.
            &le16(&[name_len, 0]),
        ]
        .concat();
        for piece in [b"PK\x03\x04", &common[..], file_name.as_bytes(), &member] {
            bytes.extend_from_slice(piece);
        }
        // No comment, the first of one file, no attributes.
        let rest = [&le16(&[0, 0, 0])[..], &le32(&[0, begin])].concat();
        directory.extend([b"PK\x01\x02", &le16(&[VERSION])[..], &common, &rest, file_name.as_bytes()].concat());
    }
    let [begin, len] = [bytes.len(), directory.len()].map(u32::try_from);
    let (Ok(begin), Ok(len), Ok(count)) = (begin, len, u16::try_from(arrays.len())) else {
        return Err(too_long("the arrays are"));
    };
    bytes.append(&mut directory);
    bytes.extend([b"PK\x05\x06", &le16(&[0, 0, count, count])[..], &le32(&[len, begin]), &le16(&[0])].concat());
    Ok(bytes)
}

/// An array as the bytes of an `.npy` file.
fn member(array: &Array) -> Vec<u8> {
    let mut bytes = Header::single(array.shape().to_vec()).to_bytes();
    bytes.extend(array.numbers(0..array.len()).into_iter().flat_map(f32::to_le_bytes));
    bytes
}

fn le16(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn le32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

//! The smallest photos there are.

/// A photo of one pixel, a different one for each number.
pub fn bmp(number: usize) -> Vec<u8> {
    let mut bytes = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bytes.extend([0; 24]);
    bytes.extend(&(number as u32).to_le_bytes()[..3]);
    bytes.push(0);
    bytes
}

//! Photos to learn from.

/// A picture of stripes in the BMP format: 20 x 20 pixels.
pub fn striped(along: bool, seed: usize) -> Vec<u8> {
    let (side, header) = (20_usize, 54);
    let mut bytes = b"BM".to_vec();
    let number = |bytes: &mut Vec<u8>, n: usize| bytes.extend((n as u32).to_le_bytes());
    for n in [header + 3 * side * side, 0, header, 40, side, side] {
        number(&mut bytes, n);
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.resize(header, 0);
    for y in 0..side {
        for x in 0..side {
            let stripe = (if along { y } else { x } + seed) / 2 % 2;
            let noise = (x * 7919 + y * 104_729 + seed * 1299) % 60;
            bytes.extend([(stripe * 150 + noise) as u8, (noise * 2) as u8, (40 + seed * 5 % 100) as u8]);
        }
    }
    bytes
}

//! Numbers as people write them: sizes of photos, and digits in groups.

/// Most rows or columns of a photo.
pub const LARGEST_SIDE: usize = 8192;

/// `224` or `192x256`.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let side = |s: &str| match s.parse::<usize>() {
        Ok(n) if (1..=LARGEST_SIDE).contains(&n) => Ok(n),
        _ => Err(format!("`{s}` is no number of pixels from 1 to {LARGEST_SIDE}")),
    };
    match text.split_once('x') {
        Some((height, width)) => Ok([side(height)?, side(width)?]),
        None => side(text).map(|n| [n, n]),
    }
}

/// Bytes as `8G`, `512M`, `1.5G`: units of 1024 each.
pub fn bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[number.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => u32::MAX,
    };
    let bytes = number.parse::<f64>().ok().filter(|_| unit < 64).map(|n| n * (1_u64 << unit.min(63)) as f64);
    match bytes {
        Some(bytes) if (1.0..9e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err(format!("`{text}` is no number of bytes; write it like 8G or 512M")),
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_one_number_or_two() {
        assert_eq!(size("224"), Ok([224, 224]));
        assert_eq!(size("96x128"), Ok([96, 128]));
        assert!(size("0").is_err() && size("96x").is_err() && size("99999").is_err());
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(["8G", "512m", "1.5KiB", "7", "2TB"].map(bytes), [8 << 30, 512 << 20, 1536, 7, 2 << 40].map(Ok));
        for wrong in ["", "G", "-1G", "0", "8X", "nan", "1e30G", "8 G"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 27_642_184].map(grouped), ["0", "999", "1,000", "27,642,184"]);
    }
}

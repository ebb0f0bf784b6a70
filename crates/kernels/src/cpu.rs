//! What the CPU calls itself, so that what was measured on one is not taken for another's.

/// The CPU's own name, with its family, model and stepping as one number, since makers and virtual machines shorten names. `None`
/// where it does not tell.
#[cfg(target_arch = "x86_64")]
pub fn name() -> Option<String> {
    use std::arch::x86_64::{__cpuid, __get_cpuid_max};
    // Intel's and AMD's manuals: the name is in three leaves, if there are so many.
    const NAME: std::ops::RangeInclusive<u32> = 0x8000_0002..=0x8000_0004;
    if __get_cpuid_max(0x8000_0000).0 < *NAME.end() {
        return None;
    }
    let leaf = |leaf| {
        let l = __cpuid(leaf);
        [l.eax, l.ebx, l.ecx, l.edx]
    };
    let bytes: Vec<u8> = NAME.flat_map(leaf).flat_map(u32::to_le_bytes).take_while(|b| *b != 0).collect();
    Some(format!("{} {:x}", String::from_utf8_lossy(&bytes).trim(), __cpuid(1).eax))
}

/// The CPU's own name; it does not tell.
#[cfg(not(target_arch = "x86_64"))]
pub fn name() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_is_the_same_every_time() {
        assert_eq!(super::name(), super::name());
        assert!(super::name().is_some_and(|n| n.len() > 2 && !n.contains('\0')) || !cfg!(target_arch = "x86_64"));
    }
}

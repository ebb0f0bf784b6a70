//! Tiles of products of bfloat16 numbers, summed in single precision: AMX (Intel since Sapphire Rapids), and the same by plain
//! arithmetic for tests on other machines.
//!
//! Not here: what the numbers are ([`super::TileConv`]).

use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::bfloat16::widened;

/// What multiplies tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileUnit {
    /// The processor's own tiles.
    Amx,
    /// Plain arithmetic, slowly: for tests.
    Emulated,
}

impl TileUnit {
    /// The processor's, if it has one that the system lets programs use.
    pub fn detect() -> Option<Self> {
        static IS_THERE: OnceLock<bool> = OnceLock::new();
        IS_THERE.get_or_init(has_amx).then_some(Self::Amx)
    }

    /// Whether it can be used.
    pub(in crate::conv) fn is_available(self) -> bool {
        self == Self::Emulated || Self::detect() == Some(self)
    }

    pub(in crate::conv) fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Emulated => "emulated tiles",
        }
    }
}

/// Rows and columns of the sums of one [`Product`].
pub(in crate::conv) const SIDE: usize = 32;

/// Products of a step for each of them.
pub(in crate::conv) const DEPTH: usize = 32;

/// Numbers of a step of the second factor.
pub(in crate::conv) const STEP: usize = DEPTH * SIDE;

/// Rows and columns of a quarter of the sums: a register.
const HALF: usize = SIDE / 2;

/// `sums = a * b` for 32 rows, 32 columns, and [`DEPTH`] products a step.
pub(in crate::conv) struct Product<'a> {
    /// The first factor: rows of [`DEPTH`] numbers side by side.
    pub a: *const u16,
    /// Bytes from a row to the next, and from the first 16 rows to the others.
    pub row_len: usize,
    pub half_len: usize,
    /// Where the rows of each step begin: bytes from `a`.
    pub steps: &'a [usize],
    /// The second factor: for each step pairs of rows after pairs of rows, of which each of 16 columns has its two numbers side by side.
    pub b: *const u16,
    /// Bytes from the first 16 columns to the others, and from a step to the next.
    pub b_half_len: usize,
    pub b_step: usize,
}

/// Sums as they come: of four quarters, row by row, 16 rows of 16 columns each.
#[repr(C, align(64))]
pub(in crate::conv) struct Sums(pub [[[f32; HALF]; HALF]; 4]);

impl Sums {
    pub fn zero() -> Self {
        Self([[[0.0; HALF]; HALF]; 4])
    }

    /// A row's columns: the first 16, then the others.
    pub fn row(&self, row: usize) -> [&[f32; HALF]; 2] {
        let upper = 2 * (row / HALF);
        [&self.0[upper][row % HALF], &self.0[upper + 1][row % HALF]]
    }
}

/// A thread's tile registers while they are set up for [`Product`]s. They are that thread's only.
pub(in crate::conv) struct Tiles(TileUnit, PhantomData<*const ()>);

impl Tiles {
    /// Sets the thread's registers up, if the unit has any.
    ///
    /// # Panics
    /// If the machine does not have the unit.
    pub fn set_up(unit: TileUnit) -> Self {
        assert!(unit.is_available(), "tiles on a machine without them");
        if unit == TileUnit::Amx {
            configure();
        }
        Self(unit, PhantomData)
    }

    /// Computes a product.
    ///
    /// # Safety
    /// Both factors can be read, for all steps.
    #[inline]
    pub unsafe fn multiply(&self, product: &Product<'_>, sums: &mut Sums) {
        match self.0 {
            // SAFETY: the function's own promise; the registers are set up as long as `self` lives.
            TileUnit::Amx => unsafe { multiply(product, sums) },
            // SAFETY: as above.
            TileUnit::Emulated => unsafe { emulate(product, sums) },
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        if self.0 == TileUnit::Amx {
            release();
        }
    }
}

/// The same sums, in the order of the steps, without tiles.
///
/// # Safety
/// As [`Tiles::multiply`].
unsafe fn emulate(product: &Product<'_>, sums: &mut Sums) {
    *sums = Sums::zero();
    for (i, step) in product.steps.iter().enumerate() {
        for row in 0..SIDE {
            let at = step + row / HALF * product.half_len + row % HALF * product.row_len;
            let a = product.a.wrapping_byte_add(at);
            for column in 0..SIDE {
                let b = product.b.wrapping_byte_add(i * product.b_step + column / HALF * product.b_half_len);
                let b = b.wrapping_add(column % HALF * 2);
                let sum = &mut sums.0[row / HALF * 2 + column / HALF][row % HALF][column % HALF];
                for k in 0..DEPTH {
                    // SAFETY: the function's own promise; the first factor may lie anywhere.
                    let (a, b) = unsafe { (a.add(k).read_unaligned(), *b.add(k / 2 * 2 * HALF + k % 2)) };
                    *sum += widened(a) * widened(b);
                }
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    use super::{HALF, Product, Sums};

    /// What `ldtilecfg` reads: palette 1, and rows and bytes of a row for each of the eight registers.
    #[repr(C, align(64))]
    struct Configuration([u8; 64]);

    const ALL_WHOLE: Configuration = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut register = 0;
        while register < 8 {
            bytes[16 + 2 * register] = (HALF * size_of::<f32>()) as u8;
            bytes[48 + register] = HALF as u8;
            register += 1;
        }
        Configuration(bytes)
    };

    /// Whether the processor has tiles of bfloat16, and the system keeps them for this process.
    pub fn is_there() -> bool {
        let has = |register: u32, bits: u32| register & bits == bits;
        let (osxsave, tiles, state) = (1 << 27, 1 << 24 | 1 << 22, 1 << 17 | 1 << 18);
        if !has(__cpuid(1).ecx, osxsave) || __cpuid(0).eax < 7 || !has(__cpuid_count(7, 0).edx, tiles) {
            return false;
        }
        let enabled: u32;
        // SAFETY: `osxsave` says that there is the instruction, which only reads a register of the processor.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") enabled, out("edx") _, options(nomem, nostack)) };
        has(enabled, state) && is_permitted()
    }

    /// Asks the system for the room that tiles take where it keeps a thread's registers (Linux, `Documentation/arch/x86/xstate.rst`).
    fn is_permitted() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
        const XFEATURE_XTILEDATA: i64 = 18;
        let result: i64;
        // SAFETY: the call takes two numbers, touches no memory of the process, and only allows instructions.
        unsafe {
            asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
                out("rcx") _, out("r11") _, options(nostack));
        }
        result == 0
    }

    pub fn configure() {
        // SAFETY: `Tiles` has made sure of the unit; nothing else in the program uses its registers.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &ALL_WHOLE, options(nostack, readonly)) };
    }

    pub fn release() {
        // SAFETY: as above.
        unsafe { asm!("tilerelease", options(nomem, nostack)) };
    }

    /// # Safety
    /// Both factors can be read, for all steps, and the thread's registers are set up.
    pub unsafe fn multiply(product: &Product<'_>, sums: &mut Sums) {
        let &Product { a, row_len, half_len, steps, b, b_half_len, b_step } = product;
        assert!(!steps.is_empty(), "a product of nothing");
        // SAFETY: the function's own promise: rows of the first factor are read from each step's place on, the second in order, and the
        // sums have room for four registers. The registers are whole and nobody else's.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "mov {place}, qword ptr [{step}]",
                "add {place}, {a}",
                "tileloadd tmm4, [{place} + {row}*1]",
                "tileloadd tmm6, [{b} + {line}*1]",
                "add {place}, {half}",
                "lea {other}, [{b} + {b_half}]",
                "tileloadd tmm7, [{other} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{place} + {row}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {step}, 8",
                "add {b}, {b_step}",
                "dec {count}",
                "jnz 2b",
                "tilestored [{to} + {line}*1], tmm0",
                "tilestored [{to} + {line}*1 + 1024], tmm1",
                "tilestored [{to} + {line}*1 + 2048], tmm2",
                "tilestored [{to} + {line}*1 + 3072], tmm3",
                place = out(reg) _,
                other = out(reg) _,
                step = inout(reg) steps.as_ptr() => _,
                count = inout(reg) steps.len() => _,
                a = in(reg) a,
                row = in(reg) row_len,
                half = in(reg) half_len,
                b = inout(reg) b => _,
                b_half = in(reg) b_half_len,
                b_step = in(reg) b_step,
                line = in(reg) 64_usize,
                to = in(reg) sums.0.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod amx {
    use super::{Product, Sums};

    pub fn is_there() -> bool {
        false
    }

    pub fn configure() {}

    pub fn release() {}

    /// # Safety
    /// It is never called.
    pub unsafe fn multiply(_: &Product<'_>, _: &mut Sums) {
        unreachable!("there are no tiles")
    }
}

use amx::{configure, is_there as has_amx, multiply, release};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bfloat16::rounded;

    #[test]
    fn tiles_multiply_as_plain_arithmetic_does() {
        let number = |i: usize| rounded((i * 7919 % 1009) as f32 / 504.5 - 1.0);
        let (row, steps) = (128, [64, 0, 192]);
        let a: Vec<u16> = (0..64 * row).map(number).collect();
        let b: Vec<u16> = (0..steps.len() * STEP).map(|i| number(i + 31)).collect();
        let product = Product {
            a: a.as_ptr(),
            row_len: 2 * row,
            half_len: 2 * 20 * row,
            steps: &steps,
            b: b.as_ptr(),
            b_half_len: STEP,
            b_step: 2 * STEP,
        };
        let (mut expected, mut found) = (Sums::zero(), Sums::zero());
        let Some(unit) = TileUnit::detect() else { return };
        // SAFETY: the last row begins at 35 * 128 numbers, 96 behind its beginning.
        unsafe {
            Tiles::set_up(TileUnit::Emulated).multiply(&product, &mut expected);
            Tiles::set_up(unit).multiply(&product, &mut found);
        }
        for row in 0..SIDE {
            for (a, b) in expected.row(row).into_iter().flatten().zip(found.row(row).into_iter().flatten()) {
                assert!((a - b).abs() < 1e-4, "{a} {b}");
            }
        }
    }
}

//! Whether the compiler keeps the sums of register tiles in registers: this executable's own loops, as a disassembler sees them.
//!
//! Nothing here depends on a clock or on the machine's instruction set: tiles are read, not run. A loop is known by what it
//! looks like, so a new kernel's tiles are looked at as soon as [`kernels`] names it; those that must be found are listed.
//! Without optimisation there are no tiles.
#![cfg(all(target_arch = "x86_64", target_os = "linux", not(debug_assertions)))]

mod loops;

use std::hint::black_box;

use cspnet_kernels::{Conv, ConvGrad, Stem, Winograd};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use loops::Loop;

/// What has tiles. The linker keeps only what is referred to.
fn kernels() -> [*const (); 4] {
    [Conv::run as *const (), Winograd::run as *const (), ConvGrad::run as *const (), Stem::run as *const ()]
}

/// The loops of this executable that sum up products.
fn loops() -> Vec<Loop> {
    black_box(kernels());
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let file = object::File::parse(&*file).unwrap();
    let functions = file.symbols().filter(|s| s.kind() == SymbolKind::Text && s.size() > 0);
    let code = |s: &object::Symbol<'_, '_>| {
        let section = file.section_by_index(s.section_index()?).ok()?;
        section.data_range(s.address(), s.size()).ok()?
    };
    functions.flat_map(|s| loops::of_function(code(&s).unwrap_or_default(), s.address())).collect()
}

/// The factors of a tile, as its loop shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    /// Floats of a register.
    lanes: usize,
    /// Registers of weights or of gradients, each times every pixel; 0 where lanes are multiplied with lanes.
    vectors: usize,
    /// Pixels or channels.
    pixels: usize,
}

impl Shape {
    fn of(l: &Loop) -> Self {
        let vectors = (l.multiply_adds + l.broadcasts / 2).checked_div(l.broadcasts).unwrap_or(0);
        Self { lanes: l.lanes, vectors, pixels: l.sums / vectors.max(1) }
    }
}

/// Tiles of a kind: up to so many pixels, found at least so often for each number of them. There is one in each instance of
/// `Conv` and `ConvGrad` that has the kind and one in each of the four schemes of `Winograd`.
struct Kind {
    lanes: usize,
    vectors: usize,
    most_pixels: usize,
    copies: usize,
    /// Instructions of the full tile, at most, for each of its multiply-adds.
    instructions: f64,
}

const KINDS: [Kind; 5] = [
    // Depthwise, with both sets.
    Kind { lanes: 8, vectors: 0, most_pixels: 12, copies: 2, instructions: 2.0 },
    // `ConvGrad` looks up where its places lie, which two instructions more do.
    Kind { lanes: 8, vectors: 1, most_pixels: 12, copies: 4, instructions: 2.5 },
    Kind { lanes: 8, vectors: 2, most_pixels: 6, copies: 7, instructions: 2.1 },
    Kind { lanes: 16, vectors: 1, most_pixels: 12, copies: 7, instructions: 2.5 },
    Kind { lanes: 16, vectors: 2, most_pixels: 12, copies: 7, instructions: 2.3 },
];

#[test]
fn no_tile_keeps_vectors_on_the_stack() {
    let spilled: Vec<String> = loops().iter().filter(|l| l.spills > 0).map(Loop::to_string).collect();
    assert!(spilled.is_empty(), "loops that sum up, with vectors on the stack:\n{}", spilled.join("\n"));
}

#[test]
fn every_tile_has_its_sums_in_registers() {
    let found: Vec<Shape> = loops().iter().map(Shape::of).collect();
    for Kind { lanes, vectors, most_pixels, copies, .. } in KINDS {
        for pixels in 1..=most_pixels {
            let shape = Shape { lanes, vectors, pixels };
            let copies_found = found.iter().filter(|f| **f == shape).count();
            assert!(copies_found >= copies, "{copies_found} of {copies} tiles found of {shape:?}");
        }
    }
}

#[test]
fn full_tiles_take_few_instructions() {
    for l in loops() {
        let shape = Shape::of(&l);
        let is_full = |k: &&Kind| shape == Shape { lanes: k.lanes, vectors: k.vectors, pixels: k.most_pixels };
        let Some(kind) = KINDS.iter().find(is_full) else { continue };
        let most = kind.instructions * l.multiply_adds as f64;
        assert!(l.instructions as f64 <= most, "more than {} instructions a multiply-add: {l}", kind.instructions);
    }
}

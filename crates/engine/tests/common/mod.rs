//! Random networks that use every operation in every way the planner must cope with: odd widths, slices inside blocks,
//! concatenations of concatenations, residuals in both orders, values that nobody reads.
#![allow(dead_code, reason = "each test uses some of it")]

use cspnet_graph::blocks::squeeze_excite;
use cspnet_graph::{Builder, Conv, Graph, Unary, Value, Window};

/// Pictures the random networks take, `[c, h, w]`.
pub const PICTURE: [usize; 3] = [3, 13, 11];

/// Classes they tell apart.
pub const CLASSES: usize = 5;

/// A stream of numbers for drawing networks (Marsaglia's xorshift, multiplied).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

pub const FUNCTIONS: [Unary; 6] =
    [Unary::Relu, Unary::LeakyRelu { slope: 0.1 }, Unary::Silu, Unary::Mish, Unary::Sigmoid, Unary::Relu6];

/// A network of `steps` random steps, each reading one of the values before it.
pub fn random_network(seed: u64, steps: usize) -> Graph {
    let mut dice = Dice::new(seed);
    let mut b = Builder::new();
    let picture = b.input(PICTURE[0]);
    let stem = b.conv("stem", picture, Conv::new(5 + dice.below(20), 3).stride(2));
    let mut values = vec![stem];
    for i in 0..steps {
        let x = if dice.below(3) > 0 { values[values.len() - 1] } else { dice.pick(&values) };
        let value = b.module(&format!("step{i}"), |b| step(b, &mut dice, x, &values));
        values.push(value);
    }
    let last = values[steps];
    let x = if dice.below(2) == 0 { b.max_pool("reduce", last, Window::square(3, 2, 1)) } else { last };
    let x = b.global_avg_pool("pool", x);
    let answer = b.linear("classifier", x, CLASSES);
    b.finish(answer).expect("the steps fit each other")
}

/// One random step; all values have the same size, so any two can meet.
fn step(b: &mut Builder, dice: &mut Dice, x: Value, others: &[Value]) -> Value {
    let c = b.channels(x);
    let other = dice.pick(others);
    match dice.below(10) {
        0 => conv_norm(b, dice, x, 1),
        1 => conv_norm(b, dice, x, 3),
        2 => {
            // Pre-activation, as in DenseNet.
            let y = b.batch_norm("norm", x);
            let y = b.unary("act", y, dice.pick(&FUNCTIONS));
            let (out, kernel) = (1 + dice.below(20), dice.pick(&[1, 3]));
            b.conv("conv", y, Conv::new(out, kernel))
        }
        3 => residual(b, dice, x, c),
        4 | 5 => b.concat("concat", &[x, other]),
        6 => {
            let start = dice.below(c);
            let len = 1 + dice.below(c - start);
            b.slice("slice", x, start, len)
        }
        7 => {
            let depthwise = b.conv("depthwise", x, Conv::new(c, 3).groups(c));
            b.unary("act", depthwise, dice.pick(&FUNCTIONS))
        }
        8 => {
            let groups = (1..=c).rev().find(|g| c.is_multiple_of(*g) && *g <= 4).unwrap_or(1);
            b.conv("grouped", x, Conv::new(groups * (1 + dice.below(6)), 3).groups(groups).bias())
        }
        _ => match dice.below(4) {
            3 => squeeze_excite(b, "se", x, 1 + dice.below(6)),
            0 => b.max_pool("max", x, Window::square(3, 1, 1)),
            1 => b.avg_pool("average", x, Window::square(3, 1, 1)),
            _ => {
                let gate = b.conv("gate", x, Conv::new(c, 1).bias());
                let gate = b.unary("sigmoid", gate, Unary::Sigmoid);
                b.multiply("gated", x, gate)
            }
        },
    }
}

fn conv_norm(b: &mut Builder, dice: &mut Dice, x: Value, kernel: usize) -> Value {
    let y = b.conv("conv", x, Conv::new(1 + dice.below(30), kernel));
    let y = b.batch_norm("norm", y);
    if dice.below(4) == 0 { y } else { b.unary("act", y, dice.pick(&FUNCTIONS)) }
}

/// A residual unit whose activation comes before the sum, after it, or not at all.
fn residual(b: &mut Builder, dice: &mut Dice, x: Value, c: usize) -> Value {
    let y = b.conv("conv", x, Conv::new(c, 3));
    let mut y = b.batch_norm("norm", y);
    let order = dice.below(3);
    if order == 1 {
        y = b.unary("inner", y, dice.pick(&FUNCTIONS));
    }
    let sum = if dice.below(2) == 0 { b.add("sum", x, y) } else { b.add("sum", y, x) };
    if order == 2 { b.unary("outer", sum, dice.pick(&FUNCTIONS)) } else { sum }
}

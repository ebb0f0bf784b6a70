//! The operations of imported networks: plans against the interpreter in double precision on random networks of them, the same bits
//! for any batch and number of threads, and what of them is folded, viewed and refused.

mod common;

use common::Dice;
use cspnet_engine::reference::{Tensor, infer};
use cspnet_engine::{Input, Isa, Plan, PlanOptions, Rewrite, TrainPlan};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{
    Axis, Binary, Builder, Conv, Coordinates, Crop, Fill, Filter, Graph, Op, Pad, Rearrange, Reduction, Resize,
    ResizeTo, Rounding, Shape, Unary, Value, Weights,
};

const PICTURE: Shape = [3, 7, 6];

/// Functions of any number; none makes large ones.
const FUNCTIONS: [Unary; 17] = [
    Unary::Relu,
    Unary::Silu,
    Unary::Clip { min: -0.3, max: 0.9 },
    Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Unary::HardSwish,
    Unary::LeakyRelu { slope: 0.1 },
    Unary::Tanh,
    Unary::Elu { alpha: 0.8 },
    Unary::Selu { alpha: 1.673, gamma: 1.051 },
    Unary::Softplus,
    Unary::Gelu,
    Unary::GeluTanh,
    Unary::Erf,
    Unary::Neg,
    Unary::Abs,
    Unary::Sigmoid,
    Unary::Relu6,
];

/// A network in the making, with the shapes that its values have for [`PICTURE`].
struct Net {
    b: Builder,
    dice: Dice,
    values: Vec<(Value, Shape)>,
    names: usize,
}

impl Net {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("op{}", self.names)
    }

    fn push(&mut self, op: Op, inputs: &[Value]) -> Value {
        let name = self.name();
        self.b.push(&name, op, inputs)
    }

    fn unary(&mut self, x: Value, function: Unary) -> Value {
        self.push(Op::Unary { function }, &[x])
    }

    /// Positive numbers that are not small.
    fn positive(&mut self, x: Value) -> Value {
        let x = self.unary(x, Unary::Sigmoid);
        let name = self.name();
        let half = self.b.constant(&name, [1, 1, 1]);
        self.push(Op::Binary { function: Binary::Add }, &[x, half])
    }

    /// A value some of whose axes have the length 1 and the others that of `shape`: a constant, or one made from `x`.
    fn repeated(&mut self, x: Value, shape: Shape) -> Value {
        let axes = [0; 3].map(|_| self.dice.flip());
        if self.dice.flip() {
            let name = self.name();
            return self.b.constant(&name, [0, 1, 2].map(|a| if axes[a] { 1 } else { shape[a] }));
        }
        let reduction = self.dice.pick(&[Reduction::Mean, Reduction::Max, Reduction::Min]);
        if axes == [false; 3] { x } else { self.push(Op::Reduce { reduction, axes }, &[x]) }
    }

    /// One random operation on `x`.
    fn step(&mut self, x: Value, shape @ [_, h, w]: Shape) -> (Value, Shape) {
        let axis = self.dice.pick(&Axis::ALL);
        match self.dice.below(15) {
            0 => {
                let (out, kernel) = (1 + self.dice.below(20), self.dice.pick(&[1, 3]));
                let name = self.name();
                let y = self.b.conv(&name, x, Conv::new(out, kernel).bias());
                let f = self.dice.pick(&FUNCTIONS);
                (self.unary(y, f), [out, h, w])
            }
            1 => {
                let f = self.dice.pick(&FUNCTIONS);
                (self.unary(x, f), shape)
            }
            2 => {
                let f = self.dice.pick(&[Unary::Log, Unary::Sqrt, Unary::Reciprocal, Unary::Exp]);
                let y = self.positive(x);
                (self.unary(y, f), shape)
            }
            3 | 4 => {
                let function = self.dice.pick(&[Binary::Add, Binary::Sub, Binary::Mul, Binary::Max, Binary::Min]);
                let y = self.repeated(x, shape);
                let inputs = if self.dice.flip() { [x, y] } else { [y, x] };
                (self.push(Op::Binary { function }, &inputs), shape)
            }
            5 => {
                let function = self.dice.pick(&[Binary::Div, Binary::Pow]);
                let (x, y) = (self.positive(x), self.repeated(x, shape));
                let y = self.positive(y);
                let inputs = if self.dice.flip() { [x, y] } else { [y, x] };
                (self.push(Op::Binary { function }, &inputs), shape)
            }
            6 => (self.push(Op::PRelu, &[x]), shape),
            7 => {
                let size = 1 + self.dice.below(6);
                let beta = self.dice.pick(&[0.75, 0.5]);
                (self.push(Op::Lrn { size, alpha: 0.3, beta, bias: 1.5 }, &[x]), shape)
            }
            8 => {
                let log = self.dice.flip();
                (self.push(Op::Softmax { axis, log }, &[x]), shape)
            }
            9 => {
                let reduction = self.dice.pick(&[Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min]);
                let axes = axis.index();
                let axes = [0, 1, 2].map(|a| a == axes || (h * w > 100 && a > 0));
                (self.push(Op::Reduce { reduction, axes }, &[x]), [0, 1, 2].map(|a| if axes[a] { 1 } else { shape[a] }))
            }
            10 => {
                let fill = self.dice.pick(&[Fill::Constant { value: 0.25 }, Fill::Reflect, Fill::Edge, Fill::Wrap]);
                let mut cells = || [0, 1, 2].map(|a: usize| self.dice.below(3).min(shape[a] - 1));
                let (before, after) = (cells(), cells());
                let padded = [0, 1, 2].map(|a| shape[a] + before[a] + after[a]);
                (self.push(Op::Pad(Pad { before, after, fill }), &[x]), padded)
            }
            11 => {
                let a = axis.index();
                let (start, step) = (self.dice.below(shape[a]), self.dice.pick(&[1_isize, 2, -1, -2]));
                let room = if step > 0 { shape[a] - 1 - start } else { start };
                let len = 1 + self.dice.below(room / step.unsigned_abs() + 1);
                let mut cropped = shape;
                cropped[a] = len;
                (self.push(Op::Crop(Crop { axis, start, step, len }), &[x]), cropped)
            }
            12 => self.resize(x, shape),
            13 => self.rearrange(x, shape),
            _ => self.product(x, shape),
        }
    }

    fn resize(&mut self, x: Value, [c, h, w]: Shape) -> (Value, Shape) {
        let roundings = [Rounding::PreferFloor, Rounding::PreferCeil, Rounding::Floor, Rounding::Ceil];
        let rounding = self.dice.pick(&roundings);
        let filter = self.dice.pick(&[
            Filter::Nearest { rounding },
            Filter::Linear,
            Filter::Cubic { coefficient: -0.75 },
            Filter::Nearest { rounding: Rounding::Floor },
        ]);
        let coordinates = self.dice.pick(&[
            Coordinates::HalfPixel,
            Coordinates::HalfPixelSymmetric,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
            Coordinates::TfHalfPixelForNn,
        ]);
        let to = match self.dice.below(3) {
            0 if h * w < 200 => ResizeTo::Scale([2.0, 2.0]),
            1 if h * w < 200 => ResizeTo::Scale([1.3, 1.7]),
            _ => ResizeTo::Size([1 + self.dice.below(12), 1 + self.dice.below(12)]),
        };
        let resize = Resize { to, filter, coordinates };
        let [rows, columns] = resize.output([h, w]);
        (self.push(Op::Resize(resize), &[x]), [c, rows, columns])
    }

    fn rearrange(&mut self, x: Value, shape @ [c, h, w]: Shape) -> (Value, Shape) {
        let divisor = |n: usize| (1..=n).rev().find(|d| n.is_multiple_of(*d) && *d <= 3).unwrap_or(1);
        let rearrange = match self.dice.below(5) {
            0 => Rearrange::shuffle(shape, divisor(c)),
            1 => {
                let orders = [[0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]];
                Rearrange::transpose(shape, self.dice.pick(&orders))
            }
            2 => Rearrange::reshape([c, w, h]),
            3 => Rearrange::reshape([c * divisor(h), h / divisor(h), w]),
            // Channels become pixels.
            _ => {
                let d = divisor(c);
                let dims = vec![c / d, d, h, w];
                Rearrange { dims, order: vec![0, 2, 3, 1], shape: [c / d, h, w * d] }
            }
        };
        let shape = rearrange.shape;
        (self.push(Op::Rearrange(rearrange), &[x]), shape)
    }

    fn product(&mut self, x: Value, shape @ [c, h, w]: Shape) -> (Value, Shape) {
        match self.dice.below(3) {
            0 => {
                let turned = Rearrange::transpose(shape, [0, 2, 1]);
                let y = self.push(Op::Rearrange(turned), &[x]);
                (self.push(Op::MatMul, &[x, y]), [c, h, h])
            }
            1 => {
                let (name, n) = (self.name(), 1 + self.dice.below(9));
                let y = self.b.constant(&name, [1, w, n]);
                (self.push(Op::MatMul, &[x, y]), [c, h, n])
            }
            _ => {
                let (name, n) = (self.name(), 1 + self.dice.below(9));
                let y = self.b.constant(&name, [1, n, h]);
                (self.push(Op::MatMul, &[y, x]), [c, n, w])
            }
        }
    }
}

/// A network of `steps` random operations, sometimes on slices and concatenations of what came before.
fn random_network(seed: u64, steps: usize) -> Graph {
    let dice = Dice::new(seed);
    let mut net = Net { b: Builder::new(), dice, values: Vec::new(), names: 0 };
    let picture = net.b.input(PICTURE[0]);
    let width = 1 + net.dice.below(20);
    let stem = net.b.conv("stem", picture, Conv::new(width, 3));
    net.values.push((stem, [width, PICTURE[1], PICTURE[2]]));
    for _ in 0..steps {
        let (mut x, mut shape) = *net.values.last().unwrap();
        let (other, of_other) = net.dice.pick(&net.values.clone());
        if of_other[1..] == shape[1..] && shape[0] + of_other[0] < 40 && net.dice.flip() {
            (x, shape[0]) = (net.push(Op::Concat, &[x, other]), shape[0] + of_other[0]);
        } else if shape[0] > 3 && net.dice.flip() {
            let start = net.dice.below(3);
            let len = 1 + net.dice.below(shape[0] - start);
            (x, shape[0]) = (net.push(Op::Slice { start, len }, &[x]), len);
        }
        let next = net.step(x, shape);
        net.values.push(next);
    }
    let (last, _) = net.values[steps];
    net.b.finish(last).expect("the steps fit each other")
}

/// The answers of a plan for some pictures.
fn answers(plan: &Plan, pictures: &[f32], threads: usize) -> Vec<Vec<f32>> {
    let images = pictures.len() / PICTURE.iter().product::<usize>();
    let mut workspace = plan.workspace(images, threads);
    // What a run leaves behind does no harm to the next.
    (0..2).for_each(|_| plan.run(&mut workspace, Input::Real(pictures)).unwrap());
    (0..images).map(|image| plan.output(&workspace, image)).collect()
}

/// The largest deviation of a plan's answers from the interpreter's, relative to the answers' root mean square.
fn deviation(graph: &Graph, options: &PlanOptions, images: usize) -> f64 {
    let weights = Weights::reference(graph);
    let x = reference_input(images * PICTURE.iter().product::<usize>());
    let [c, h, w] = PICTURE;
    let exact = infer::<f64>(graph, &weights, &Tensor::from_f32([images, c, h, w], &x)).unwrap();
    let plan = Plan::new(graph, &weights, PICTURE, options).unwrap();
    let got = answers(&plan, &x, 2).concat();
    let expected = &exact[graph.output()].data;
    assert_eq!(got.len(), expected.len());
    let rms = (expected.iter().map(|v| v * v).sum::<f64>() / got.len() as f64).sqrt().max(1e-6);
    got.iter().zip(expected).map(|(&g, e)| (f64::from(g) - e).abs()).fold(0.0, f64::max) / rms
}

fn operations(graph: &Graph) -> String {
    graph.nodes().iter().map(|n| format!("{} ", n.op.name())).collect()
}

#[test]
fn random_networks_of_them_agree_with_the_interpreter() {
    for seed in 0..250 {
        let graph = random_network(seed, 1 + seed as usize % 7);
        for isa in Isa::available() {
            let off = deviation(&graph, &PlanOptions { isa, ..PlanOptions::default() }, 1 + seed as usize % 3);
            assert!(off < 1e-4, "network {seed}, {isa}: {off:.1e}: {}", operations(&graph));
        }
        let off = deviation(&graph, &PlanOptions::strict(), 1);
        assert!(off < 1e-4, "network {seed}, strict: {off:.1e}: {}", operations(&graph));
    }
}

#[test]
fn any_batch_and_number_of_threads_give_the_same_bits() {
    let len = PICTURE.iter().product::<usize>();
    for seed in 0..100 {
        let graph = random_network(seed, 6);
        let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &PlanOptions::default()).unwrap();
        let x = reference_input(3 * len);
        let bits = |answers: Vec<Vec<f32>>| answers.concat().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let alone = bits(x.chunks(len).flat_map(|picture| answers(&plan, picture, 1)).collect());
        for threads in [1, 2, 5] {
            assert_eq!(bits(answers(&plan, &x, threads)), alone, "network {seed}, {threads} threads");
        }
    }
}

#[test]
fn strict_bits_are_those_of_strict_plans() {
    for seed in 0..100 {
        let graph = random_network(seed, 6);
        let x = reference_input(PICTURE.iter().product());
        let [strict, same] = [PlanOptions::strict(), PlanOptions::with_strict_bits()].map(|options| {
            let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &options).unwrap();
            answers(&plan, &x, 2).concat().into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        });
        assert_eq!(strict, same, "network {seed}");
    }
}

#[test]
fn scales_go_into_convolutions_and_flattened_pixels_cost_nothing() {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(12, 3));
    let k = b.constant("k", [12, 1, 1]);
    let x = b.multiply("scaled", x, k);
    let t = b.constant("t", [12, 1, 1]);
    let x = b.add("shifted", x, t);
    let x = b.unary("swish", x, Unary::HardSwish);
    let squeezed = b.push("squeezed", Op::Reduce { reduction: Reduction::Mean, axes: [false, true, true] }, &[x]);
    let gate = b.conv("gate", squeezed, Conv::new(12, 1).bias());
    let gate = b.unary("sigmoid", gate, Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
    let x = b.multiply("excited", x, gate);
    let x = b.global_avg_pool("pool", x);
    let x = b.push("flat", Op::Rearrange(Rearrange::flatten([12, 1, 1])), &[x]);
    let x = b.linear("fc", x, 5);
    let graph = b.finish(x).unwrap();
    assert!(deviation(&graph, &PlanOptions::default(), 2) < 3e-5);
    let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &PlanOptions::default()).unwrap();
    let steps: Vec<&str> = plan.report().steps.iter().map(|s| s.nodes.last().unwrap().as_str()).collect();
    let saved = plan.report().rewrites.iter().find(|s| s.rewrite == Rewrite::NormConstants);
    assert_eq!(saved.map(|s| s.times), Some(2));
    assert_eq!(steps, ["swish", "squeezed", "sigmoid", "excited", "pool", "fc"]);
}

#[test]
fn training_refuses_what_it_has_no_way_back_through_by_name() {
    let refused = |body: &dyn Fn(&mut Builder, Value) -> Value| {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(6, 3));
        let x = body(&mut b, x);
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, 5);
        let graph = with_loss(&b.finish(x).unwrap()).unwrap();
        TrainPlan::new(&graph, PICTURE, Isa::detect()).err().map(|e| e.to_string())
    };
    let one = |op: Op| refused(&move |b, x| b.push("new", op.clone(), &[x]));
    let all = [
        Op::PRelu,
        Op::Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 1.0 },
        Op::Softmax { axis: Axis::Channels, log: false },
        Op::Reduce { reduction: Reduction::Sum, axes: [false, true, true] },
        Op::Pad(Pad { before: [0, 1, 1], after: [0, 1, 1], fill: Fill::Edge }),
        Op::Crop(Crop { axis: Axis::Rows, start: 0, step: 2, len: 3 }),
        Op::Resize(Resize::repeat(2)),
        Op::Rearrange(Rearrange::shuffle([6, 7, 6], 2)),
        Op::Unary { function: Unary::Exp },
        Op::Unary { function: Unary::Log },
        Op::Unary { function: Unary::Sqrt },
        Op::Unary { function: Unary::Reciprocal },
    ];
    for op in all {
        let name = op.name();
        assert!(one(op).is_some_and(|why| why.starts_with("new: ")), "{name}");
    }
    let gated = refused(&|b, x| {
        let gate = b.conv("gate", x, Conv::new(1, 1));
        b.multiply("new", x, gate)
    });
    assert!(gated.is_some_and(|why| why.starts_with("new: ")));
    let squeezed = refused(&|b, x| {
        let gate = b.global_avg_pool("mean", x);
        b.multiply("new", x, gate)
    });
    assert_eq!(squeezed, None);
    let constant = refused(&|b, x| {
        let k = b.constant("k", [6, 1, 1]);
        b.add("new", x, k)
    });
    assert!(constant.is_some_and(|why| why.starts_with("k: ")));
    for function in FUNCTIONS {
        assert_eq!(one(Op::Unary { function }), None, "{function:?}");
    }
    assert_eq!(one(Op::Reduce { reduction: Reduction::Mean, axes: [false, true, true] }), None);
    assert_eq!(one(Op::Rearrange(Rearrange::reshape([6, 7, 6]))), None);
}

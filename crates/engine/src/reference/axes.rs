//! What goes along axes: repeating, reducing, softmax, normalisation over channels, products of matrices.

use cspnet_graph::{Axis, Op, Reduction};

use super::tensor::{Real, Tensor};

/// Every place of a shape, in order.
fn places([n, c, h, w]: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
    let rows = move |i, j| (0..h).flat_map(move |y| (0..w).map(move |x| [i, j, y, x]));
    (0..n).flat_map(move |i| (0..c).flat_map(move |j| rows(i, j)))
}

/// Where a place lies in a tensor some of whose axes may have the length 1 instead.
fn at<T>(x: &Tensor<T>, place: [usize; 4]) -> usize {
    place.iter().zip(x.shape).fold(0, |at, (&i, len)| at * len + if len == 1 { 0 } else { i })
}

/// A value whose axes of length 1 are repeated up to a shape.
pub(super) fn repeated<T: Real>(x: &Tensor<T>, shape: [usize; 4]) -> Tensor<T> {
    Tensor { shape, data: places(shape).map(|place| x.data[at(x, place)]).collect() }
}

/// The sums over the axes that have the length 1 in a shape.
pub(super) fn summed<T: Real>(x: &Tensor<T>, shape: [usize; 4]) -> Tensor<T> {
    let mut sums = Tensor::zeros(shape);
    for (place, &v) in places(x.shape).zip(&x.data) {
        let to = at(&sums, place);
        sums.data[to] += v;
    }
    sums
}

/// One number for all along the axes that have the length 1 in a shape.
pub(super) fn reduce<T: Real>(reduction: Reduction, x: &Tensor<T>, shape: [usize; 4]) -> Tensor<T> {
    let counted = T::of((x.data.len() / shape.iter().product::<usize>()) as f64);
    match reduction {
        Reduction::Sum => summed(x, shape),
        Reduction::Mean => summed(x, shape).map(|v| v / counted),
        Reduction::Max | Reduction::Min => {
            let mut best: Tensor<Option<T>> = Tensor { shape, data: vec![None; shape.iter().product()] };
            for (place, &v) in places(x.shape).zip(&x.data) {
                let to = at(&best, place);
                let is_better = |b: T| if reduction == Reduction::Max { v > b } else { v < b };
                best.data[to] = Some(best.data[to].filter(|&b| !is_better(b)).unwrap_or(v));
            }
            Tensor { shape, data: best.data.into_iter().flatten().collect() }
        }
    }
}

/// The gradient of what was reduced to `y`; numbers that are the largest alike share it.
pub(super) fn reduce_backward<T: Real>(
    reduction: Reduction,
    x: &Tensor<T>,
    y: &Tensor<T>,
    dy: &Tensor<T>,
) -> Tensor<T> {
    let counted = T::of((x.data.len() / y.data.len()) as f64);
    let spread = repeated(dy, x.shape);
    match reduction {
        Reduction::Sum => spread,
        Reduction::Mean => spread.map(|v| v / counted),
        Reduction::Max | Reduction::Min => {
            let has = x.zip(&repeated(y, x.shape), |x, y| if x == y { T::of(1.0) } else { T::default() });
            let share = spread.zip(&repeated(&summed(&has, y.shape), x.shape), |dy, n| dy / n);
            share.zip(&has, |share, has| share * has)
        }
    }
}

/// A shape with one axis of an image reduced to the length 1.
fn without(shape: [usize; 4], axis: Axis) -> [usize; 4] {
    let mut reduced = shape;
    reduced[1 + axis.index()] = 1;
    reduced
}

/// Softmax along an axis, or its logarithm.
pub(super) fn softmax<T: Real>(x: &Tensor<T>, axis: Axis, log: bool) -> Tensor<T> {
    let reduced = without(x.shape, axis);
    let largest = repeated(&reduce(Reduction::Max, x, reduced), x.shape);
    let lowered = x.zip(&largest, |x, m| x - m);
    let powers = lowered.map(T::exp);
    let sums = repeated(&summed(&powers, reduced), x.shape);
    if log { lowered.zip(&sums, |x, sum| x - sum.ln()) } else { powers.zip(&sums, |power, sum| power / sum) }
}

/// The gradient of what softmax, or its logarithm, made `y`.
pub(super) fn softmax_backward<T: Real>(y: &Tensor<T>, dy: &Tensor<T>, axis: Axis, log: bool) -> Tensor<T> {
    let weighed = if log { dy.clone() } else { dy.zip(y, |dy, y| dy * y) };
    let sums = repeated(&summed(&weighed, without(y.shape, axis)), y.shape);
    let share = if log { y.map(T::exp) } else { y.clone() };
    weighed.zip(&sums.zip(&share, |sum, y| sum * y), |w, s| w - s)
}

/// Constants of a normalisation over channels.
pub(super) struct Lrn {
    size: usize,
    alpha: f64,
    beta: f64,
    bias: f64,
}

impl Lrn {
    pub fn of(op: &Op) -> Self {
        let &Op::Lrn { size, alpha, beta, bias } = op else { unreachable!("{} is none", op.name()) };
        Self { size, alpha, beta, bias }
    }

    /// The channels whose squares are summed for one of `channels`.
    fn window(&self, channel: usize, channels: usize) -> std::ops::Range<usize> {
        let before = (self.size - 1) / 2;
        channel.saturating_sub(before)..(channel + self.size - before).min(channels)
    }

    /// What every number is divided by, before it is taken to a power.
    fn divisors<T: Real>(&self, x: &Tensor<T>) -> Tensor<T> {
        let mut divisors = Tensor::zeros(x.shape);
        for (n, c) in x.planes() {
            for pixel in 0..x.pixels() {
                let square = |other: usize| x.plane(n, other)[pixel] * x.plane(n, other)[pixel];
                let sum: T = self.window(c, x.shape[1]).map(square).sum();
                divisors.plane_mut(n, c)[pixel] = T::of(self.bias) + T::of(self.alpha / self.size as f64) * sum;
            }
        }
        divisors
    }

    pub fn forward<T: Real>(&self, x: &Tensor<T>) -> Tensor<T> {
        x.zip(&self.divisors(x), |x, d| x / d.powf(T::of(self.beta)))
    }

    pub fn backward<T: Real>(&self, x: &Tensor<T>, dy: &Tensor<T>) -> Tensor<T> {
        let divisors = self.divisors(x);
        let mut dx = dy.zip(&divisors, |dy, d| dy / d.powf(T::of(self.beta)));
        let factor = T::of(-2.0 * self.alpha * self.beta / self.size as f64);
        for (n, c) in x.planes() {
            for pixel in 0..x.pixels() {
                let (x_c, d) = (x.plane(n, c)[pixel], divisors.plane(n, c)[pixel]);
                let through = factor * dy.plane(n, c)[pixel] * x_c * d.powf(T::of(-self.beta - 1.0));
                for other in self.window(c, x.shape[1]) {
                    dx.plane_mut(n, other)[pixel] += through * x.plane(n, other)[pixel];
                }
            }
        }
        dx
    }
}

/// Products of matrices, one for each channel; where `flip` says so, an operand is transposed first.
pub(super) fn product<T: Real>(a: &Tensor<T>, b: &Tensor<T>, flip: [bool; 2]) -> Tensor<T> {
    let flipped = |x: &Tensor<T>, flip: bool| if flip { transposed(x) } else { x.clone() };
    let (a, b) = (flipped(a, flip[0]), flipped(b, flip[1]));
    let [n, _, rows, inner] = a.shape;
    let mut y = Tensor::zeros([n, a.shape[1].max(b.shape[1]), rows, b.shape[3]]);
    for place @ [i, j, row, column] in places(y.shape) {
        let term = |k: usize| a.data[at(&a, [i, j, row, k])] * b.data[at(&b, [i, j, k, column])];
        let to = at(&y, place);
        y.data[to] = (0..inner).map(term).sum();
    }
    y
}

fn transposed<T: Real>(x: &Tensor<T>) -> Tensor<T> {
    let [n, c, h, w] = x.shape;
    let shape = [n, c, w, h];
    Tensor { shape, data: places(shape).map(|[i, j, y, z]| x.data[at(x, [i, j, z, y])]).collect() }
}

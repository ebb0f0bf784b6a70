//! The way of a photo, computed node by node as ONNX has it, against [`Preprocess::apply`].

use std::collections::HashMap;

use cspnet_graph::{Builder, Weights};
use cspnet_vision::Photo;
use prost::Message;

use super::super::proto::{self, UINT8};
use super::super::{Options, write};
use super::*;

/// `TensorProto.DataType.BOOL`.
const BOOL: i32 = 9;

/// A tensor: its numbers in double precision, whatever their type.
#[derive(Clone)]
struct Tensor {
    kind: i32,
    dims: Vec<usize>,
    numbers: Vec<f64>,
}

impl Tensor {
    /// With every number as its type holds it.
    fn new(kind: i32, dims: Vec<usize>, mut numbers: Vec<f64>) -> Self {
        if kind == FLOAT {
            numbers.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
        assert_eq!(dims.iter().product::<usize>(), numbers.len());
        Self { kind, dims, numbers }
    }

    fn initial(tensor: &proto::Tensor) -> Self {
        let kind = tensor.data_type.unwrap();
        let bytes = &tensor.raw_data;
        let eights = || bytes.chunks_exact(8).map(|b| <[u8; 8]>::try_from(b).unwrap());
        let numbers = match kind {
            INT64 => eights().map(|b| i64::from_le_bytes(b) as f64).collect(),
            DOUBLE => eights().map(f64::from_le_bytes).collect(),
            _ => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        };
        Self::new(kind, tensor.dims.iter().map(|&d| d as usize).collect(), numbers)
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(self.kind, self.dims.clone(), self.numbers.iter().map(|&v| f(v)).collect())
    }

    /// A function of two tensors whose dimensions are stretched to each other's.
    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        assert_eq!(self.kind, other.kind);
        let rank = self.dims.len().max(other.dims.len());
        let padded = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
        let (a, b) = (padded(&self.dims), padded(&other.dims));
        let dims: Vec<usize> = a.iter().zip(&b).map(|(&a, &b)| a.max(b)).collect();
        let place = |flat: usize, own: &[usize]| {
            let (mut rest, mut place, mut stride) = (flat, 0, 1);
            for axis in (0..rank).rev() {
                place += if own[axis] == 1 { 0 } else { rest % dims[axis] * stride };
                (rest, stride) = (rest / dims[axis], stride * own[axis]);
            }
            place
        };
        let numbers =
            (0..dims.iter().product::<usize>()).map(|i| f(self.numbers[place(i, &a)], other.numbers[place(i, &b)]));
        Self::new(self.kind, dims.clone(), numbers.collect())
    }

    fn transposed(&self, order: &[i64]) -> Self {
        let order: Vec<usize> = order.iter().map(|&axis| axis as usize).collect();
        let dims: Vec<usize> = order.iter().map(|&axis| self.dims[axis]).collect();
        let stride = |axis: usize| self.dims[axis + 1..].iter().product::<usize>();
        let number = |flat: usize| {
            let (mut rest, mut place) = (flat, 0);
            for (&axis, &size) in order.iter().zip(&dims).rev() {
                place += rest % size * stride(axis);
                rest /= size;
            }
            self.numbers[place]
        };
        Self::new(self.kind, dims.clone(), (0..self.numbers.len()).map(number).collect())
    }

    /// The product of matrices, of which one side may be many, summed up in single precision from the end: as far as it is exact, no
    /// order gives another.
    fn times(&self, other: &Self) -> Self {
        let matrix = |t: &Self| [t.dims[t.dims.len() - 2], t.dims[t.dims.len() - 1]];
        let ([m, k], [k_, n]) = (matrix(self), matrix(other));
        assert_eq!((k, self.kind), (k_, FLOAT));
        let many = self.dims[..self.dims.len() - 2].iter().chain(&other.dims[..other.dims.len() - 2]);
        let many: Vec<usize> = many.copied().collect();
        let start = |t: &Self, i: usize| if t.dims.len() == 2 { 0 } else { i * matrix(t).iter().product::<usize>() };
        let mut numbers = Vec::new();
        for i in 0..many.iter().product::<usize>() {
            let (a, b) = (&self.numbers[start(self, i)..], &other.numbers[start(other, i)..]);
            for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
                let products = (0..k).rev().map(|i| (a[row * k + i] * b[i * n + column]) as f32);
                numbers.push(f64::from(products.fold(0.0, |sum, product| sum + product)));
            }
        }
        Self::new(FLOAT, [many, vec![m, n]].concat(), numbers)
    }
}

/// What a node computes.
fn computed(node: &proto::Node, inputs: &[&Tensor]) -> Tensor {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name == name).unwrap();
    let [a, b, c] = [0, 1, 2].map(|i| inputs.get(i).copied().unwrap_or(inputs[0]));
    match node.op_type.as_str() {
        "Shape" => Tensor::new(INT64, vec![a.dims.len()], a.dims.iter().map(|&d| d as f64).collect()),
        "Gather" => Tensor::new(a.kind, b.dims.clone(), b.numbers.iter().map(|&i| a.numbers[i as usize]).collect()),
        "Min" => a.with(b, f64::min),
        "Max" => a.with(b, f64::max),
        "Add" => a.with(b, |a, b| a + b),
        "Sub" => a.with(b, |a, b| a - b),
        "Mul" => a.with(b, |a, b| a * b),
        "Div" if a.kind == INT64 => a.with(b, |a, b| (a / b).trunc()),
        "Div" => a.with(b, |a, b| a / b),
        "Mod" => a.with(b, |a, b| a.rem_euclid(b)),
        "Equal" => Tensor { kind: BOOL, ..a.with(b, |a, b| (a == b).into()) },
        "Abs" => a.map(f64::abs),
        "Floor" => a.map(f64::floor),
        "Clip" => a.map(|v| v.clamp(b.numbers[0], c.numbers[0])),
        "Range" => {
            assert_eq!((a.numbers[0], c.numbers[0], a.dims.len() + b.dims.len() + c.dims.len()), (0.0, 1.0, 0));
            let len = b.numbers[0] as usize;
            Tensor::new(INT64, vec![len], (0..len).map(|i| i as f64).collect())
        }
        "ReduceSum" => {
            let rows = a.numbers.chunks(a.dims[1]).map(|row| row.iter().sum());
            Tensor::new(a.kind, vec![a.dims[0], 1], rows.collect())
        }
        "Cast" => Tensor::new(attribute("to").i.unwrap() as i32, a.dims.clone(), a.numbers.clone()),
        "Transpose" => a.transposed(&attribute("perm").ints),
        "MatMul" => a.times(b),
        other => panic!("{other} is not of a photo's way"),
    }
}

/// The picture that a file makes of photos of one size.
fn picture(preprocess: &Preprocess, photos: &[Photo]) -> Tensor {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.global_avg_pool("mean", x);
    let graph = b.finish(x).unwrap();
    let options = Options { photo: Some(preprocess.clone()), ..Options::default() };
    let bytes = write(&graph, &Weights::reference(&graph), None, &options).unwrap();
    let graph = proto::Model::decode(&bytes[..]).unwrap().graph.unwrap();
    let dims = vec![photos.len(), photos[0].height() as usize, photos[0].width() as usize, 3];
    let pixels = photos.iter().flat_map(|photo| photo.pixels().iter().map(|&v| f64::from(v)));
    let mut values: HashMap<&str, Tensor> =
        graph.initializer.iter().map(|t| (t.name.as_str(), Tensor::initial(t))).collect();
    values.insert(&graph.input[0].name, Tensor::new(UINT8, dims, pixels.collect()));
    let normalise = graph.node.iter().find(|n| n.name == "input.scaled").unwrap();
    for node in graph.node.iter().take_while(|n| n.name != normalise.name) {
        let inputs: Vec<&Tensor> = node.input.iter().map(|i| &values[i.as_str()]).collect();
        let value = computed(node, &inputs);
        values.insert(&node.name, value);
    }
    values.remove(normalise.input[0].as_str()).unwrap()
}

/// A photo of noise, with lines on which filters overshoot.
fn photo(width: u32, height: u32, seed: u64) -> Photo {
    let byte = |i: u64| {
        let z = (i + seed * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let z = (z ^ (z >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        if i / 3 % 11 < 2 { 255 * (i / 3 % 2) as u8 } else { (z >> 56) as u8 }
    };
    Photo::new(width, height, (0..u64::from(3 * width * height)).map(byte).collect()).unwrap()
}

fn check(preprocess: &Preprocess, sizes: &[(u32, u32)]) {
    for &(width, height) in sizes {
        let photos = [photo(width, height, 1), photo(width, height, 2)];
        let found = picture(preprocess, &photos);
        let (rows, columns) = (preprocess.size.0 as usize, preprocess.size.1 as usize);
        assert_eq!(found.dims, [2, 3, rows, columns]);
        for (photo, found) in photos.iter().zip(found.numbers.chunks(3 * rows * columns)) {
            let expected = preprocess.apply(photo).unwrap();
            let plane = |colour: usize| expected.pixels().iter().skip(colour).step_by(3).map(|&v| f64::from(v));
            let expected: Vec<f64> = (0..3).flat_map(plane).collect();
            assert!(found == expected, "{preprocess:?} of {width} x {height}");
        }
    }
}

const SIZES: [(u32, u32); 6] = [(61, 40), (33, 97), (24, 24), (150, 31), (7, 9), (128, 96)];

#[test]
fn the_picture_is_that_of_our_own_preprocessing() {
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        check(&Preprocess::imagenet(24, 0.875, filter).unwrap(), &SIZES);
        check(&Preprocess::imagenet(21, 1.0, filter).unwrap(), &SIZES);
        let oblong = Preprocess { size: (24, 17), ..Preprocess::imagenet(24, 0.9, filter).unwrap() };
        check(&oblong, &SIZES);
    }
}

#[test]
fn it_is_stretched_where_the_model_says_so() {
    for filter in [Filter::Bilinear, Filter::Bicubic] {
        let stretched = Preprocess { size: (19, 32), resize: Resize::Stretch, filter, ..Preprocess::torchvision() };
        check(&stretched, &SIZES);
    }
}

#[test]
fn it_is_padded_with_black_where_the_photo_is_smaller() {
    let padded = |size, to| Preprocess { size, resize: Resize::ShorterSide(to), ..Preprocess::torchvision() };
    check(&padded((20, 31), 16), &SIZES);
    check(&padded((20, 20), 9), &[(9, 9), (9, 10), (40, 9), (7, 100)]);
}

#[test]
fn photos_that_shrink_much_lose_no_more_than_a_weights_last_bit() {
    check(&Preprocess::imagenet(4, 1.0, Filter::Bicubic).unwrap(), &[(400, 300)]);
}

//! Every backward against finite differences of the forward, and a few values by hand.

use cspnet_graph::rewrite::{with_drop_path, with_dropout, with_loss};
use cspnet_graph::{
    Axis, Binary, Builder, Conv, Coordinates, Crop, Fill, Filter, Graph, Op, Pad, Padding, Rearrange, Reduction,
    Resize, ResizeTo, Unary, Value, Weights, Window,
};
use serde_json::json;

use super::*;

const PICTURE: [usize; 4] = [2, 3, 6, 5];

/// A network around one operation: trained layers on both sides of it, so that its gradients are seen.
fn around(body: impl FnOnce(&mut Builder, Value) -> Value) -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("before", x, Conv::new(6, 3).bias());
    let x = body(&mut b, x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("after", x, 4);
    with_loss(&b.finish(x).unwrap()).unwrap()
}

/// Compares all gradients of `graph` with central differences of its loss.
fn check(name: &str, graph: &Graph) {
    let input = Tensor::<f64>::from_f32(PICTURE, &cspnet_graph::init::reference_input(PICTURE.iter().product()));
    let targets = [0.7, 0.1, 0.1, 0.1, 0.0, 0.0, 1.0, 0.0];
    let weights = Weights::reference(graph);
    let step = train(graph, &weights, &input, &targets).unwrap();
    let loss = |params: &[Vec<f64>]| {
        let mut pass = Pass::new(graph, &weights, &input, Some(&targets)).unwrap();
        pass.params = params.to_vec();
        pass.forward(&input);
        pass.loss
    };
    let mut params: Vec<Vec<f64>> =
        weights.tensors().iter().map(|t| t.iter().map(|&v| f64::from(v)).collect()).collect();
    for (id, gradient) in step.gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        for i in (0..gradient.len()).step_by(gradient.len() / 7 + 1) {
            let (h, old) = (1e-6, params[id][i]);
            let mut at = |v: f64| {
                params[id][i] = v;
                loss(&params)
            };
            let slope = (at(old + h) - at(old - h)) / (2.0 * h);
            at(old);
            let name = format!("{name}: {}[{i}]", graph.params()[id].name);
            assert!((slope - gradient[i]).abs() < 1e-7 + 1e-5 * slope.abs(), "{name}: {} for {slope}", gradient[i]);
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let functions =
        [Unary::Relu, Unary::Relu6, Unary::LeakyRelu { slope: 0.1 }, Unary::Sigmoid, Unary::Silu, Unary::Mish];
    for f in functions {
        check(&format!("{f:?}"), &around(|b, x| b.unary("f", x, f)));
    }
    let unit = |b: &mut Builder, x, name: &str| {
        let y = b.conv(name, x, Conv::new(6, 3));
        b.add(&format!("{name}.add"), x, y)
    };
    let (dropped, classifiers) = with_dropout(&around(|b, x| unit(b, x, "c")), 0.4).unwrap();
    assert_eq!(classifiers, 1);
    check("dropout", &dropped);
    let two_units = around(|b, x| {
        let x = unit(b, x, "c");
        unit(b, x, "d")
    });
    check("drop path", &with_drop_path(&two_units, 0.5).unwrap().0);
    check("strided", &around(|b, x| b.conv("c", x, Conv::new(5, 3).stride(2).padding(2))));
    check("grouped", &around(|b, x| b.conv("c", x, Conv::new(9, 3).groups(3).bias())));
    check("depthwise", &around(|b, x| b.conv("c", x, Conv::new(6, 3).groups(6).padding(0))));
    check(
        "norm",
        &around(|b, x| {
            let x = b.batch_norm("n", x);
            b.conv("c", x, Conv::new(4, 1))
        }),
    );
    check("max", &around(|b, x| b.max_pool("p", x, Window::square(3, 2, 1))));
    check("average", &around(|b, x| b.avg_pool("p", x, Window::square(3, 2, 1))));
    check(
        "concat, slice",
        &around(|b, x| {
            let y = b.slice("s", x, 1, 4);
            let z = b.concat("c", &[y, x, y]);
            b.slice("t", z, 2, 9)
        }),
    );
    check(
        "sum, product",
        &around(|b, x| {
            let y = b.conv("c", x, Conv::new(6, 1));
            let p = b.multiply("p", x, y);
            b.add("s", p, x)
        }),
    );
}

#[test]
fn functions_of_imported_networks_have_their_gradients() {
    let free = [
        Unary::Clip { min: -0.2, max: 0.3 },
        Unary::Tanh,
        Unary::HardSigmoid { alpha: 0.7, beta: 0.5 },
        Unary::HardSwish,
        Unary::Elu { alpha: 0.8 },
        Unary::Selu { alpha: 1.67, gamma: 1.05 },
        Unary::Softplus,
        Unary::Gelu,
        Unary::GeluTanh,
        Unary::Erf,
        Unary::Exp,
        Unary::Neg,
        Unary::Abs,
    ];
    for f in free {
        check(&format!("{f:?}"), &around(|b, x| b.unary("f", x, f)));
    }
    // These take positive numbers.
    for f in [Unary::Log, Unary::Sqrt, Unary::Reciprocal] {
        check(
            &format!("{f:?}"),
            &around(|b, x| {
                let x = b.unary("positive", x, Unary::Softplus);
                b.unary("f", x, f)
            }),
        );
    }
}

#[test]
fn functions_of_two_repeat_axes_and_sum_their_gradients() {
    use Binary::*;
    for (f, shape) in [
        (Add, [6, 1, 1]),
        (Sub, [1, 6, 5]),
        (Mul, [1, 1, 1]),
        (Div, [1, 6, 1]),
        (Pow, [6, 6, 1]),
        (Max, [6, 1, 5]),
        (Min, [6, 6, 5]),
    ] {
        let of = |flipped: bool| {
            around(|b, x| {
                let x = b.unary("positive", x, Unary::Softplus);
                let k = b.constant("k", shape);
                // Something that learns has the shape of the constant.
                let axes = shape.map(|len| len == 1);
                let y = match axes.contains(&true) {
                    true => {
                        let y = b.push("reduced", Op::Reduce { reduction: Reduction::Mean, axes }, &[x]);
                        b.add("k2", y, k)
                    }
                    false => k,
                };
                if flipped { b.binary("f", f, y, x) } else { b.binary("f", f, x, y) }
            })
        };
        [false, true].into_iter().for_each(|flipped| check(&format!("{f:?}"), &of(flipped)));
    }
}

#[test]
fn operations_of_imported_networks_have_their_gradients() {
    let one = |op: Op| around(|b, x| b.push("op", op, &[x]));
    check("prelu", &one(Op::PRelu));
    check("lrn", &one(Op::Lrn { size: 4, alpha: 0.5, beta: 0.75, bias: 1.0 }));
    for axis in Axis::ALL {
        for log in [false, true] {
            // A sum over the axis would be 1 whatever went in.
            let weighed = around(|b, x| {
                let y = b.push("op", Op::Softmax { axis, log }, &[x]);
                b.multiply("weighed", y, x)
            });
            check("softmax", &weighed);
        }
    }
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min] {
        for axes in [[true, false, false], [false, true, false], [false, true, true], [true; 3]] {
            check(&format!("{reduction:?}"), &one(Op::Reduce { reduction, axes }));
        }
    }
    for fill in [Fill::Constant { value: 0.5 }, Fill::Reflect, Fill::Edge, Fill::Wrap] {
        check(&format!("{fill:?}"), &one(Op::Pad(Pad { before: [1, 2, 0], after: [2, 0, 3], fill })));
    }
    check("crop", &one(Op::Crop(Crop { axis: Axis::Rows, start: 4, step: -2, len: 3 })));
    check(
        "rearrange",
        &one(Op::Rearrange(Rearrange { dims: vec![3, 2, 15, 2], order: vec![1, 3, 0, 2], shape: [4, 9, 5] })),
    );
    for filter in [
        Filter::Nearest { rounding: cspnet_graph::Rounding::PreferFloor },
        Filter::Linear,
        Filter::Cubic { coefficient: -0.75 },
    ] {
        let resize = Resize { to: ResizeTo::Size([9, 4]), filter, coordinates: Coordinates::HalfPixel };
        check("resize", &one(Op::Resize(resize)));
    }
    check(
        "product",
        &around(|b, x| {
            let y = b.push("turned", Op::Rearrange(Rearrange::transpose([6, 6, 5], [0, 2, 1])), &[x]);
            let y = b.push("each", Op::MatMul, &[x, y]);
            let z = b.slice("one", y, 2, 1);
            let y = b.push("by one", Op::MatMul, &[y, z]);
            b.push("one by", Op::MatMul, &[z, y])
        }),
    );
}

#[test]
fn values_of_imported_operations_by_hand() {
    let mut b = Builder::new();
    let x = b.input(2);
    let lrn = b.push("lrn", Op::Lrn { size: 2, alpha: 2.0, beta: 0.5, bias: 1.0 }, &[x]);
    let softmax = b.push("softmax", Op::Softmax { axis: Axis::Channels, log: false }, &[x]);
    let erf = b.unary("erf", x, Unary::Erf);
    let product = b.push("product", Op::MatMul, &[x, x]);
    let all = b.concat("all", &[lrn, softmax, erf, product]);
    let g = b.finish(all).unwrap();
    let x = Tensor::<f64>::from_f32([1, 2, 1, 1], &[2.0, 3.0]);
    let values = infer(&g, &Weights::reference(&g), &x).unwrap();
    let near = |id: usize, expected: [f64; 2]| {
        let off = values[id].data.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 1e-9, "{id}: {:?} instead of {expected:?}", values[id].data);
    };
    // Two channels are summed, the second of which lies behind.
    near(1, [2.0 / 14.0_f64.sqrt(), 3.0 / 10.0_f64.sqrt()]);
    near(2, [1.0 / (1.0 + 1.0_f64.exp()), 1.0 / (1.0 + (-1.0_f64).exp())]);
    near(3, [0.995_322_265_018_952_7, 0.999_977_909_503_001_4]);
    near(4, [4.0, 9.0]);
}

/// The graph with something changed that the builder does not offer, as a file might have it.
fn edited(graph: &Graph, edit: impl FnOnce(&mut serde_json::Value)) -> Graph {
    let mut json = serde_json::to_value(graph).unwrap();
    edit(&mut json);
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_window_with_dilation_and_two_strides() {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("before", x, Conv::new(4, 3));
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("after", x, 4);
    let g = with_loss(&b.finish(x).unwrap()).unwrap();
    for padding in [json!([2, 0]), json!([0, 3, 2, 1])] {
        let window = json!({"kernel": [3, 2], "stride": [1, 2], "padding": padding, "dilation": [2, 3]});
        let g = edited(&g, |json| {
            json["nodes"][1]["window"] = window;
            json["params"][0]["shape"] = json!([4, 3, 3, 2]);
        });
        check("window", &g);
    }
}

#[test]
fn pooling_with_oblong_windows_and_without_counting_padding() {
    let windows = [
        json!({"kernel": [3, 2], "stride": [1, 2], "padding": [2, 1], "dilation": [1, 2]}),
        json!({"kernel": [3, 2], "stride": [2, 2], "padding": [0, 1, 2, 0], "dilation": [1, 2]}),
        json!({"kernel": [3, 2], "stride": [4, 3], "padding": [1, 0, 0, 1], "dilation": [1, 1], "ceil": true}),
    ];
    let average = |counts: bool| json!({"average": {"count_include_pad": counts}});
    for (kind, window) in
        [json!("max"), average(true), average(false)].iter().flat_map(|kind| windows.iter().map(move |w| (kind, w)))
    {
        let g = around(|b, x| b.max_pool("p", x, Window::square(3, 2, 1)));
        let g = edited(&g, |json| {
            json["nodes"][2]["window"] = window.clone();
            json["nodes"][2]["kind"] = kind.clone();
        });
        check(&format!("{kind} {window}"), &g);
    }
}

#[test]
fn normalised_pixels_have_a_gradient() {
    let g = around(|b, x| b.slice("s", x, 0, 6));
    let std = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06];
    let normalise =
        json!({"path": "n", "op": "normalise", "mean": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "std": std, "inputs": [1]});
    check("normalise", &edited(&g, |json| json["nodes"][2] = normalise));
}

#[test]
fn running_statistics_take_the_unbiased_variance() {
    let mut b = Builder::new();
    let x = b.input(1);
    let x = b.batch_norm("norm", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("after", x, 2);
    let g = with_loss(&b.finish(x).unwrap()).unwrap();
    let x = Tensor::<f64>::from_f32([2, 1, 1, 2], &[1.0, 2.0, 3.0, 6.0]);
    let weights =
        Weights::new(&g, vec![vec![1.0], vec![0.0], vec![0.5], vec![2.0], vec![0.0; 2], vec![0.0; 2]]).unwrap();
    let step = train(&g, &weights, &x, &[1.0, 0.0, 0.0, 1.0]).unwrap();
    // Mean 3, squares 4 + 1 + 0 + 9: biased variance 3.5, unbiased 14 / 3.
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} instead of {b}");
    near(step.values[1].data[3], 3.0 / (3.5 + 1e-5_f64).sqrt());
    near(step.running[&2][0], 0.9 * 0.5 + 0.1 * 3.0);
    near(step.running[&3][0], 0.9 * 2.0 + 0.1 * 14.0 / 3.0);
    near(step.loss, 2.0_f64.ln());
}

#[test]
fn values_by_hand() {
    let mut b = Builder::new();
    let x = b.input(1);
    let max = b.max_pool("max", x, Window::square(2, 2, 0));
    let average = b.avg_pool("average", x, Window::square(3, 2, 1));
    let y = b.concat("both", &[max, average]);
    let g = b.finish(y).unwrap();
    let x = Tensor::<f64>::from_f32([1, 1, 4, 4], &(1..=16).map(|v| v as f32).collect::<Vec<_>>());
    let values = infer(&g, &Weights::reference(&g), &x).unwrap();
    assert_eq!(values[1].data, [6.0, 8.0, 14.0, 16.0]);
    assert_eq!(values[2].data, [14.0 / 9.0, 30.0 / 9.0, 57.0 / 9.0, 99.0 / 9.0]);
    assert_eq!(values[3].shape, [1, 2, 2, 2]);
}

#[test]
fn a_mean_counts_declared_padding_but_nothing_behind_it() {
    // What torch.nn.functional.avg_pool2d gives for these numbers in one row, with ceil_mode.
    let means = |counts, padding, size| {
        let window = Window { kernel: [1, 3], stride: [1, 2], padding, dilation: [1; 2], ceil: true };
        let kind = PoolKind::Average { count_include_pad: counts };
        let mut b = Builder::new();
        let x = b.input(1);
        let y = b.push("mean", Op::Pool { kind, window }, &[x]);
        let g = b.finish(y).unwrap();
        let numbers: Vec<f32> = (1..=size).map(|v| 6.0 * v as f32).collect();
        let x = Tensor::<f64>::from_f32([1, 1, 1, size], &numbers);
        infer(&g, &Weights::reference(&g), &x).unwrap()[1].data.clone()
    };
    assert_eq!(means(true, Padding::even([0, 1]), 4), [6.0, 18.0, 12.0]);
    assert_eq!(means(false, Padding::even([0, 1]), 4), [9.0, 18.0, 24.0]);
    assert_eq!(means(true, Padding::NONE, 4), [12.0, 21.0]);
    // The cell behind is declared; a third window would begin there.
    assert_eq!(means(true, Padding { before: [0, 0], after: [0, 1] }, 4), [12.0, 14.0]);
}

#[test]
fn wrong_targets_are_told() {
    let g = around(|_, x| x);
    let x = Tensor::<f32>::zeros(PICTURE);
    assert!(train(&g, &Weights::reference(&g), &x, &[0.0; 3]).is_err());
    assert!(infer(&g, &Weights::reference(&g), &x).is_err());
    let two = with_loss(&g).unwrap();
    let refused = train(&two, &Weights::reference(&two), &x, &[1.0; 2]).unwrap_err();
    assert!(refused.to_string().contains("another inside"));
}

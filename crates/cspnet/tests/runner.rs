//! Networks run by the names of their inputs and outputs.

use std::collections::BTreeMap;

use cspnet::formats::numpy::Array;
use cspnet::graph::rewrite::with_normalise;
use cspnet::graph::{Builder, Conv, Graph, Unary, Weights};
use cspnet::{Error, Feed, ModelOptions, Photo, Photos, Runner};

/// A network of a picture, `left`, and a grey one, `right`, whose convolutions meet in a sum.
fn network() -> (Graph, Weights) {
    let mut b = Builder::new();
    let left = b.named_input("left", 3);
    let wide = b.module("wide", |b| {
        let x = b.conv("conv", left, Conv::new(9, 3));
        let x = b.batch_norm("norm", x);
        b.unary("act", x, Unary::Relu)
    });
    let right = b.named_input("right", 1);
    let other = b.conv("other", right, Conv::new(9, 3));
    let sum = b.add("sum", wide, other);
    let graph = b.finish_named(&[("sum", sum), ("other", other)]).unwrap();
    let weights = Weights::reference(&graph);
    (graph, weights)
}

fn photos(n: usize, seed: usize) -> Vec<Photo> {
    let pixel = |image: usize, i: usize| ((i * 7919 + image * 31 + seed) % 256) as u8;
    (0..n).map(|image| Photo::new(6, 4, (0..72).map(|i| pixel(image, i)).collect()).unwrap()).collect()
}

/// `(pixel / 255 - mean) / std` of photos, `[n, c, h, w]`, in double precision.
fn numbers(photos: &[Photo], mean: &[f32], std: &[f32]) -> Array {
    let channels = mean.len();
    let mut all = Vec::new();
    for photo in photos {
        let pixels = if channels == 1 { photo.grey() } else { photo.pixels().to_vec() };
        for c in 0..channels {
            let number = |&byte: &u8| (f64::from(byte) / 255.0 - f64::from(mean[c])) / f64::from(std[c]);
            all.extend(pixels.iter().skip(c).step_by(channels).map(|byte| number(byte) as f32));
        }
    }
    Array::new(vec![photos.len(), channels, 4, 6], &all)
}

fn run(
    (graph, weights): &(Graph, Weights),
    feeds: &BTreeMap<String, Feed>,
    wanted: &[&str],
    batch: usize,
) -> Result<Vec<(String, Array)>, Error> {
    let wanted: Vec<String> = wanted.iter().map(|&w| w.into()).collect();
    Runner::new(graph, weights, feeds, &wanted, &ModelOptions::default())?.run(feeds, batch, 2)
}

fn feeds(left: Feed, right: Feed) -> BTreeMap<String, Feed> {
    [("left".into(), left), ("right".into(), right)].into()
}

fn assert_near(got: &Array, expected: &Array) {
    assert_eq!(got.shape(), expected.shape());
    let [got, expected] = [got, expected].map(|a| a.numbers(0..a.len()));
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    assert!(got.iter().zip(&expected).all(|(g, e)| (g - e).abs() <= 1e-5 * largest), "{got:?}\n{expected:?}");
}

#[test]
fn photos_on_any_input_are_the_numbers_they_stand_for() {
    let network = network();
    let (left, right) = (photos(5, 0), photos(5, 77));
    let (mean, std) = (vec![0.5, 0.4, 0.3], vec![0.2, 0.3, 0.25]);
    let (grey_mean, grey_std) = (vec![0.1], vec![0.5]);
    let arrays =
        feeds(Feed::Numbers(numbers(&left, &mean, &std)), Feed::Numbers(numbers(&right, &grey_mean, &grey_std)));
    let photos = feeds(
        Feed::Photos(Photos { photos: left, mean, std }),
        Feed::Photos(Photos { photos: right, mean: grey_mean, std: grey_std }),
    );
    let expected = run(&network, &arrays, &["sum", "wide", "other"], 5).unwrap();
    assert_eq!(expected.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["sum", "wide", "other"]);
    let got = run(&network, &photos, &["sum", "wide", "other"], 5).unwrap();
    got.iter().zip(&expected).for_each(|((_, got), (_, expected))| assert_near(got, expected));
    for (feeds, all) in [(&arrays, expected), (&photos, got)] {
        for batch in [1, 2, 100] {
            assert_eq!(run(&network, feeds, &["sum", "wide", "other"], batch).unwrap(), all, "the batch changes bits");
        }
    }
    assert_eq!(run(&network, &arrays, &[], 1).unwrap().len(), 2, "without names all outputs");
}

#[test]
fn a_network_that_normalises_pixels_itself_gets_them_as_they_are() {
    let (graph, weights) = network();
    let (mean, std) = (vec![0.5, 0.4, 0.3], vec![0.2, 0.3, 0.25]);
    let normalising = (with_normalise(&graph, &mean, &std).unwrap(), weights.clone());
    let left = photos(3, 0);
    let right = || Feed::Numbers(numbers(&photos(3, 77), &[0.0], &[1.0]));
    let expected = run(&(graph, weights), &feeds(Feed::Numbers(numbers(&left, &mean, &std)), right()), &[], 3).unwrap();
    let pixels = numbers(&left, &[0.0; 3], &[1.0 / 255.0; 3]);
    let rounded: Vec<f32> = pixels.numbers(0..pixels.len()).iter().map(|v| v.round()).collect();
    let pixels = Feed::Numbers(Array::new(vec![3, 3, 4, 6], &rounded));
    let as_photos = Feed::Photos(Photos { photos: left, mean: vec![9.0; 3], std: vec![9.0; 3] });
    // Where the picture itself is to be seen, the normalisation is a step of its own.
    for wanted in [&["sum", "other"][..], &["sum", "other", "left"]] {
        for left in [&pixels, &as_photos] {
            let got = run(&normalising, &feeds(left.clone(), right()), wanted, 2);
            got.unwrap().iter().zip(&expected).for_each(|((_, got), (_, expected))| assert_near(got, expected));
        }
    }
    let between = Feed::Numbers(Array::new(vec![3, 3, 4, 6], &[0.5; 216]));
    let told = run(&normalising, &feeds(between, right()), &[], 3).unwrap_err().to_string();
    assert_eq!(told, "input `left`: pixels are whole numbers from 0 to 255, not 0.5");
}

#[test]
fn what_a_runner_was_not_made_for_is_refused() {
    let (graph, weights) = network();
    let array = |shape: &[usize]| Feed::Numbers(Array::new(shape.into(), &vec![0.0; shape.iter().product()]));
    let made_for = feeds(array(&[1, 3, 4, 6]), array(&[1, 1, 4, 6]));
    let runner = Runner::new(&graph, &weights, &made_for, &[], &ModelOptions::default()).unwrap();
    let refusal = |left: Feed, right: Feed| runner.run(&feeds(left, right), 1, 1).unwrap_err().to_string();
    let told = refusal(array(&[1, 3, 6, 4]), array(&[1, 1, 4, 6]));
    assert!(told.contains("[3, 6, 4]") && told.contains("3 x 4 x 6"), "{told}");
    let told = refusal(array(&[2, 3, 4, 6]), array(&[3, 1, 4, 6]));
    assert_eq!(told, "input `right`: 3 images, where `left` is given 2");
    let mut sizes = photos(1, 0);
    sizes.push(Photo::new(4, 6, vec![0; 72]).unwrap());
    let sizes = Photos { photos: sizes, mean: vec![0.0; 3], std: vec![1.0; 3] };
    assert!(runner.run(&feeds(Feed::Photos(sizes), array(&[2, 1, 4, 6])), 1, 1).is_err());
    assert!(runner.run(&[("left".into(), array(&[1, 3, 4, 6]))].into(), 1, 1).is_err());
    // Pixels are not what numbers are, nor are those of another mean.
    let of_mean = |mean: f32| Feed::Photos(Photos { photos: photos(1, 0), mean: vec![mean; 3], std: vec![1.0; 3] });
    let told = refusal(of_mean(0.5), array(&[1, 1, 4, 6]));
    assert!(told.starts_with("input `left`") && told.contains("compiled for"), "{told}");
    let made_for = feeds(of_mean(0.5), array(&[1, 1, 4, 6]));
    let runner = Runner::new(&graph, &weights, &made_for, &[], &ModelOptions::default()).unwrap();
    assert!(runner.run(&made_for, 1, 1).is_ok());
    for other in [of_mean(0.25), array(&[1, 3, 4, 6])] {
        assert!(runner.run(&feeds(other, array(&[1, 1, 4, 6])), 1, 1).is_err());
    }
    assert!(Runner::new(&graph, &weights, &BTreeMap::new(), &[], &ModelOptions::default()).is_err());
}

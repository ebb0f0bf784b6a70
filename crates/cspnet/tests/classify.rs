//! Models and sessions on a network whose answers are plain to see.

use cspnet::vision::PaddingMode;
use cspnet::{Error, Model, ModelOptions, Photo, TuneCache, Views};

include!("common/brightness.rs");

fn grey(width: u32, height: u32, value: u8) -> Photo {
    Photo::new(width, height, vec![value; (3 * width * height) as usize]).unwrap()
}

#[test]
fn a_photo_has_the_same_answer_alone_and_in_any_batch() {
    let model = Model::new(brightness(8, 12)).unwrap();
    let photos: Vec<Photo> = (0..7).map(|i| grey(20 + i, 10, 40 * i as u8)).collect();
    let alone: Vec<_> = photos.iter().map(|p| model.classify(p).unwrap()).collect();
    assert_eq!(model.session(3, 2).classify(&photos).unwrap(), alone);
    assert_eq!(alone.iter().map(|c| c[0].label.as_str()).filter(|l| *l == "bright").count(), 4);
}

#[test]
fn a_prepared_photo_of_another_shape_is_refused_even_if_it_has_as_many_pixels() {
    let model = Model::new(brightness(8, 12)).unwrap();
    let mut session = model.session(2, 1);
    assert!(session.logits(&[grey(12, 8, 0)]).is_ok());
    // Of two photos, one could lack what the other has too many.
    for photos in [vec![grey(8, 12, 0)], vec![grey(12, 7, 0), grey(12, 9, 0)]] {
        let error = session.classify_prepared(&photos).unwrap_err();
        assert!(matches!(error, Error::NotPrepared { .. }), "{error}");
        assert!(error.to_string().contains("takes 12 x 8"), "{error}");
    }
}

#[test]
fn mirror_images_are_answered_for_as_well() {
    let mut file = brightness(8, 8);
    let mut b = cspnet::graph::Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, cspnet::graph::Conv::new(8, 3));
    let x = b.unary("act", x, cspnet::graph::Unary::Relu);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 2);
    file.manifest.graph = b.finish(x).unwrap();
    file.weights = cspnet::graph::Weights::reference(&file.manifest.graph);
    let model = Model::new(file).unwrap();
    let photos: Vec<Photo> =
        (0..5).map(|n| Photo::new(8, 8, (0..192).map(|i| (i * (i + n) % 251) as u8).collect()).unwrap()).collect();
    let mirrored: Vec<Photo> = photos.iter().map(|p| p.clone().mirrored()).collect();
    let plain = |photos: &[Photo]| model.session(2, 1).logits(photos).unwrap();
    let mut both = model.session(2, 2).with_views(Views::Flip);
    let answers = both.logits(&photos).unwrap();
    assert_ne!(plain(&photos), plain(&mirrored), "the network sees the difference");
    for ((answer, one), other) in answers.iter().zip(plain(&photos)).zip(plain(&mirrored)) {
        let mean: Vec<f32> = one.iter().zip(other).map(|(a, b)| (a + b) / 2.0).collect();
        assert_eq!(*answer, mean);
    }
    assert_eq!(both.logits(&mirrored).unwrap(), answers);
    let moved = |by: i64| photos.iter().map(|p| p.shifted(-by, -by, PaddingMode::Reflect)).collect::<Vec<Photo>>();
    let sides = [1, -1].map(|by| both.logits(&moved(by)).unwrap());
    let all = model.session(3, 2).with_views(Views::FlipShift).logits(&photos).unwrap();
    for (photo, answer) in all.iter().enumerate() {
        for (class, &number) in answer.iter().enumerate() {
            let [right, left] = [&sides[0], &sides[1]].map(|side| side[photo][class]);
            let mean = (2.0 * answers[photo][class] + right + left) / 4.0;
            assert!((number - mean).abs() <= 1e-6 * mean.abs(), "{number} {mean}");
        }
    }
}

#[test]
fn a_network_of_other_channels_takes_no_photos() {
    let mut file = brightness(8, 8);
    let mut b = cspnet::graph::Builder::new();
    let x = b.input(1);
    let x = b.linear("classifier", x, 2);
    file.manifest.graph = b.finish(x).unwrap();
    file.weights = cspnet::graph::Weights::reference(&file.manifest.graph);
    assert!(matches!(Model::new(file).unwrap_err(), Error::NotPhotos(1)));
}

#[test]
fn a_model_is_given_to_nobody_before_every_bit_of_its_file_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let whole = brightness(8, 8).to_bytes().unwrap();
    let cache = || TuneCache::in_folder(dir.path().join("cache"), |told| panic!("{told}"));
    for tuned in [false, true] {
        let options = || ModelOptions { tune: tuned.then(cache), ..ModelOptions::default() };
        assert!(Model::from_bytes_with(&whole, &options()).is_ok());
        for back in [1, 9, 30, 33] {
            let mut flipped = whole.clone();
            let at = flipped.len() - back;
            flipped[at] ^= 1;
            assert!(matches!(Model::from_bytes_with(&flipped, &options()), Err(Error::Format(_))), "{back}");
            std::fs::write(&path, &flipped).unwrap();
            let error = Model::open_with(&path, &options()).unwrap_err().to_string();
            assert_eq!(error.matches("m.safetensors").count(), 1, "{error}");
        }
    }
}

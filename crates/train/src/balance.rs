//! Classes of unequal size: weights in the loss, and an order in which every class comes equally often.

use cspnet_data::{Draw, Purpose, Sample};

/// A weight for every class in inverse proportion to its photos, `photos / (classes * photos of the class)`, so that all classes
/// weigh the same together and a photo 1 on average (scikit-learn's `class_weight="balanced"`, after King and Zeng 2001).
pub fn balanced_weights(samples: &[Sample], classes: usize) -> Vec<f64> {
    let mut counts = vec![0_usize; classes];
    samples.iter().for_each(|s| counts[s.class] += 1);
    let weight = |count: usize| samples.len() as f64 / (classes * count.max(1)) as f64;
    counts.into_iter().map(weight).collect()
}

/// An epoch's order of as many photos as there are, in which all classes come equally often: each photo of a small class several
/// times, and of a large class some. The photo `i` of `n` is called `i` where it comes first, `i + n` where it comes again, and so
/// on, so that each time another view of it can be drawn.
pub(crate) fn balanced_order(samples: &[Sample], classes: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let mut of_class = vec![Vec::new(); classes];
    samples.iter().enumerate().for_each(|(i, s)| of_class[s.class].push(i));
    of_class.retain(|photos| !photos.is_empty());
    let mut order = Vec::with_capacity(samples.len());
    for (class, photos) in of_class.iter_mut().enumerate() {
        Draw::new(seed, epoch.into(), class as u64, Purpose::Balance).shuffle(photos);
        // What does not divide evenly goes to other classes in every epoch.
        let place = (class + epoch as usize) % classes;
        let wanted = samples.len() / classes + usize::from(place < samples.len() % classes);
        let rounds = (0..).flat_map(|round| photos.iter().map(move |photo| photo + round * samples.len()));
        order.extend(rounds.take(wanted));
    }
    Draw::new(seed, epoch.into(), 0, Purpose::Order).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine photos of class 0, two of class 1 and one of class 2.
    fn samples() -> Vec<Sample> {
        let classes = [0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 0, 0];
        classes.into_iter().enumerate().map(|(i, class)| Sample::file(i.to_string(), class)).collect()
    }

    #[test]
    fn weights_make_all_classes_weigh_the_same() {
        let weights = balanced_weights(&samples(), 3);
        assert_eq!(weights, [12.0 / 27.0, 2.0, 4.0]);
        let total: f64 = samples().iter().map(|s| weights[s.class]).sum();
        assert!((total - 12.0).abs() < 1e-12);
    }

    #[test]
    fn every_class_comes_equally_often_and_its_photos_in_turn() {
        let samples = samples();
        let mut seen = [0; 12];
        for epoch in 0..60 {
            let order = balanced_order(&samples, 3, 7, epoch);
            let of_class = |class| order.iter().filter(|&&i| samples[i % 12].class == class).count();
            assert_eq!([of_class(0), of_class(1), of_class(2)], [4, 4, 4]);
            for again in [4, 4 + 12, 9, 9 + 12, 7, 7 + 12, 7 + 24, 7 + 36] {
                assert_eq!(order.iter().filter(|&&i| i == again).count(), 1, "{again}");
            }
            order.iter().for_each(|&i| seen[i % 12] += 1);
            assert_ne!(order, balanced_order(&samples, 3, 7, epoch + 1));
            assert_eq!(order, balanced_order(&samples, 3, 7, epoch));
        }
        assert!(seen.iter().all(|&n| n > 10), "{seen:?}");
        let uneven = balanced_order(&samples[..11], 3, 7, 0);
        assert_eq!(uneven.len(), 11);
    }
}

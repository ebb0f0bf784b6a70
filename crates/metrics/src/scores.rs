//! What is told of one class, and the means over classes.

use crate::share::Share;

/// How a class fares: of its photos, how many are found, and of what is taken for it, how much is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassScores {
    /// Of the photos of the class, those that are taken for it. Their number is the class's support.
    pub recall: Share,
    /// Of the photos that are taken for the class, those of it.
    pub precision: Share,
}

impl ClassScores {
    /// The harmonic mean of precision and recall, which is 2 hits / (photos of the class + photos taken for it); `None` if there
    /// are neither. So it is 0, not undefined, for a class whose photos are never recognised.
    pub fn f1(&self) -> Option<f64> {
        Share::new(2 * self.recall.hits(), self.recall.of() + self.precision.of()).value()
    }
}

/// Means over classes, each counting the same however many photos it has ("macro" averages).
///
/// They are over the classes that have photos. One of these that nothing is taken for has no precision and counts as 0 here:
/// left out, it would make a model look better that never names it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Means {
    /// Classes that have photos.
    pub classes: usize,
    /// Mean recall, also called balanced accuracy; `None` without photos.
    pub recall: Option<f64>,
    /// Mean precision; `None` without photos.
    pub precision: Option<f64>,
    /// Mean F1; `None` without photos.
    pub f1: Option<f64>,
}

impl Means {
    /// The means over `classes`.
    pub fn of(classes: impl IntoIterator<Item = ClassScores>) -> Self {
        let with_photos: Vec<ClassScores> = classes.into_iter().filter(|c| c.recall.of() > 0).collect();
        let mean = |score: fn(&ClassScores) -> Option<f64>| {
            // From 0 on, because Rust's sum of nothing is -0.
            let sum = with_photos.iter().filter_map(score).fold(0.0, |sum, score| sum + score);
            (!with_photos.is_empty()).then(|| sum / with_photos.len() as f64)
        };
        Self {
            classes: with_photos.len(),
            recall: mean(|c| c.recall.value()),
            precision: mean(|c| c.precision.value()),
            f1: mean(ClassScores::f1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(hits: u64, photos: u64, taken: u64) -> ClassScores {
        ClassScores { recall: Share::new(hits, photos), precision: Share::new(hits, taken) }
    }

    #[test]
    fn f1_is_the_harmonic_mean() {
        // Recall 3/4, precision 3/6: 2 · 0.75 · 0.5 / 1.25 = 0.6.
        assert_eq!(scores(3, 4, 6).f1(), Some(0.6));
        assert_eq!(scores(0, 4, 0).f1(), Some(0.0));
        assert_eq!(scores(0, 0, 2).f1(), Some(0.0));
        assert_eq!(scores(0, 0, 0).f1(), None);
    }

    #[test]
    fn means_are_over_classes_with_photos() {
        // Recalls 1/2, 0, 1; precisions 1/4, none, 1; F1 2/6, 0, 1. The fourth class has no photos.
        let means = Means::of([scores(1, 2, 4), scores(0, 3, 0), scores(5, 5, 5), scores(0, 0, 3)]);
        assert_eq!(means.classes, 3);
        assert_eq!(means.recall, Some(0.5));
        assert_eq!(means.precision, Some(1.25 / 3.0));
        assert_eq!(means.f1, Some((1.0 / 3.0 + 1.0) / 3.0));
        let none = Means::of([scores(0, 3, 0)]).precision;
        assert!(none.is_some_and(|p| p == 0.0 && p.is_sign_positive()), "{none:?}");
        assert_eq!(Means::of([]), Means::default());
        assert_eq!(Means::of([scores(0, 0, 0)]), Means::default());
    }
}

//! What a classifier's scores say of the true class.

/// The class of the greatest score, of equals the first; `None` if there are no scores. NaN counts as less than any number.
///
/// ```
/// assert_eq!(cspnet_metrics::likeliest(&[0.1, 0.7, 0.7]), Some(1));
/// ```
pub fn likeliest(scores: &[f32]) -> Option<usize> {
    let better = |best: usize, class: usize| if before(scores, class, best) { class } else { best };
    (0..scores.len()).reduce(better)
}

/// How many classes come before `truth` when the greatest score comes first and of equals the first class: 0 if it is the
/// likeliest, below `k` if it is among the top `k`. `None` if there is no such class. NaN counts as less than any number.
///
/// ```
/// let scores = [0.1, 0.7, 0.2];
/// assert_eq!([0, 1, 2, 3].map(|truth| cspnet_metrics::rank(&scores, truth)), [Some(2), Some(0), Some(1), None]);
/// ```
pub fn rank(scores: &[f32], truth: usize) -> Option<usize> {
    let earlier = |&class: &usize| before(scores, class, truth);
    (truth < scores.len()).then(|| (0..scores.len()).filter(earlier).count())
}

/// Whether class `a` comes before class `b`.
fn before(scores: &[f32], a: usize, b: usize) -> bool {
    let number = |class: usize| if scores[class].is_nan() { f32::NEG_INFINITY } else { scores[class] };
    number(a) > number(b) || (number(a) == number(b) && a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_places_and_the_first_is_the_likeliest() {
        for scores in [&[3.0, 1.0, 2.0][..], &[1.0, 1.0, 1.0], &[0.0, -0.0], &[f32::NAN, 1.0, f32::NAN, -1.0], &[7.0]] {
            let mut ranks: Vec<usize> = (0..scores.len()).map(|truth| rank(scores, truth).unwrap()).collect();
            assert_eq!(ranks[likeliest(scores).unwrap()], 0, "{scores:?}");
            ranks.sort_unstable();
            assert!(ranks.into_iter().eq(0..scores.len()), "{scores:?}");
        }
    }

    #[test]
    fn equals_keep_their_order_and_nan_is_last() {
        assert_eq!(likeliest(&[1.0, 2.0, 2.0]), Some(1));
        assert_eq!(rank(&[1.0, 2.0, 2.0], 2), Some(1));
        assert_eq!(rank(&[f32::NAN, 1.0], 0), Some(1));
        assert_eq!(likeliest(&[f32::NAN, f32::NAN]), Some(0));
    }

    #[test]
    fn no_scores_have_no_likeliest() {
        assert_eq!(likeliest(&[]), None);
        assert_eq!(rank(&[], 0), None);
        assert_eq!(rank(&[1.0], 1), None);
    }
}

//! A share of photos, and how far it can be trusted.

/// How many of some photos were hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    hits: u64,
    of: u64,
}

/// A range that holds the true share in 95 of 100 such measurements. Both ends are in `0.0..=1.0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The point of the normal distribution that 97.5 % lie below, so that 95 % lie within it on both sides.
const Z: f64 = 1.959_963_984_540_054;

impl Share {
    /// `hits` of `of` photos; more hits than photos count as all of them.
    pub fn new(hits: u64, of: u64) -> Self {
        Self { hits: hits.min(of), of }
    }

    /// Counts one photo more.
    pub fn count(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.of += 1;
    }

    /// Photos that were hits.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// All photos.
    pub fn of(&self) -> u64 {
        self.of
    }

    /// The share, `0.0..=1.0`; `None` of no photos.
    pub fn value(&self) -> Option<f64> {
        (self.of > 0).then(|| self.hits as f64 / self.of as f64)
    }

    /// Where the share would lie on more photos of the same kind: Wilson's score interval at 95 %. Of no photos it is from 0 to
    /// 1, for nothing is known.
    ///
    /// Unlike the textbook's `p ± z √(p(1-p)/n)` it stays within 0 and 1, is no point where all or none are hits, and covers
    /// what it should for few photos too.
    ///
    /// E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
    /// Association 22 (1927), pages 209-212; recommended for few trials by L. D. Brown, T. T. Cai and A. DasGupta, "Interval
    /// estimation for a binomial proportion", Statistical Science 16 (2001), pages 101-133.
    pub fn interval(&self) -> Interval {
        let Some(p) = self.value() else { return Interval { low: 0.0, high: 1.0 } };
        let n = self.of as f64;
        let shrink = 1.0 + Z * Z / n;
        let centre = (p + Z * Z / (2.0 * n)) / shrink;
        let half = Z / shrink * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        // Rounding alone could step over the ends, or short of them.
        let low = if self.hits == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.hits == self.of { 1.0 } else { (centre + half).min(1.0) };
        Interval { low, high }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(share: Share, low: f64, high: f64) {
        let interval = share.interval();
        assert!((interval.low - low).abs() < 5e-5 && (interval.high - high).abs() < 5e-5, "{share:?}: {interval:?}");
    }

    #[test]
    fn shares_are_counted() {
        let mut share = Share::default();
        [true, false, true, true].into_iter().for_each(|hit| share.count(hit));
        assert_eq!((share.hits(), share.of(), share.value()), (3, 4, Some(0.75)));
        assert_eq!(Share::new(7, 5), Share::new(5, 5));
    }

    #[test]
    fn nothing_has_no_value_and_may_be_anything() {
        assert_eq!(Share::default().value(), None);
        assert_eq!(Share::default().interval(), Interval { low: 0.0, high: 1.0 });
    }

    /// With z² = 3.8415 and n = 10: the centre is (p + 0.19207) / 1.38415, the half width 1.41601 √(p(1-p)/10 + 0.0096036).
    #[test]
    fn wilson_by_hand() {
        // p = 0.8: 0.71674 ± 1.41601 √0.0256036 = 0.71674 ± 0.22658.
        close(Share::new(8, 10), 0.4902, 0.9433);
        // p = 0.5: 0.5 ± 1.41601 √0.0346036 = 0.5 ± 0.26341.
        close(Share::new(5, 10), 0.2366, 0.7634);
        // p = 1: from n / (n + z²) on.
        close(Share::new(10, 10), 10.0 / 13.8415, 1.0);
        close(Share::new(0, 1), 0.0, 3.8415 / 4.8415);
        close(Share::new(1, 1), 1.0 / 4.8415, 1.0);
    }

    #[test]
    fn intervals_hold_their_share_and_stay_within_zero_and_one() {
        for of in (1..60).chain([1_000_000_007, u64::MAX]) {
            for hits in [0, 1, of / 3, of / 2, of - 1, of] {
                let share = Share::new(hits, of);
                let (Interval { low, high }, value) = (share.interval(), share.value().unwrap());
                assert!((0.0..=value).contains(&low) && (value..=1.0).contains(&high), "{share:?}");
            }
        }
    }
}

//! Random numbers as a pure function of seed, epoch, sample and purpose.
//!
//! So a draw depends on nothing that was drawn before it, and a run that is resumed, or has other threads, draws the same.

/// What a draw is for. Draws for different purposes have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The order of an epoch's samples.
    Order,
    /// Which part of a photo is seen.
    Crop,
    /// Whether it is mirrored.
    Flip,
    /// How its colours change.
    Colour,
    /// How the photos of a batch are mixed.
    Mix,
    /// Whether the photos of a batch are mixed, in which way, and where.
    Mixing,
    /// Which operations are done on it.
    RandAugment,
    /// Which parts of it are painted over.
    Erase,
    /// What falls out of the network.
    Dropout,
    /// Which photos of a class come in an epoch.
    Balance,
    /// Which patches of photos the stem is whitened by.
    Whiten,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Draw {
    key: u64,
    drawn: u64,
}

/// The increment of SplitMix64: 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The mixing function of SplitMix64 (Steele, Lea, Flood 2014).
fn scramble(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draw {
    /// The stream for `purpose` of a `sample` in an `epoch`.
    ///
    /// ```
    /// use cspnet_data::{Draw, Purpose};
    ///
    /// let again = |sample| Draw::new(7, 0, sample, Purpose::Crop).unit();
    /// assert_eq!(again(3), again(3));
    /// assert_ne!(again(3), again(4));
    /// ```
    pub fn new(seed: u64, epoch: u64, sample: u64, purpose: Purpose) -> Self {
        let absorb = |key: u64, word: u64| scramble((key ^ word).wrapping_add(GOLDEN));
        Self { key: [epoch, sample, purpose as u64].into_iter().fold(absorb(0, seed), absorb), drawn: 0 }
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.drawn += 1;
        scramble(self.key.wrapping_add(self.drawn.wrapping_mul(GOLDEN)))
    }

    /// A number in `0.0..1.0`, uniform.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number in `low..high`, uniform.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// A whole number below `n`, uniform; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of the product: biased by less than n / 2^64.
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number with the normal distribution of mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// A number in `0.0..=1.0` with the density of Beta(`alpha`, `alpha`), by Jöhnk's method (Metrika 8, 1964).
    pub fn beta(&mut self, alpha: f64) -> f64 {
        loop {
            let (x, y) = (self.unit().powf(1.0 / alpha), self.unit().powf(1.0 / alpha));
            if x + y > 0.0 && x + y <= 1.0 {
                return x / (x + y);
            }
        }
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 20_000;

    fn moments(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let drawn: Vec<f64> = (0..N).map(|_| draw()).collect();
        let mean = drawn.iter().sum::<f64>() / N as f64;
        (mean, drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / N as f64)
    }

    #[test]
    fn numbers_are_uniform_within_a_stream_and_over_samples() {
        let mut stream = Draw::new(1, 2, 3, Purpose::Crop);
        let (mean, variance) = moments(|| stream.unit());
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
        let mut sample = 0;
        let (mean, variance) = moments(|| {
            sample += 1;
            Draw::new(1, 2, sample, Purpose::Crop).unit()
        });
        assert!((mean - 0.5).abs() < 0.01 && (variance - 1.0 / 12.0).abs() < 0.003, "{mean} {variance}");
    }

    #[test]
    fn everything_that_names_a_stream_matters() {
        let first = Draw::new(1, 2, 3, Purpose::Crop).word();
        for other in [
            Draw::new(2, 2, 3, Purpose::Crop),
            Draw::new(1, 3, 3, Purpose::Crop),
            Draw::new(1, 2, 4, Purpose::Crop),
            Draw::new(1, 2, 3, Purpose::Flip),
            Draw::new(1, 3, 2, Purpose::Crop),
        ] {
            assert_ne!(other.clone().word(), first);
        }
    }

    #[test]
    fn normal_has_its_mean_variance_and_tails() {
        let mut draw = Draw::new(3, 0, 0, Purpose::Erase);
        let (mean, variance) = moments(|| draw.normal());
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let beyond = (0..N).filter(|_| draw.normal().abs() > 1.96).count();
        assert!((900..1100).contains(&beyond), "{beyond}");
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        for alpha in [0.2, 1.0, 2.0] {
            let mut draw = Draw::new(5, 0, 0, Purpose::Mix);
            let (mean, variance) = moments(|| draw.beta(alpha));
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.015 && (variance - expected).abs() < 0.005, "{alpha}: {mean} {variance}");
        }
    }

    #[test]
    fn shuffling_keeps_everything_and_reaches_every_place() {
        let mut seen = [[false; 6]; 6];
        for epoch in 0..200 {
            let mut items = [0, 1, 2, 3, 4, 5];
            Draw::new(0, epoch, 0, Purpose::Order).shuffle(&mut items);
            let mut sorted = items;
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
            items.iter().enumerate().for_each(|(place, &item)| seen[place][item] = true);
        }
        assert!(seen.iter().flatten().all(|&s| s));
    }
}

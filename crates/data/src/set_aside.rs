//! Setting photos aside for validation where a data set is one tree.

use std::collections::BTreeMap;

use crate::check::ContentHash;
use crate::draw::{Draw, Purpose};

/// Which photos of one class are set aside, given their hashes: `share` of them, at least one, and never all.
///
/// Photos are drawn by what they show, not by their names: a photo and its exact copies are set aside together, and stay where
/// they are when files are renamed. `None` if there is only one distinct photo.
pub(crate) fn set_aside(hashes: &[ContentHash], share: f64, seed: u64) -> Option<Vec<bool>> {
    let mut groups: BTreeMap<ContentHash, Vec<usize>> = BTreeMap::new();
    hashes.iter().enumerate().for_each(|(i, &hash)| groups.entry(hash).or_default().push(i));
    if groups.len() < 2 {
        return None;
    }
    let mut order: Vec<Vec<usize>> = groups.into_values().collect();
    Draw::new(seed, 0, 0, Purpose::Split).shuffle(&mut order);
    let wanted = ((hashes.len() as f64 * share).round() as usize).max(1);
    let mut aside = vec![false; hashes.len()];
    let mut taken = 0;
    for group in &order[..order.len() - 1] {
        if taken >= wanted {
            break;
        }
        taken += group.len();
        group.iter().for_each(|&i| aside[i] = true);
    }
    Some(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(of: usize) -> ContentHash {
        std::array::from_fn(|i| (of >> (8 * (i % 4))) as u8)
    }

    #[test]
    fn the_share_is_kept_whatever_the_order_and_copies_stay_together() {
        let hashes: Vec<ContentHash> = (0..100).map(|i| hash(i / 2)).collect();
        let aside = set_aside(&hashes, 0.2, 1).unwrap();
        assert_eq!(aside.iter().filter(|&&a| a).count(), 20);
        assert!(aside.chunks(2).all(|pair| pair[0] == pair[1]));
        let reversed: Vec<ContentHash> = hashes.iter().rev().copied().collect();
        let mut again = set_aside(&reversed, 0.2, 1).unwrap();
        again.reverse();
        assert_eq!(aside, again);
        assert_ne!(aside, set_aside(&hashes, 0.2, 2).unwrap());
    }

    #[test]
    fn both_sides_get_something() {
        assert_eq!(set_aside(&[hash(1), hash(1)], 0.2, 0), None);
        let aside = set_aside(&[hash(1), hash(2)], 0.9, 0).unwrap();
        assert_eq!(aside.iter().filter(|&&a| a).count(), 1);
        assert_eq!(set_aside(&[hash(1), hash(2), hash(3)], 0.0, 0).unwrap().iter().filter(|&&a| a).count(), 1);
    }
}

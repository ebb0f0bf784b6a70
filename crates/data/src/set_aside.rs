//! Setting photos aside for validation where a data set is one tree.

use std::collections::BTreeMap;

use crate::check::ContentHash;

/// Which photos of one class are set aside, given their hashes: `share` of them, at least one, and never all.
///
/// Those with the smallest hashes are. So a photo stays where it is when files are renamed, whatever a run's seed is, and but for a
/// few when others come: a model that goes on from another is not judged by photos that the other has learnt from, nor one seed's
/// model by other photos than another's. A photo and its exact copies are set aside together. `None` if there is only one distinct
/// photo.
pub(crate) fn set_aside(hashes: &[ContentHash], share: f64) -> Option<Vec<bool>> {
    let mut groups: BTreeMap<ContentHash, Vec<usize>> = BTreeMap::new();
    hashes.iter().enumerate().for_each(|(i, &hash)| groups.entry(hash).or_default().push(i));
    if groups.len() < 2 {
        return None;
    }
    let wanted = ((hashes.len() as f64 * share).round() as usize).max(1);
    let mut aside = vec![false; hashes.len()];
    let mut taken = 0;
    for group in groups.values().take(groups.len() - 1) {
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
        // A bijection that leaves no order.
        let of = (of as u32).wrapping_mul(0x9E37_79B1);
        std::array::from_fn(|i| (of >> (8 * (i % 4))) as u8)
    }

    #[test]
    fn the_share_is_kept_whatever_the_order_and_copies_stay_together() {
        let hashes: Vec<ContentHash> = (0..100).map(|i| hash(i / 2)).collect();
        let aside = set_aside(&hashes, 0.2).unwrap();
        assert_eq!(aside.iter().filter(|&&a| a).count(), 20);
        assert!(aside.chunks(2).all(|pair| pair[0] == pair[1]));
        let reversed: Vec<ContentHash> = hashes.iter().rev().copied().collect();
        let mut again = set_aside(&reversed, 0.2).unwrap();
        again.reverse();
        assert_eq!(aside, again);
    }

    #[test]
    fn photos_that_come_move_no_more_than_they_must() {
        let hashes: Vec<ContentHash> = (0..100).map(hash).collect();
        let (before, after) = (set_aside(&hashes[..90], 0.2).unwrap(), set_aside(&hashes, 0.2).unwrap());
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        assert!(before.iter().filter(|&&a| a).count() == 18 && moved <= 10, "{moved}");
        assert!(before.iter().zip(&after).filter(|&(&before, &after)| after && !before).count() <= 2);
    }

    #[test]
    fn both_sides_get_something() {
        assert_eq!(set_aside(&[hash(1), hash(1)], 0.2), None);
        let aside = set_aside(&[hash(1), hash(2)], 0.9).unwrap();
        assert_eq!(aside.iter().filter(|&&a| a).count(), 1);
        assert_eq!(set_aside(&[hash(1), hash(2), hash(3)], 0.0).unwrap().iter().filter(|&&a| a).count(), 1);
    }
}

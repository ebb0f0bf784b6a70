//! Lists that a team fills together: each part of the work has pieces of them to itself, and nothing is allocated for that.
//!
//! Not here: values in the arena, which kernels reach by their places ([`crate::Memory`]).

use std::ops::Range;

use crate::Team;

/// A list as the threads of one run see it.
struct List<T>(*mut T);

// SAFETY: it is only an address, of a list that `share` borrows exclusively; every piece of it goes to one part.
unsafe impl<T: Send> Sync for List<T> {}

impl<T> List<T> {
    /// # Safety
    /// The range lies in the list, and nobody else has a piece with anything of it.
    unsafe fn piece<'a>(&self, range: Range<usize>) -> &'a mut [T] {
        // SAFETY: the function's own promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(range.start), range.len()) }
    }
}

/// Calls `work(part, pieces)` for every part in `0..parts`, with the numbers `begin(part)..begin(part + 1)` of every list. Where a
/// part begins depends on nothing else.
///
/// # Panics
/// If a part begins behind the next, or a list ends before the last does.
pub(crate) fn share<T: Send, const N: usize>(
    lists: [&mut [T]; N],
    parts: usize,
    begin: impl Fn(usize) -> usize + Sync,
    team: &mut Team,
    work: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let begins_in_order = (0..parts).all(|part| begin(part) <= begin(part + 1));
    let shortest = lists.iter().map(|list| list.len()).min().unwrap_or(0);
    assert!(begins_in_order && (parts == 0 || begin(parts) <= shortest), "pieces beyond lists of {shortest}");
    let lists = lists.map(|list| List(list.as_mut_ptr()));
    team.run(parts, &|part, _| {
        let range = begin(part)..begin(part + 1);
        // SAFETY: the lists are borrowed for the whole run and hold all ranges, as has been checked; parts begin in order and end
        // where the next begins, so their ranges are apart, and the team gives each part to one thread.
        let pieces = std::array::from_fn(|n| unsafe { lists[n].piece(range.clone()) });
        work(part, pieces);
    });
}

/// The same for parts of `size` numbers, of which the last may have fewer; `work` is told their range.
///
/// # Panics
/// If the lists are not equally long.
pub(crate) fn share_evenly<T: Send, const N: usize>(
    lists: [&mut [T]; N],
    size: usize,
    team: &mut Team,
    work: impl Fn(Range<usize>, [&mut [T]; N]) + Sync,
) {
    let len = lists[0].len();
    assert!(lists.iter().all(|list| list.len() == len), "lists of different lengths");
    let begin = |part: usize| (part * size).min(len);
    share(lists, len.div_ceil(size), begin, team, |part, pieces| work(begin(part)..begin(part + 1), pieces));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_one_parts() {
        for threads in [1, 3] {
            let (mut a, mut b) = (vec![0; 25], vec![0; 25]);
            let begins = [0, 7, 7, 24];
            share(
                [&mut a, &mut b],
                3,
                |part| begins[part],
                &mut Team::new(threads),
                |part, [a, b]| {
                    assert_eq!((a.len(), b.len()), ([7, 0, 17][part], [7, 0, 17][part]));
                    a.iter_mut().for_each(|x| *x += part + 1);
                    b.fill(part + 1);
                },
            );
            assert!(a == b && a == [vec![1; 7], vec![3; 17], vec![0]].concat());
            share_evenly([&mut a], 10, &mut Team::new(threads), |range, [a]| {
                a.iter_mut().zip(range).for_each(|(a, i)| *a = i);
            });
            assert_eq!(a, (0..25).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "pieces beyond")]
    fn pieces_that_overlap_are_refused() {
        share([&mut [0; 9][..]], 2, |part| [0, 5, 3][part], &mut Team::new(1), |_, _| ());
    }

    #[test]
    #[should_panic(expected = "pieces beyond")]
    fn pieces_behind_the_end_are_refused() {
        share([&mut [0; 9][..]], 2, |part| part * 5, &mut Team::new(1), |_, _| ());
    }
}

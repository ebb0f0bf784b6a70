//! What photos of each class are taken for.

use std::collections::BTreeMap;

use crate::scores::{ClassScores, Means};
use crate::share::Share;

/// A confusion matrix: rows are true classes, columns predicted ones, and each cell counts photos.
///
/// Only cells with photos take memory: a thousand classes have a million cells, and nearly all are empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    cells: BTreeMap<(usize, usize), u64>,
    /// Sum of every row.
    truths: Vec<u64>,
    /// Sum of every column.
    predictions: Vec<u64>,
}

/// A cell of a [`Confusion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What is on the photos.
    pub truth: usize,
    /// What they are taken for.
    pub predicted: usize,
    /// How many there are.
    pub photos: u64,
}

impl Confusion {
    /// The matrix of `classes` classes before any photo.
    pub fn new(classes: usize) -> Self {
        Self { cells: BTreeMap::new(), truths: vec![0; classes], predictions: vec![0; classes] }
    }

    /// Counts a photo of class `truth` that is taken for class `predicted`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn count(&mut self, truth: usize, predicted: usize) {
        self.truths[truth] += 1;
        self.predictions[predicted] += 1;
        *self.cells.entry((truth, predicted)).or_default() += 1;
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.truths.len()
    }

    /// Photos of class `truth` that are taken for class `predicted`; 0 where there is no such class.
    pub fn at(&self, truth: usize, predicted: usize) -> u64 {
        self.cells.get(&(truth, predicted)).copied().unwrap_or(0)
    }

    /// The cells that have photos, row after row.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        self.cells.iter().map(|(&(truth, predicted), &photos)| Cell { truth, predicted, photos })
    }

    /// The cells of mistakes, the most frequent first, of equals in the order of [`cells`](Self::cells).
    pub fn mistakes(&self) -> Vec<Cell> {
        let mut mistakes: Vec<Cell> = self.cells().filter(|c| c.truth != c.predicted).collect();
        mistakes.sort_by_key(|c| std::cmp::Reverse(c.photos));
        mistakes
    }

    /// Of all photos, those that are taken for what they are.
    pub fn accuracy(&self) -> Share {
        let right = (0..self.classes()).map(|class| self.at(class, class)).sum();
        Share::new(right, self.truths.iter().sum())
    }

    /// Recall and precision of a class; of no photos where there is no such class.
    pub fn scores(&self, class: usize) -> ClassScores {
        let (hits, of) = (self.at(class, class), |sums: &[u64]| sums.get(class).copied().unwrap_or(0));
        ClassScores { recall: Share::new(hits, of(&self.truths)), precision: Share::new(hits, of(&self.predictions)) }
    }

    /// Means over the classes that have photos.
    pub fn means(&self) -> Means {
        Means::of((0..self.classes()).map(|class| self.scores(class)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 2 1 0, 3 4 0, 0 0 0: the third class has no photo and nothing is taken for it.
    fn example() -> Confusion {
        let mut confusion = Confusion::new(3);
        for (truth, predicted, photos) in [(0, 0, 2), (0, 1, 1), (1, 0, 3), (1, 1, 4)] {
            (0..photos).for_each(|_| confusion.count(truth, predicted));
        }
        confusion
    }

    #[test]
    fn rows_are_truths_and_columns_predictions() {
        let confusion = example();
        assert_eq!(confusion.at(0, 1), 1);
        assert_eq!(confusion.at(1, 0), 3);
        assert_eq!((confusion.at(2, 2), confusion.at(9, 0)), (0, 0));
        let cells: Vec<(usize, usize, u64)> = confusion.cells().map(|c| (c.truth, c.predicted, c.photos)).collect();
        assert_eq!(cells, [(0, 0, 2), (0, 1, 1), (1, 0, 3), (1, 1, 4)]);
        assert_eq!(confusion.mistakes()[0], Cell { truth: 1, predicted: 0, photos: 3 });
        assert_eq!(confusion.mistakes().len(), 2);
    }

    #[test]
    fn shares_by_hand() {
        let confusion = example();
        assert_eq!(confusion.accuracy(), Share::new(6, 10));
        let [a, b, c, none] = [0, 1, 2, 9].map(|class| confusion.scores(class));
        assert_eq!((a.recall, a.precision, a.f1()), (Share::new(2, 3), Share::new(2, 5), Some(0.5)));
        assert_eq!((b.recall, b.precision), (Share::new(4, 7), Share::new(4, 5)));
        assert_eq!(b.f1(), Some(8.0 / 12.0));
        assert_eq!((c, none), (ClassScores::default(), ClassScores::default()));
        let means = confusion.means();
        assert_eq!(means.classes, 2);
        assert_eq!(means.recall, Some((2.0 / 3.0 + 4.0 / 7.0) / 2.0));
        assert_eq!(means.precision, Some((2.0 / 5.0 + 4.0 / 5.0) / 2.0));
    }

    #[test]
    fn nothing_gives_nothing() {
        for confusion in [Confusion::new(0), Confusion::new(5)] {
            assert_eq!(confusion.accuracy().value(), None);
            assert_eq!(confusion.means(), Means::default());
            assert_eq!(confusion.mistakes(), []);
        }
    }
}

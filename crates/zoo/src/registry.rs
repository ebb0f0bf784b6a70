//! The list of networks, and how to find one in it by its name.

use std::sync::LazyLock;

use crate::entry::Entry;
use crate::error::ZooError;
use crate::{cspnet, cspresnet9, densenet, peleenet, resnet};

static MODELS: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    [densenet::ENTRIES, peleenet::ENTRIES, cspnet::ENTRIES, cspresnet9::ENTRIES, resnet::ENTRIES].concat()
});

/// Every network, family by family.
pub fn models() -> &'static [Entry] {
    &MODELS
}

/// The network of exactly this name.
pub(crate) fn find(name: &str) -> Result<&'static Entry, ZooError> {
    models().iter().find(|e| e.name == name).ok_or_else(|| {
        let mut nearest: Vec<&'static str> = models().iter().map(|e| e.name).collect();
        nearest.sort_by_key(|known| edits(name, known));
        nearest.truncate(3);
        ZooError::UnknownName { name: name.to_owned(), nearest }
    })
}

/// Letters to insert, delete or replace to turn one word into another (Levenshtein 1966).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!([edits("kitten", "sitting"), edits("", "abc"), edits("same", "same")], [3, 3, 0]);
    }
}

//! Photos whose bytes are in two splits: what is learnt by heart would count as recognised.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::check::ContentHash;
use crate::split::Split;

/// Two files of equal bytes in two splits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// A file and its split.
    pub first: (Split, PathBuf),
    /// Its equal in another split.
    pub second: (Split, PathBuf),
}

/// All files that have an equal in an earlier split; each is told once, with the first such equal.
pub(crate) fn across_splits<'a>(files: impl IntoIterator<Item = (Split, &'a PathBuf, ContentHash)>) -> Vec<Duplicate> {
    let mut first: BTreeMap<ContentHash, (Split, &PathBuf)> = BTreeMap::new();
    let mut found = Vec::new();
    for (split, path, hash) in files {
        match first.get(&hash) {
            None => drop(first.insert(hash, (split, path))),
            Some(&(other, _)) if other == split => {}
            Some(&(other, original)) => {
                found.push(Duplicate { first: (other, original.clone()), second: (split, path.clone()) });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_are_told_across_splits_only() {
        let names = ["a", "b", "c", "d"].map(PathBuf::from);
        let files = [(Split::Train, 1), (Split::Train, 1), (Split::Validation, 1), (Split::Test, 2)];
        let found = across_splits(names.iter().zip(files).map(|(n, (s, h))| (s, n, [h; 32])));
        let expected = Duplicate { first: (Split::Train, "a".into()), second: (Split::Validation, "c".into()) };
        assert_eq!(found, [expected]);
    }
}

//! Names of classes: which folders mean the same class, in what order they are numbered, and what one split has that another
//! lacks.
//!
//! A class is its folder's name in Unicode's composed form (NFC): some systems store the decomposed form of the same name. Case
//! matters, and the order is that of the characters' numbers, as in torchvision: `1`, `10`, `2`, `Cat`, `cat`. Numbers never
//! travel without names, so no other tool's order can shift them.

use std::collections::BTreeSet;
use std::path::Path;

use unicode_normalization::UnicodeNormalization;

use crate::error::DataError;
use crate::split::Split;

/// The class that a folder's name stands for.
pub(crate) fn class_of(folder: &Path) -> Result<String, DataError> {
    let name = folder.file_name().and_then(|n| n.to_str());
    name.map(class_name).ok_or_else(|| DataError::NameNotUnicode { path: folder.into() })
}

/// The one form of a class's name: Unicode's composed form (NFC). Labels of a model match folders if these forms are equal.
///
/// ```
/// assert_eq!(cspnet_data::class_name("cafe\u{301}"), "caf\u{e9}");
/// ```
pub fn class_name(name: &str) -> String {
    name.nfc().collect()
}

/// Checks that two splits have the same classes, or if the second `may_lack` some, that it has no others.
pub(crate) fn same_classes(
    (first, classes): (Split, &BTreeSet<String>),
    (second, others): (Split, &BTreeSet<String>),
    may_lack: bool,
) -> Result<(), DataError> {
    let mismatch = |class: &String, has, lacks| DataError::ClassMismatch { class: class.clone(), has, lacks };
    if let Some(class) = classes.difference(others).next().filter(|_| !may_lack) {
        return Err(mismatch(class, first, second));
    }
    others.difference(classes).next().map_or(Ok(()), |class| Err(mismatch(class, second, first)))
}

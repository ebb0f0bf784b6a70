//! The parts of a data set, and what people call them.

use std::fmt;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// What is learnt from.
    Train,
    /// What decides between recipes and epochs.
    Validation,
    /// What is looked at once, at the end.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Names of its folder and of its files: those that Hugging Face's `datasets` knows.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train", "training"],
            Self::Validation => &["validation", "val", "valid", "dev"],
            Self::Test => &["test", "testing", "eval", "evaluation"],
        }
    }

    /// The split of that name, whatever its case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.names().iter().any(|known| name.eq_ignore_ascii_case(known)))
    }

    /// The split of a file: its name without what comes behind the last dot is the split's, perhaps with a number behind it, as in
    /// `train-00000-of-00002`, `test_3`, `val.0`. What is called `train_small` or `trainval` is another split, which is not known here.
    pub(crate) fn of_file(stem: &str) -> Option<Self> {
        let name = stem.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(stem.len());
        let (name, rest) = stem.split_at(name);
        let number = rest.strip_prefix(['-', '_', '.']).unwrap_or(rest);
        let is_number = rest.is_empty() || number.starts_with(|c: char| c.is_ascii_digit());
        Self::named(name).filter(|_| is_number)
    }

    /// The split that a word in a name is that of, as in `seg_train` and `test set`.
    pub(crate) fn hinted_at(name: &str) -> Option<Self> {
        name.split(|c: char| !c.is_alphabetic()).find_map(Self::named)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names()[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_have_many_names_in_any_case() {
        for (split, names) in [
            (Split::Train, &["train", "Train", "TRAINING"][..]),
            (Split::Validation, &["validation", "val", "Valid", "dev"]),
            (Split::Test, &["test", "Testing", "eval", "Evaluation"]),
        ] {
            assert!(names.iter().all(|name| Split::named(name) == Some(split)), "{split}");
        }
        assert!(["trains", "trainval", "extra", "", "tests"].iter().all(|name| Split::named(name).is_none()));
    }

    #[test]
    fn files_are_of_the_split_that_their_whole_name_is() {
        for name in [
            "train",
            "train-00000-of-00002",
            "Train-00000-of-00001-a09b74b3ef9c3b56",
            "training_1",
            "train.0",
            "train7",
        ] {
            assert_eq!(Split::of_file(name), Some(Split::Train), "{name}");
        }
        assert_eq!(Split::of_file("evaluation-00000-of-00001"), Some(Split::Test));
        for name in [
            "train_small-00000-of-00001",
            "trainval-00000-of-00001",
            "extra-00000-of-00001",
            "0000",
            "train-",
            "train--1",
        ] {
            assert_eq!(Split::of_file(name), None, "{name}");
        }
    }

    #[test]
    fn words_hint_at_splits() {
        assert_eq!(["seg_train", "Train set"].map(Split::hinted_at), [Some(Split::Train); 2]);
        assert_eq!(["Test-images", "seg_pred", "contest"].map(Split::hinted_at), [Some(Split::Test), None, None]);
    }
}

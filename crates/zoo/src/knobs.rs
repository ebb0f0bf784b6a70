//! Knobs: what can be chosen of a network, and the values each takes.

use std::fmt;

/// Something about a network that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knob {
    /// Its name in a specification.
    pub name: &'static str,
    /// What it takes.
    pub values: Values,
    /// Its value where a specification does not set it.
    pub default: &'static str,
    /// Another value it takes.
    pub example: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// The values of a knob. A network may take fewer, where one knob's value depends on another's; it says so when it is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// A whole number.
    Whole {
        /// The smallest.
        from: usize,
        /// The largest.
        to: usize,
    },
    /// A share of a whole, in `0.0..1.0`.
    Share,
    /// One of several words.
    Word(&'static [&'static str]),
}

/// The value of one knob in one specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Setting {
    Whole(usize),
    Share(f64),
    Word(&'static str),
}

impl Values {
    /// What a text stands for, if it is one of these values.
    pub(crate) fn read(self, text: &str) -> Option<Setting> {
        match self {
            Self::Whole { from, to } => text.parse().ok().filter(|n| (from..=to).contains(n)).map(Setting::Whole),
            // Adding zero makes one zero of both.
            Self::Share => text.parse().ok().filter(|g| (0.0..1.0).contains(g)).map(|g: f64| Setting::Share(g + 0.0)),
            Self::Word(words) => words.iter().copied().find(|w| *w == text).map(Setting::Word),
        }
    }
}

/// What is allowed, as an error message tells it.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { from, to } => write!(f, "a whole number from {from} to {to}"),
            Self::Share => f.write_str("a number from 0 to below 1"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// The one way in which a value is written.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(n) => write!(f, "{n}"),
            // Unlike `{}`, this form stays short however small the number is.
            Self::Share(share) => write!(f, "{share:?}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Outputs of an ImageNet network.
pub(crate) const CLASSES: Knob = Knob {
    name: "classes",
    values: Values::Whole { from: 1, to: 65_536 },
    default: "1000",
    example: "10",
    about: "number of classes",
};

/// Outputs of a CIFAR-10 network.
pub(crate) const CIFAR_CLASSES: Knob = Knob { default: "10", example: "100", ..CLASSES };

/// Channels of the picture.
pub(crate) const CHANNELS: Knob = Knob {
    name: "channels",
    values: Values::Whole { from: 1, to: 1024 },
    default: "3",
    example: "1",
    about: "channels of the picture",
};

/// The partial ratio of a cross-stage-partial network (CSPNet paper, table 1).
pub(crate) const GAMMA: Knob = Knob {
    name: "gamma",
    values: Values::Share,
    default: "0.5",
    example: "0.25",
    about: "share of a stage's channels that goes straight across",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_one_spelling() {
        let spelt = |values: Values, text: &str| values.read(text).map(|s| s.to_string());
        let whole = Values::Whole { from: 1, to: 9 };
        assert_eq!(["7", "+7", "007"].map(|t| spelt(whole, t)), [(); 3].map(|()| Some("7".to_owned())));
        assert_eq!(["0", "10", "-1", "7.0", ""].map(|t| spelt(whole, t)), [const { None }; 5]);
        assert_eq!([".5", "0.50", "5e-1"].map(|t| spelt(Values::Share, t)), [(); 3].map(|()| Some("0.5".to_owned())));
        assert_eq!(["0", "-0.0"].map(|t| spelt(Values::Share, t)), [(); 2].map(|()| Some("0.0".to_owned())));
        assert_eq!(spelt(Values::Share, "5e-324").unwrap(), "5e-324");
        assert_eq!(["1", "NaN", "inf", "-0.1", ""].map(|t| spelt(Values::Share, t)), [const { None }; 5]);
        assert_eq!(spelt(Values::Word(&["both", "last"]), "last").unwrap(), "last");
        assert_eq!(spelt(Values::Word(&["both", "last"]), "first"), None);
    }
}

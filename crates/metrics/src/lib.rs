//! How right a classifier is: accuracy and its interval, the confusion matrix, precision, recall and F1.
//!
//! Everything here is a value made of counts. A photo is counted when it has been judged, so memory depends on the number of
//! classes and not on that of photos:
//!
//! ```
//! use cspnet_metrics::{Confusion, Share, likeliest, rank};
//!
//! let (mut confusion, mut top2) = (Confusion::new(3), Share::default());
//! for (truth, scores) in [(0, [5.0, 1.0, 0.0]), (1, [2.0, 1.0, 0.0]), (2, [2.0, 1.0, 0.0])] {
//!     confusion.count(truth, likeliest(&scores).unwrap());
//!     top2.count(rank(&scores, truth).is_some_and(|r| r < 2));
//! }
//! assert_eq!(confusion.accuracy(), Share::new(1, 3));
//! assert_eq!(top2, Share::new(2, 3));
//! ```
//!
//! **Nothing is never a number.** A share of no photos has no value: it is `None`, neither 0 nor NaN, and its interval is
//! everything from 0 to 1. No function here gives NaN or divides by zero.
//!
//! Not here: drawing, names of classes, running a model.
#![forbid(unsafe_code)]

mod confusion;
mod rank;
mod scores;
mod share;

pub use confusion::{Cell, Confusion};
pub use rank::{likeliest, rank};
pub use scores::{ClassScores, Means};
pub use share::{Interval, Share};

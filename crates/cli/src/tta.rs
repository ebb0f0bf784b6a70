//! `--tta`: several views of a photo instead of one (test-time augmentation).

use clap::ValueEnum;
use cspnet::{Session, Views};

/// Which views of a photo are answered for.
#[derive(Debug, clap::Args)]
pub struct TestTime {
    /// Answer for several views of each photo and take the mean
    #[arg(long, value_enum, value_name = "VIEWS")]
    tta: Option<Tta>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tta {
    /// The photo and its mirror image
    Flip,
    /// Both, and both moved by one pixel to either side, for small photos (arXiv:2404.00498)
    FlipShift,
}

impl TestTime {
    /// The session as asked for.
    pub fn session<'a>(&self, session: Session<'a>) -> Session<'a> {
        session.with_views(match self.tta {
            Some(Tta::Flip) => Views::Flip,
            Some(Tta::FlipShift) => Views::FlipShift,
            None => Views::One,
        })
    }
}

//! `--tta`: several views of a photo instead of one (test-time augmentation).

use clap::ValueEnum;
use cspnet::Session;

/// Which views of a photo are answered for.
#[derive(Debug, clap::Args)]
pub struct TestTime {
    /// Answer for several views of each photo and take the mean; `flip` for the photo and its mirror image
    #[arg(long, value_enum, value_name = "VIEWS")]
    tta: Option<Views>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Views {
    /// The photo and its mirror image
    Flip,
}

impl TestTime {
    /// The session as asked for.
    pub fn session<'a>(&self, session: Session<'a>) -> Session<'a> {
        match self.tta {
            Some(Views::Flip) => session.with_mirror_images(),
            None => session,
        }
    }
}

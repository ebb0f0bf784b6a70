//! Which views of a photo an answer is made of: test-time augmentation.

use cspnet_vision::{PaddingMode, Photo};

/// Views of a photo; the answer is their answers' mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Views {
    /// The photo as it is.
    #[default]
    One,
    /// Besides, its mirror image: a little more often right, in twice the time.
    Flip,
    /// Besides, both moved by a pixel along the diagonal, to either side, which count half as much (Jordan, arXiv:2404.00498,
    /// section 3.5): for photos of few pixels, in six times the time.
    FlipShift,
}

/// One of several views.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Pixels by which it is moved to the right and down.
    shift: i64,
    mirrored: bool,
    /// How much its answer counts; those of all views together are one.
    pub(crate) weight: f32,
}

impl Views {
    pub(crate) fn list(self) -> Vec<View> {
        let shifts: &[(i64, f32)] = match self {
            Self::One => return vec![View { shift: 0, mirrored: false, weight: 1.0 }],
            Self::Flip => &[(0, 1.0)],
            Self::FlipShift => &[(0, 0.5), (1, 0.25), (-1, 0.25)],
        };
        let both = |&(shift, weight)| [false, true].map(|mirrored| View { shift, mirrored, weight: weight / 2.0 });
        shifts.iter().flat_map(both).collect()
    }
}

impl View {
    /// The photo, seen so.
    pub(crate) fn of(self, photo: &Photo) -> Photo {
        let moved = match self.shift {
            0 => photo.clone(),
            by => photo.shifted(-by, -by, PaddingMode::Reflect),
        };
        if self.mirrored { moved.mirrored() } else { moved }
    }
}

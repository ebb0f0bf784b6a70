//! Who reads a file that was written, to be compared: this program, or another engine.

use cspnet::Photo;

use crate::failure::Failure;

/// Who has read a file and answers for photos.
pub trait Reader {
    /// What it is called.
    fn name(&self) -> String;

    /// The probability of every class for a photo as it was decoded.
    ///
    /// # Errors
    /// If there is no answer: that of what was read, if that is to blame ([`Failure::Unequal`]).
    fn answer(&mut self, photo: &Photo) -> Result<Vec<f32>, Failure>;
}

//! A batch of pictures as callers give it.

/// A batch of pictures.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Numbers as the first layer takes them, `[n, c, h, w]`.
    Real(&'a [f32]),
    /// Pixels `[n, h, w, c]`, for a network that begins with a normalisation: red, green, blue for a colour photo.
    Pixels(&'a [u8]),
}

/// All that a network takes, where that is one picture.
impl<'a> AsRef<[Input<'a>]> for Input<'a> {
    fn as_ref(&self) -> &[Input<'a>] {
        std::slice::from_ref(self)
    }
}

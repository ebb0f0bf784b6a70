//! The model inside the program: ten kinds of clothing, so that the first command works with nothing else at hand.

/// Bytes of its model file.
pub const MODEL: &[u8] = include_bytes!("../weights/clothing.safetensors");

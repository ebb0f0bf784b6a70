//! The model inside the program: ten kinds of clothing, so that the first command works with nothing else at hand.

/// What it is called where a file would be named.
pub const MODEL_NAME: &str = "the program's own model";

/// Bytes of its model file.
pub const MODEL: &[u8] = include_bytes!("../weights/clothing.safetensors");

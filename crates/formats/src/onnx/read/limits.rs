//! What a tensor may have at most.

/// Most dimensions of a tensor.
pub(super) const MAX_RANK: usize = 16;

/// Longest side of a tensor.
pub(super) const MAX_SIDE: i64 = 1 << 32;

/// What is wrong with a tensor of too many dimensions.
pub(super) fn too_many() -> String {
    format!("has more than {MAX_RANK} dimensions")
}

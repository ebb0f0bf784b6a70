//! What a run takes of the machine.

/// What a run takes of the machine. Its result does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Threads that compute, and as many that load photos.
    pub threads: usize,
    /// How much memory a step may take.
    pub memory: Footprint,
}

/// How much memory a step may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Footprint {
    /// As much as makes it fast.
    #[default]
    Fast,
    /// Less, for some more time: what normalisations and activations give is computed again for the backward pass.
    Low,
}

impl Footprint {
    /// Whether some values are computed again for the backward pass.
    pub fn recomputes(self) -> bool {
        self == Self::Low
    }
}

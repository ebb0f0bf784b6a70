//! What a run takes of the machine.

use cspnet_engine::TileUnit;

use crate::error::TrainError;

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

/// What multiplies tiles of bfloat16, if mixed precision is asked for ([`Recipe::amp`](crate::Recipe::amp)).
///
/// # Errors
/// If it is and this machine has none.
pub fn tile_unit(is_asked: bool) -> Result<Option<TileUnit>, TrainError> {
    let rule =
        "left out: this processor has no tiles for bfloat16 (Intel's AMX), or the system keeps them from programs";
    match TileUnit::detect() {
        None if is_asked => Err(TrainError::Recipe { field: "amp", rule }),
        unit => Ok(unit.filter(|_| is_asked)),
    }
}

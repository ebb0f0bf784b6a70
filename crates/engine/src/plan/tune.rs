//! The fastest algorithm of each convolution, found by running the network.
//!
//! Each is measured where it will work: in the whole network, whose other layers drive its weights out of the caches, for one
//! image on one thread. So the network is built and run once for each algorithm. Not here: keeping what was found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cspnet_graph::{ReadError, init};
use cspnet_kernels::{Memory, Team};

use super::choices::{Algorithm, Choices, Layer};
use super::kernel::{Build, Kernel};
use super::{PlanInput, Program};
use crate::input::Input;
use crate::rewrites::numbers;

/// Runs of each algorithm: at least and at most, and the time after which the least will do.
const RUNS: [usize; 2] = [3, 10];
const LONG: Duration = Duration::from_secs(1);

/// What another algorithm must save of the time of the one that the model names. Less is noise.
const WORTH: f64 = 0.03;

/// The algorithms of all layers: those that are known, and for the others what is fastest.
pub(super) fn choose(
    known: &Choices,
    layers: &[Option<Layer>],
    build: &Build<'_, '_>,
    program: &Program,
    team: &mut Team,
) -> Result<Choices, ReadError> {
    let names = layers.iter().flatten().map(|l| (l.name.clone(), l.by_model));
    let by_model: BTreeMap<String, Algorithm> = names.collect();
    let mut times: BTreeMap<&str, Vec<(Algorithm, f64)>> = BTreeMap::new();
    if by_model.keys().any(|name| known.get(name).is_none()) {
        for algorithm in Algorithm::ALL {
            let choices = by_model.keys().map(|n| (n.clone(), known.get(n).unwrap_or(algorithm))).collect();
            let kernels = program.kernels(build, layers, &choices, team)?;
            for (name, seconds) in measure(&kernels, layers, build, program) {
                times.entry(name).or_default().push((algorithm, seconds));
            }
        }
    }
    let chosen = |(name, by_model): (&String, &Algorithm)| {
        let measured = || fastest(&times[name.as_str()], *by_model);
        (name.clone(), known.get(name).unwrap_or_else(measured))
    };
    Ok(by_model.iter().map(chosen).collect())
}

/// The algorithm that takes the least time, or the preferred one if that takes hardly more.
fn fastest(times: &[(Algorithm, f64)], preferred: Algorithm) -> Algorithm {
    let of_preferred = times.iter().find(|t| t.0 == preferred).map_or(f64::INFINITY, |t| t.1);
    let (algorithm, least) =
        times.iter().fold((preferred, of_preferred), |best, t| if t.1 < best.1 { *t } else { best });
    if least < of_preferred * (1.0 - WORTH) { algorithm } else { preferred }
}

/// Seconds of the layers of each name, together: of each layer's fastest run.
fn measure<'a>(
    kernels: &[Kernel],
    layers: &'a [Option<Layer>],
    build: &Build<'_, '_>,
    program: &Program,
) -> BTreeMap<&'a str, f64> {
    let scratch = kernels.iter().map(Kernel::scratch_len).max().unwrap_or(0);
    let (mut memory, mut alone) = (Memory::new(1, program.arena.whole_len, 1, scratch), Team::new(1));
    let inputs = program.inputs(build.graph, build.shapes);
    let longest = inputs.iter().map(|input| numbers(input.shape)).max().unwrap_or(0);
    let real = init::reference_input(longest);
    let pixels: Vec<u8> = real.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect();
    let input = |of: &PlanInput| match of.takes_pixels {
        true => Input::Pixels(&pixels[..numbers(of.shape)]),
        false => Input::Real(&real[..numbers(of.shape)]),
    };
    let inputs: Vec<Input<'_>> = inputs.iter().map(input).collect();
    let mut least = vec![f64::INFINITY; kernels.len()];
    let begin = Instant::now();
    // The first run finds memory that nobody has touched.
    for run in 0..=RUNS[1] {
        for (kernel, least) in kernels.iter().zip(&mut least) {
            let begin = Instant::now();
            kernel.run(&inputs, &mut memory, &mut alone);
            if run > 0 {
                *least = least.min(begin.elapsed().as_secs_f64());
            }
        }
        if run >= RUNS[0] && begin.elapsed() > LONG {
            break;
        }
    }
    let mut of_names = BTreeMap::new();
    for (layer, seconds) in layers.iter().zip(least) {
        if let Some(layer) = layer {
            *of_names.entry(layer.name.as_str()).or_insert(0.0) += seconds;
        }
    }
    of_names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_chosen_unless_it_gains_nothing() {
        let times = |direct, small, large| {
            [(Algorithm::Direct, direct), (Algorithm::Winograd2, small), (Algorithm::Winograd4, large)]
        };
        assert_eq!(fastest(&times(3.0, 2.0, 1.0), Algorithm::Direct), Algorithm::Winograd4);
        assert_eq!(fastest(&times(1.0, 2.0, 3.0), Algorithm::Winograd4), Algorithm::Direct);
        assert_eq!(fastest(&times(3.0, 1.02, 1.0), Algorithm::Winograd2), Algorithm::Winograd2);
        assert_eq!(fastest(&times(1.0, 1.0, 1.0), Algorithm::Winograd4), Algorithm::Winograd4);
    }
}

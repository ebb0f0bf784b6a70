//! What `bench/instructions` counts the instructions of: one inference on one thread, with AVX2, since Valgrind knows nothing
//! longer.
//!
//!     instructions NETWORK PIXELS

use std::error::Error;
use std::hint::black_box;

use cspnet_engine::{Input, Isa, Plan, PlanOptions, Workspace};
use cspnet_graph::{Weights, init::reference_input};

/// Valgrind counts between the beginning and the end of this.
#[inline(never)]
fn counted_inference(plan: &Plan, workspace: &mut Workspace, input: Input<'_>) {
    black_box(plan.run(workspace, input)).expect("a picture of the plan's size");
}

fn main() -> Result<(), Box<dyn Error>> {
    let [network, pixels] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "NETWORK PIXELS")?;
    let graph = cspnet_zoo::build(&network)?;
    let picture = [3, pixels.parse()?, pixels.parse()?];
    let options = PlanOptions { isa: Isa::Avx2, ..PlanOptions::default() };
    let plan = Plan::new(&graph, &Weights::reference(&graph), picture, &options)?;
    let real = reference_input(picture.iter().product());
    let pixels: Vec<u8> = real.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect();
    let input = if plan.takes_pixels() { Input::Pixels(&pixels) } else { Input::Real(&real) };
    counted_inference(&plan, &mut plan.workspace(1, 1), input);
    Ok(())
}

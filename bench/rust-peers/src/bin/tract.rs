//! The worker that runs tract: optimised for pictures of one shape, matrix products on as many threads as are asked for.
//!
//! The pictures of a batch follow one another, which takes less than half the time of giving it all at once.

use std::sync::Arc;

use rust_peers::{Engine, Failure, Load, serve};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

struct Tract {
    model: Arc<TypedRunnableModel>,
    pictures: Vec<TValue>,
}

impl Engine for Tract {
    fn load(load: &Load) -> Result<Self, Failure> {
        if load.threads > 1 {
            set_default_executor(Executor::multithread(load.threads));
        }
        let [_, channels, height, width] = load.shape();
        let shape = [1, channels, height, width];
        let model = tract_onnx::onnx()
            .model_for_path(&load.model)?
            .with_input_fact(0, f32::fact(shape).into())?
            .into_optimized()?
            .into_runnable()?;
        let picture = |p: &[f32]| Tensor::from_shape(&shape, p).map(IntoTValue::into_tvalue);
        let pictures =
            load.pictures()?.chunks_exact(channels * height * width).map(picture).collect::<TractResult<_>>()?;
        Ok(Self { model, pictures })
    }

    fn run(&mut self) -> Result<Vec<f32>, Failure> {
        let mut logits = Vec::new();
        for picture in &self.pictures {
            let answers = self.model.run(tvec!(picture.clone()))?;
            logits.extend_from_slice(answers[0].view().as_slice::<f32>()?);
        }
        Ok(logits)
    }
}

fn main() -> std::io::Result<()> {
    serve::<Tract>()
}

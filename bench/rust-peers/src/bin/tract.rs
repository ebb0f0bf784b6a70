//! The worker that runs tract: optimised for pictures of one shape, matrix products on as many threads as are asked for.

use std::sync::Arc;

use rust_peers::{Engine, Failure, Load, serve};
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

struct Tract {
    model: Arc<TypedRunnableModel>,
    pictures: TValue,
}

impl Engine for Tract {
    fn load(load: &Load) -> Result<Self, Failure> {
        if load.threads > 1 {
            set_default_executor(Executor::multithread(load.threads));
        }
        let model = tract_onnx::onnx()
            .model_for_path(&load.model)?
            .with_input_fact(0, f32::fact(load.shape()).into())?
            .into_optimized()?
            .into_runnable()?;
        let pictures = Tensor::from_shape(&load.shape(), &load.pictures()?)?.into_tvalue();
        Ok(Self { model, pictures })
    }

    fn run(&mut self) -> Result<Vec<f32>, Failure> {
        let answers = self.model.run(tvec!(self.pictures.clone()))?;
        Ok(answers[0].view().as_slice::<f32>()?.to_vec())
    }
}

fn main() -> std::io::Result<()> {
    serve::<Tract>()
}

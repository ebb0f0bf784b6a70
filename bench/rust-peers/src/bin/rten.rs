//! The worker that runs rten: weights packed at loading, a pool of as many threads as are asked for.

use std::sync::Arc;

use rten::{Model, ModelOptions, RunOptions, ThreadPool};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;
use rust_peers::{Engine, Failure, Load, serve};

struct Rten {
    model: Model,
    options: RunOptions,
    pictures: Tensor<f32>,
}

impl Engine for Rten {
    fn load(load: &Load) -> Result<Self, Failure> {
        let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(&load.model)?;
        let pool = Arc::new(ThreadPool::with_num_threads(load.threads));
        let options = RunOptions::default().with_thread_pool(Some(pool));
        Ok(Self { model, options, pictures: Tensor::from_data(&load.shape(), load.pictures()?) })
    }

    fn run(&mut self) -> Result<Vec<f32>, Failure> {
        let answer = self.model.run_one(self.pictures.view().into(), Some(self.options.clone()))?;
        Ok(answer.into_tensor::<f32>().ok_or("no numbers")?.to_vec())
    }
}

fn main() -> std::io::Result<()> {
    serve::<Rten>()
}

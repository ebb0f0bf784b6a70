//! This program's own engine, answering for photos: for the network that was written, and for the file that was read again.

use cspnet::Photo;
use cspnet::engine::{Input, Plan, PlanOptions, Workspace, default_threads};
use cspnet::graph::rewrite::with_normalise;
use cspnet::graph::{Axis, Graph, LazyWeights, Op, Shape};
use cspnet::vision::{DecodeOptions, Filter, Preprocess, resize};

use super::reader::Reader;
use crate::failure::Failure;

/// How a photo becomes a network's picture.
#[derive(Clone, Debug)]
pub enum Pictures {
    /// As the model says.
    Prepared(Preprocess),
    /// Stretched to `[c, h, w]`, each channel a colour in `-1..=1`: for networks of which no more is known.
    Numbers(Shape),
}

impl Pictures {
    /// As a model says, or where it says nothing numbers of this shape.
    pub fn of(preprocess: Option<Preprocess>, shape: Shape) -> Self {
        preprocess.map_or(Self::Numbers(shape), Self::Prepared)
    }

    /// The shape of a picture.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Prepared(preprocess) => [3, preprocess.size.0 as usize, preprocess.size.1 as usize],
            Self::Numbers(shape) => *shape,
        }
    }

    /// How photo files are read for it.
    pub fn decode_options(&self) -> DecodeOptions {
        match self {
            Self::Prepared(preprocess) => {
                DecodeOptions { background: preprocess.background, ..DecodeOptions::default() }
            }
            Self::Numbers(_) => DecodeOptions::default(),
        }
    }
}

/// A photo as numbers `[c, h, w]` in `-1..=1`.
pub fn numbers(photo: &Photo, [channels, height, width]: Shape) -> Result<Vec<f32>, Failure> {
    let stretched = resize(photo, width as u32, height as u32, Filter::Bilinear)?;
    let colour = |channel: usize| {
        let pixels = stretched.pixels().chunks_exact(3);
        pixels.map(move |pixel| f32::from(pixel[channel % 3]) / 127.5 - 1.0).collect::<Vec<f32>>()
    };
    Ok((0..channels).flat_map(colour).collect())
}

/// A network that answers for one photo at a time.
pub struct Engine {
    plan: Plan,
    workspace: Workspace,
    pictures: Pictures,
    gives_probabilities: bool,
}

impl Engine {
    /// A network of photos that are prepared in this way.
    pub fn new<'a>(graph: &Graph, weights: impl Into<LazyWeights<'a>>, pictures: &Pictures) -> Result<Self, Failure> {
        let options = PlanOptions::default();
        let plan = match pictures {
            Pictures::Prepared(preprocess) => {
                let graph = with_normalise(graph, &preprocess.mean, &preprocess.std)?;
                Plan::new(&graph, weights, pictures.shape(), &options)?
            }
            Pictures::Numbers(shape) => Plan::new(graph, weights, *shape, &options)?,
        };
        let workspace = plan.workspace(1, default_threads());
        let gives_probabilities =
            matches!(graph.node(graph.output()).op, Op::Softmax { axis: Axis::Channels, log: false });
        Ok(Self { plan, workspace, pictures: pictures.clone(), gives_probabilities })
    }

    /// Whether the network itself ends in a softmax.
    pub fn gives_probabilities(&self) -> bool {
        self.gives_probabilities
    }

    /// How photos are brought to it.
    pub fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    /// The shape of its answer, if that is not one number for each class.
    pub fn no_classes(&self) -> Option<Shape> {
        Some(self.plan.output_shape()).filter(|shape| shape[1..] != [1, 1])
    }
}

impl Reader for Engine {
    fn name(&self) -> String {
        "this program".into()
    }

    fn answer(&mut self, photo: &Photo) -> Result<Vec<f32>, Failure> {
        let run = match &self.pictures {
            Pictures::Prepared(preprocess) => {
                let prepared = preprocess.apply(photo)?;
                self.plan.run(&mut self.workspace, Input::Pixels(prepared.pixels()))
            }
            Pictures::Numbers(shape) => self.plan.run(&mut self.workspace, Input::Real(&numbers(photo, *shape)?)),
        };
        run.map_err(|e| Failure::Message(e.to_string()))?;
        let answer = self.plan.output(&self.workspace, 0);
        Ok(if self.gives_probabilities { answer } else { cspnet::softmax(&answer) })
    }
}

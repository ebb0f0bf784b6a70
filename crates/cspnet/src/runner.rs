//! Any network on anything that it takes, by the names of its inputs and outputs.
//!
//! Not here: how photo files are read and brought to a size ([`cspnet_vision`]), and files of arrays ([`cspnet_formats::numpy`]).

use std::collections::BTreeMap;
use std::ops::Range;

use cspnet_engine::{Input, Plan, PlanInput};
use cspnet_formats::numpy::Array;
use cspnet_graph::rewrite::with_normalise_of;
use cspnet_graph::{Graph, LazyWeights, Op, Shape, ValueId};
use cspnet_vision::Photo;

use crate::error::Error;
use crate::options::ModelOptions;

/// What is given to one of a network's inputs.
#[derive(Clone, Debug)]
pub enum Feed {
    /// Numbers `[n, c, h, w]`, as the network takes them; `[n, c]` and `[n, c, w]` stand for images of one row.
    Numbers(Array),
    /// Photos of one size, which become red, green and blue, or one channel of grey.
    Photos(Photos),
}

/// Photos, and how their pixels become numbers: `(pixel / 255 - mean) / std` with a mean and a deviation for every channel. Where the
/// network normalises pixels itself, it gets them as they are.
#[derive(Clone, Debug)]
pub struct Photos {
    /// One for each image of the batch.
    pub photos: Vec<Photo>,
    /// On a scale of `0..=1`.
    pub mean: Vec<f32>,
    /// On a scale of `0..=1`.
    pub std: Vec<f32>,
}

/// A network compiled for feeds of certain shapes, by the names of its inputs ([`Graph::inputs`]) and outputs ([`Graph::outputs`]).
///
/// The answer for an image does not depend on its batch or on the number of threads, bit for bit.
///
/// ```
/// use cspnet::formats::numpy::Array;
/// use cspnet::graph::{Builder, Weights};
/// use cspnet::{Feed, ModelOptions, Runner};
///
/// let mut b = Builder::new();
/// let left = b.named_input("left", 1);
/// let right = b.named_input("right", 1);
/// let sum = b.add("sum", left, right);
/// let product = b.multiply("product", left, right);
/// let graph = b.finish_named(&[("sum", sum), ("product", product)])?;
///
/// let numbers = |n: [f32; 2]| Feed::Numbers(Array::new(vec![1, 1, 1, 2], &n));
/// let feeds = [("left".into(), numbers([1.0, 2.0])), ("right".into(), numbers([5.0, 7.0]))].into();
/// let weights = Weights::reference(&graph);
/// let runner = Runner::new(&graph, &weights, &feeds, &[], &ModelOptions::default())?;
/// let outputs = runner.run(&feeds, 1, 1)?;
/// assert_eq!(outputs[0], ("sum".into(), Array::new(vec![1, 1, 1, 2], &[6.0, 9.0])));
/// assert_eq!(outputs[1].1.numbers(0..2), [5.0, 14.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Runner {
    plan: Plan,
    wanted: Vec<Wanted>,
    /// Of every input that does not normalise pixels itself, what the network was compiled to do with them.
    normalised: BTreeMap<String, Option<Normalisation>>,
}

/// Mean and deviation of photos' pixels.
type Normalisation = (Vec<f32>, Vec<f32>);

/// A value that is asked for.
#[derive(Debug)]
struct Wanted {
    name: String,
    shape: Shape,
    /// Else it is a module's.
    is_output: bool,
}

impl Runner {
    /// Compiles a network for feeds of these shapes, and photos where these are photos. Of its outputs and of its modules' values
    /// those in `wanted` are given, or all outputs if there are none.
    ///
    /// # Errors
    /// If a name is not one of the network's, an input is given nothing or what it cannot take, or no plan can be made.
    pub fn new<'a>(
        graph: &Graph,
        weights: impl Into<LazyWeights<'a>>,
        feeds: &BTreeMap<String, Feed>,
        wanted: &[String],
        options: &ModelOptions,
    ) -> Result<Self, Error> {
        let own: Vec<String> = graph.inputs().iter().map(|&v| graph.node(v).path.clone()).collect();
        if let Some(name) = feeds.keys().find(|name| !own.contains(name)) {
            return Err(Error::NoInput { name: name.clone(), known: own.join(", ") });
        }
        let shape = |&value: &ValueId| {
            let (name, channels) = (&graph.node(value).path, graph.channels(value));
            let feed = feeds.get(name).ok_or_else(|| Error::NotGiven(name.clone()))?;
            feed.shape(channels).map_err(|why| Error::Feed { name: name.clone(), why })
        };
        let shapes = graph.inputs().iter().map(shape).collect::<Result<Vec<Shape>, Error>>()?;
        let wanted = match wanted {
            [] => graph.outputs().iter().map(|o| o.name.clone()).collect(),
            some => some.to_vec(),
        };
        let is_output = |name: &String| graph.outputs().iter().any(|o| o.name == *name);
        if let Some(name) = wanted.iter().find(|name| !is_output(name) && graph.value(name).is_none()) {
            let known: Vec<&str> = graph.outputs().iter().map(|o| o.name.as_str()).collect();
            return Err(Error::NoOutput { name: name.clone(), known: known.join(", ") });
        }
        let taps = wanted.iter().filter(|name| !is_output(name)).cloned().collect();
        let normalised = normalisations(graph, feeds);
        let plan = options.with_taps(taps, &with_normalisations(graph, &normalised)?, weights, shapes)?;
        let wanted = wanted.into_iter().map(|name| Wanted::of(&plan, is_output(&name), name)).collect();
        Ok(Self { plan, wanted, normalised })
    }

    /// The compiled network.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Everything that was asked for, in that order, as arrays `[n, c, h, w]`: computed `batch` images at a time by so many threads.
    ///
    /// # Errors
    /// If the feeds are not such as the network was compiled for, or not of equally many images.
    pub fn run(
        &self,
        feeds: &BTreeMap<String, Feed>,
        batch: usize,
        threads: usize,
    ) -> Result<Vec<(String, Array)>, Error> {
        let given = self.plan.inputs().iter().map(|input| Given::of(input, feeds)).collect::<Result<Vec<_>, _>>()?;
        if let Some(other) =
            given.iter().find(|g| self.normalised.get(&g.input.name).is_some_and(|n| *n != g.feed.normalisation()))
        {
            return Err(other.refused(
                "something else than the network was compiled for: numbers, or photos of one mean and deviation".into(),
            ));
        }
        let images = given[0].images;
        if let Some(other) = given.iter().find(|g| g.images != images) {
            let why = format!("{} images, where `{}` is given {images}", other.images, given[0].input.name);
            return Err(other.refused(why));
        }
        let batch = batch.clamp(1, images.max(1));
        let mut workspace = self.plan.workspace(batch, threads);
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.wanted.len()];
        for first in (0..images).step_by(batch) {
            let images = first..images.min(first + batch);
            let chunks = given.iter().map(|g| g.chunk(images.clone())).collect::<Result<Vec<Chunk>, _>>()?;
            workspace.set_images(images.len());
            self.plan.run(&mut workspace, chunks.iter().map(Chunk::input).collect::<Vec<_>>())?;
            for (wanted, values) in self.wanted.iter().zip(&mut values) {
                (0..images.len()).for_each(|image| values.extend(wanted.of_image(&self.plan, &workspace, image)));
            }
        }
        let array = |(wanted, values): (&Wanted, Vec<f32>)| {
            let [c, h, w] = wanted.shape;
            (wanted.name.clone(), Array::new(vec![images, c, h, w], &values))
        };
        Ok(self.wanted.iter().zip(values).map(array).collect())
    }
}

impl Wanted {
    fn of(plan: &Plan, is_output: bool, name: String) -> Self {
        let output = plan.outputs().find(|(own, _)| is_output && *own == name).map(|(_, shape)| shape);
        let shape = output.or_else(|| plan.tap_shape(&name)).expect("the plan was made to show it");
        Self { name, shape, is_output }
    }

    fn of_image(&self, plan: &Plan, workspace: &cspnet_engine::Workspace, image: usize) -> Vec<f32> {
        let value = match self.is_output {
            true => plan.named_output(workspace, &self.name, image),
            false => plan.tap(workspace, &self.name, image),
        };
        value.expect("the plan was made to show it")
    }
}

/// Of every input that does not normalise pixels itself, the normalisation that its feed asks for.
fn normalisations(graph: &Graph, feeds: &BTreeMap<String, Feed>) -> BTreeMap<String, Option<Normalisation>> {
    let readers = graph.consumers();
    let normalises = |input: ValueId| readers[input].iter().any(|&r| matches!(graph.node(r).op, Op::Normalise { .. }));
    let left = graph.inputs().iter().filter(|&&input| !normalises(input)).map(|&input| graph.node(input).path.clone());
    left.map(|name| (name.clone(), feeds.get(&name).and_then(Feed::normalisation))).collect()
}

/// The network with these normalisations.
fn with_normalisations(
    graph: &Graph,
    normalisations: &BTreeMap<String, Option<Normalisation>>,
) -> Result<Graph, Error> {
    let mut normalised = graph.clone();
    // The last first, since each moves what is behind it.
    for &input in graph.inputs().iter().rev() {
        if let Some(Some((mean, std))) = normalisations.get(&graph.node(input).path) {
            normalised = with_normalise_of(&normalised, input, mean, std)?;
        }
    }
    Ok(normalised)
}

impl Feed {
    /// The shape of one image.
    fn shape(&self, channels: usize) -> Result<Shape, String> {
        match self {
            Self::Numbers(array) => match array.shape() {
                &[_, c] if c == channels => Ok([c, 1, 1]),
                &[_, c, w] if c == channels => Ok([c, 1, w]),
                &[_, c, h, w] if c == channels => Ok([c, h, w]),
                other => Err(format!("an array [n, {channels}, h, w] is needed, not one of shape {other:?}")),
            },
            Self::Photos(_) if ![1, 3].contains(&channels) => {
                Err(format!("it has {channels} channels, and a photo 3, or 1 in grey; give it an array"))
            }
            Self::Photos(Photos { photos, .. }) => {
                let first = photos.first().ok_or("there is no photo")?;
                Ok([channels, first.height() as usize, first.width() as usize])
            }
        }
    }

    /// What it asks to be done with pixels.
    fn normalisation(&self) -> Option<Normalisation> {
        match self {
            Self::Numbers(_) => None,
            Self::Photos(photos) => Some((photos.mean.clone(), photos.std.clone())),
        }
    }

    fn images(&self) -> usize {
        match self {
            Self::Numbers(array) => array.shape().first().copied().unwrap_or(1),
            Self::Photos(Photos { photos, .. }) => photos.len(),
        }
    }
}

/// A feed with the input that it is for.
struct Given<'a> {
    input: &'a PlanInput,
    feed: &'a Feed,
    images: usize,
}

/// Some images of a feed, as a plan takes them.
enum Chunk {
    Real(Vec<f32>),
    Pixels(Vec<u8>),
}

impl Chunk {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Real(numbers) => Input::Real(numbers),
            Self::Pixels(pixels) => Input::Pixels(pixels),
        }
    }
}

impl<'a> Given<'a> {
    fn of(input: &'a PlanInput, feeds: &'a BTreeMap<String, Feed>) -> Result<Self, Error> {
        let feed = feeds.get(&input.name).ok_or_else(|| Error::NotGiven(input.name.clone()))?;
        let given = Self { input, feed, images: feed.images() };
        let [c, h, w] = input.shape;
        match feed.shape(c) {
            Err(why) => Err(given.refused(why)),
            Ok(found) if found != input.shape => {
                Err(given
                    .refused(format!("images of shape {found:?}, where the network was compiled for {c} x {h} x {w}")))
            }
            Ok(_) if given.images == 0 => Err(given.refused("there is no image".into())),
            Ok(_) => Ok(given),
        }
    }

    fn refused(&self, why: String) -> Error {
        Error::Feed { name: self.input.name.clone(), why }
    }

    /// Some of the images.
    fn chunk(&self, images: Range<usize>) -> Result<Chunk, Error> {
        let shape = self.input.shape;
        let len: usize = shape.iter().product();
        match (self.feed, self.input.takes_pixels) {
            (Feed::Numbers(array), false) => Ok(Chunk::Real(array.numbers(images.start * len..images.end * len))),
            (Feed::Numbers(array), true) => {
                let numbers = array.numbers(images.start * len..images.end * len);
                self.as_pixels(&numbers).map(Chunk::Pixels)
            }
            (Feed::Photos(Photos { photos, .. }), takes_pixels) => {
                let mut pixels = Vec::with_capacity(images.len() * len);
                for photo in &photos[images] {
                    let found = [photo.height() as usize, photo.width() as usize];
                    if found != shape[1..] {
                        return Err(self.refused(format!("photos of different sizes: {found:?} and {:?}", &shape[1..])));
                    }
                    if shape[0] == 1 { pixels.append(&mut photo.grey()) } else { pixels.extend(photo.pixels()) }
                }
                // Where a normalisation is a step of its own, pixels come in as any other numbers.
                Ok(if takes_pixels { Chunk::Pixels(pixels) } else { Chunk::Real(planes(&pixels, shape)) })
            }
        }
    }

    /// Numbers `[n, c, h, w]` as pixels `[n, h, w, c]`.
    fn as_pixels(&self, numbers: &[f32]) -> Result<Vec<u8>, Error> {
        let [channels, height, width] = self.input.shape;
        let mut pixels = vec![0; numbers.len()];
        let images = pixels.chunks_exact_mut(channels * height * width);
        for (pixels, numbers) in images.zip(numbers.chunks_exact(channels * height * width)) {
            for (place, &number) in numbers.iter().enumerate() {
                let byte = number as u8;
                if f32::from(byte) != number {
                    return Err(self.refused(format!("pixels are whole numbers from 0 to 255, not {number}")));
                }
                pixels[place % (height * width) * channels + place / (height * width)] = byte;
            }
        }
        Ok(pixels)
    }
}

/// Pixels `[n, h, w, c]` as numbers `[n, c, h, w]`.
fn planes(pixels: &[u8], [channels, height, width]: Shape) -> Vec<f32> {
    let plane = |image: &[u8], channel: usize| {
        image.iter().skip(channel).step_by(channels).map(|&byte| f32::from(byte)).collect::<Vec<f32>>()
    };
    let images = pixels.chunks_exact(channels * height * width);
    images.flat_map(|image| (0..channels).flat_map(|channel| plane(image, channel)).collect::<Vec<f32>>()).collect()
}

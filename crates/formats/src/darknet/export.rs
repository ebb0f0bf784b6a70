//! A graph with its weights as the two files that Darknet reads.
//!
//! A layer of Darknet is a convolution with the normalisation and the activation behind it; what it takes is the layer before,
//! unless a route says otherwise. The normalisation of pixels becomes a 1x1 convolution, which both
//! Darknets read alike. What Redmon's does not know, or does otherwise, needs AlexeyAB's ([`Written::beyond_redmon`]).

use std::collections::HashSet;

use cspnet_graph::{
    Binary, DropUnit, Graph, Node, Op, Padding, ParamId, PoolKind, Reduction, Resize, Shape, Unary, ValueId, Weights,
    Window,
};

use super::cfg;
use super::dialect;
use super::graph::{of_convolution, of_norm};
use super::layers::{self, ACTIVATIONS, stride_onto};
use super::weights::{self, Header, Part};
use super::writer::{Convolution, Writer};
use crate::error::FormatError;

/// Most routes into which a run of channels is cut.
const MAX_ROUTES: usize = 64;

/// A network as Darknet reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The text of the `.cfg` file.
    pub cfg: String,
    /// The bytes of the `.weights` file.
    pub weights: Vec<u8>,
    /// What of it AlexeyAB's Darknet has, and Redmon's has not or computes otherwise.
    pub beyond_redmon: Vec<&'static str>,
}

/// A network with its weights for Darknet, which gives it pixels divided by 255: what else is done to them must be a node
/// [`Op::Normalise`] of the graph. A softmax is put behind it.
///
/// # Errors
/// If Darknet has no layer for an operation, the weights or the size do not fit the graph, or the header says what none can.
pub fn write(graph: &Graph, weights: &Weights, size: [usize; 2], header: Header) -> Result<Written, FormatError> {
    weights.check(graph.params())?;
    let (cfg, parts) = layers(graph, size)?;
    let beyond_redmon = dialect::beyond_redmon(&layers::parse(&cfg::sections(&cfg)?)?);
    let weights = weights::to_bytes(&parts, weights, &header, dialect::eps(&beyond_redmon))?;
    Ok(Written { cfg, weights, beyond_redmon })
}

/// The text of a graph's layers, and what numbers they have.
pub(super) fn layers(graph: &Graph, [height, width]: [usize; 2]) -> Result<(String, Vec<Part>), FormatError> {
    let mut others = graph.inputs()[1..].iter().chain(graph.outputs()[1..].iter().map(|o| &o.value));
    if let Some(&other) = others.next() {
        let why = "Darknet's networks take one picture and give one answer".into();
        return Err(FormatError::Darknet { path: graph.node(other).path.clone(), why });
    }
    let mut emitter = Emitter {
        graph,
        shapes: graph.shapes([graph.input_channels(), height, width])?,
        readers: graph.consumers(),
        text: Writer::new([graph.input_channels(), height, width]),
        parts: Vec::new(),
        places: vec![None; graph.nodes().len()],
        within: HashSet::new(),
    };
    emitter.find_shortcuts();
    let refused = |id: ValueId| move |why| FormatError::Darknet { path: graph.node(id).path.clone(), why };
    for id in 0..graph.nodes().len() {
        emitter.node(id).map_err(refused(id))?;
    }
    emitter.bring(graph.output()).map_err(refused(graph.output()))?;
    emitter.text.layer("softmax", &[("groups", &1)]);
    Ok((emitter.text.finish(), emitter.parts))
}

/// Where a value can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Picture,
    Layer(usize),
}

struct Emitter<'a> {
    graph: &'a Graph,
    shapes: Vec<Shape>,
    readers: Vec<Vec<ValueId>>,
    text: Writer,
    parts: Vec<Part>,
    /// Of the values that have been written.
    places: Vec<Option<Place>>,
    /// Values that are within a layer and need none of their own.
    within: HashSet<ValueId>,
}

/// A sum of which one side has fewer channels, or was taken from every so many-th pixel.
struct Shortcut {
    onto: ValueId,
    from: ValueId,
    within: Vec<ValueId>,
}

impl Emitter<'_> {
    /// Marks what lies within shortcuts, which comes before them in the graph.
    fn find_shortcuts(&mut self) {
        let all = (0..self.graph.nodes().len()).filter_map(|id| self.shortcut(id));
        self.within = all.flat_map(|shortcut| shortcut.within).collect();
    }

    /// The shortcut that a value is.
    fn shortcut(&self, id: ValueId) -> Option<Shortcut> {
        let node = self.graph.node(id);
        let mut shortcut = match node.op {
            Op::Binary { function: Binary::Add } => {
                Shortcut { onto: node.inputs[0], from: node.inputs[1], within: Vec::new() }
            }
            Op::Concat => self.partial(&node.inputs)?,
            _ => return None,
        };
        let from = self.graph.node(shortcut.from);
        // Of what is wider Darknet takes the first channels.
        if matches!(from.op, Op::Slice { start: 0, .. }) && self.sole_reader(shortcut.from).is_some() {
            shortcut.within.push(shortcut.from);
            shortcut.from = from.inputs[0];
        }
        let from = self.graph.node(shortcut.from);
        if let Op::Pool { window, .. } = from.op {
            let sides = |id: ValueId| [self.shapes[id][1], self.shapes[id][2]];
            // Darknet finds out by itself that it is to take every so many-th pixel.
            let stride = stride_onto(sides(from.inputs[0]), sides(shortcut.onto));
            let is_picking = stride.is_some_and(|stride| window == Window::square(1, stride, 0));
            if is_picking && self.sole_reader(shortcut.from).is_some() {
                shortcut.within.push(shortcut.from);
                shortcut.from = from.inputs[0];
            }
        }
        Some(shortcut)
    }

    /// `[x[..n] + from, x[n..]]`.
    fn partial(&self, parts: &[ValueId]) -> Option<Shortcut> {
        let &[sum, rest] = parts else { return None };
        let (added, kept) = (self.graph.node(sum), self.graph.node(rest));
        let (Op::Binary { function: Binary::Add }, &[common, from]) = (&added.op, &added.inputs[..]) else {
            return None;
        };
        let (&Op::Slice { start: 0, len }, &Op::Slice { start, len: left }) = (&self.graph.node(common).op, &kept.op)
        else {
            return None;
        };
        let onto = self.graph.node(common).inputs[0];
        let is_whole = kept.inputs[0] == onto && start == len && start + left == self.graph.channels(onto);
        let within = vec![common, sum, rest];
        (is_whole && within.iter().all(|&v| self.sole_reader(v).is_some())).then_some(Shortcut { onto, from, within })
    }

    /// The only node that reads a value, if there is one.
    fn sole_reader(&self, id: ValueId) -> Option<ValueId> {
        match self.readers[id][..] {
            [reader] if id != self.graph.output() => Some(reader),
            _ => None,
        }
    }

    /// Writes a node, unless an earlier layer has it already; those before it have been written.
    fn node(&mut self, id: ValueId) -> Result<(), String> {
        if self.places[id].is_some() || self.within.contains(&id) {
            return Ok(());
        }
        let node = self.graph.node(id);
        match &node.op {
            Op::Input { .. } => self.places[id] = Some(Place::Picture),
            Op::Normalise { mean, std } => {
                self.bring(node.inputs[0])?;
                self.normalise(mean, std);
                self.wrote(id);
            }
            Op::Conv { .. } | Op::Linear { .. } => self.convolution(id)?,
            Op::BatchNorm { .. } => {
                self.bring(node.inputs[0])?;
                self.parts.extend(of_norm(node).map(|id| part(id, Some(node))));
                self.text.layer("batchnorm", &[]);
                self.wrote(id);
            }
            Op::Unary { function } => {
                let name = name(*function).ok_or_else(|| unsaid(*function))?;
                self.bring(node.inputs[0])?;
                self.text.layer("activation", &[("activation", &name)]);
                self.wrote(id);
            }
            Op::Binary { function: Binary::Mul } => return Err("Darknet has no layer for products".into()),
            Op::Binary { function: Binary::Add } if self.is_repeating(id) => {
                return Err("one of its summands is repeated, which Darknet does not do".into());
            }
            Op::Binary { function: Binary::Add } => self.add(id)?,
            Op::Resize(resize) => {
                self.bring(node.inputs[0])?;
                self.upsample(resize, self.shapes[node.inputs[0]])?;
                self.wrote(id);
            }
            Op::Rearrange(r) if r.is_reshape() && self.shapes[id] == self.shapes[node.inputs[0]] => {
                self.places[id] = self.places[node.inputs[0]];
            }
            Op::Pool { kind, window } => {
                self.bring(node.inputs[0])?;
                self.pool(*kind, window)?;
                self.wrote(id);
            }
            Op::GlobalAvgPool | Op::Reduce { reduction: Reduction::Mean, axes: [false, true, true] } => {
                self.bring(node.inputs[0])?;
                self.text.layer("avgpool", &[]);
                self.wrote(id);
            }
            Op::Concat if self.shortcut(id).is_some() => self.add(id)?,
            Op::Concat => {
                let layers = node.inputs.iter().map(|&v| self.layer(v)).collect::<Result<Vec<_>, _>>()?;
                self.text.route(&layers);
                self.wrote(id);
            }
            Op::Slice { start, len } => {
                self.slice(node.inputs[0], *start, *len)?;
                self.wrote(id);
            }
            Op::Drop { rate, unit: DropUnit::Element } => {
                self.bring(node.inputs[0])?;
                self.text.layer("dropout", &[("probability", rate)]);
                self.wrote(id);
            }
            // Outside training nothing is dropped, and Darknet's training has no stochastic depth.
            Op::Drop { unit: DropUnit::Image, .. } => self.places[id] = self.places[node.inputs[0]],
            Op::Binary { .. }
            | Op::Constant { .. }
            | Op::PRelu
            | Op::Lrn { .. }
            | Op::Softmax { .. }
            | Op::Reduce { .. }
            | Op::Pad(_)
            | Op::Crop(_)
            | Op::Rearrange(_)
            | Op::MatMul => return Err("Darknet has no such layer".into()),
            Op::SoftmaxCrossEntropy => return Err("a loss is for training; write the network without it".into()),
        }
        Ok(())
    }

    /// Notes that the newest layer gives a value.
    fn wrote(&mut self, id: ValueId) {
        self.places[id] = Some(Place::Layer(self.text.layers() - 1));
    }

    /// The layer that gives a value.
    fn layer(&self, id: ValueId) -> Result<usize, String> {
        match self.places[id] {
            Some(Place::Layer(layer)) => Ok(layer),
            _ => Err("it takes the picture, which Darknet gives to the first layer only".into()),
        }
    }

    /// Sees to it that the next layer takes a value.
    fn bring(&mut self, id: ValueId) -> Result<(), String> {
        if self.places[id] == Some(Place::Picture) && self.text.layers() == 0 {
            return Ok(());
        }
        let layer = self.layer(id)?;
        if layer + 1 != self.text.layers() {
            self.text.route(&[layer]);
        }
        Ok(())
    }

    /// The activation behind a value as part of its layer, and the value that is then given.
    fn activation(&self, id: ValueId) -> (&'static str, ValueId) {
        let reader = self.sole_reader(id);
        match reader.map(|reader| (reader, &self.graph.node(reader).op)) {
            Some((reader, Op::Unary { function })) => name(*function).map_or(("linear", id), |name| (name, reader)),
            _ => ("linear", id),
        }
    }

    fn convolution(&mut self, id: ValueId) -> Result<(), String> {
        let node = self.graph.node(id);
        let (filters, window, groups, has_bias) = match node.op {
            Op::Conv { out, window, groups, bias } => (out, window, groups, bias),
            Op::Linear { out } => (out, Window::square(1, 1, 0), 1, true),
            _ => return Err("is no convolution".into()),
        };
        let (size, [padding, after], dilation) = taps(&window)?;
        if padding != after {
            return Err("pads more on one side than on the other, which only Darknet's poolings do".into());
        }
        self.bring(node.inputs[0])?;
        let norm = self.sole_reader(id).filter(|_| !has_bias).map(|reader| (reader, self.graph.node(reader)));
        let norm = norm.filter(|(_, n)| matches!(n.op, Op::BatchNorm { .. }));
        if norm.is_none() && !has_bias {
            self.parts.push(Part::Given(vec![0.0; filters]));
        }
        let normalised_by = norm.map(|(_, n)| n);
        self.parts.extend(of_convolution(node, normalised_by).into_iter().map(|id| part(id, normalised_by)));
        self.within.extend(norm.map(|(norm, _)| norm));
        let (activation, value) = self.activation(norm.map_or(id, |(norm, _)| norm));
        let (stride, is_normalised) = (window.stride[0], norm.is_some());
        self.text.convolution(Convolution {
            filters,
            size,
            stride,
            padding: padding / dilation,
            groups,
            dilation,
            is_normalised,
            activation,
        });
        self.wrote(value);
        Ok(())
    }

    /// `(x - mean) / std`, where Darknet has divided by 255 already.
    fn normalise(&mut self, mean: &[f32], std: &[f32]) {
        let channels = mean.len();
        let bias = mean.iter().zip(std).map(|(&m, &s)| (-f64::from(m) / f64::from(s)) as f32).collect();
        let mut weight = vec![0.0; channels * channels];
        weight.iter_mut().step_by(channels + 1).zip(std).for_each(|(w, &s)| *w = (1.0 / f64::from(s)) as f32);
        self.parts.extend([bias, weight].map(Part::Given));
        self.text.convolution(Convolution {
            filters: channels,
            size: 1,
            stride: 1,
            padding: 0,
            groups: 1,
            dilation: 1,
            is_normalised: false,
            activation: "linear",
        });
    }

    fn add(&mut self, id: ValueId) -> Result<(), String> {
        let Some(Shortcut { mut onto, mut from, within }) = self.shortcut(id) else { return Err("is no sum".into()) };
        // A sum of equals may begin with either.
        if within.is_empty() && self.places[from] == Some(Place::Layer(self.text.layers().wrapping_sub(1))) {
            (onto, from) = (from, onto);
        }
        let from = self.layer(from)?;
        self.bring(onto)?;
        let (activation, value) = self.activation(id);
        self.text.shortcut(from, activation);
        self.wrote(value);
        Ok(())
    }

    fn pool(&mut self, kind: PoolKind, window: &Window) -> Result<(), String> {
        let (size, [before, after], dilation) = taps(window)?;
        // Darknet counts both sides together, and a cell without a partner lies behind.
        let padding = before + after;
        if before != padding / 2 {
            return Err("pads more on one side than on the other, and not by a cell behind as Darknet".into());
        }
        if window.ceil {
            return Err("rounds its size up, which Darknet does not".into());
        }
        if dilation != 1 {
            return Err("its taps are apart, which Darknet's poolings do not have".into());
        }
        let name = match kind {
            PoolKind::Max => "maxpool",
            PoolKind::Average { count_include_pad: true } if padding > 0 => {
                return Err("its padding counts, which it does not in Darknet".into());
            }
            PoolKind::Average { .. } => "local_avgpool",
        };
        self.text.layer(name, &[("size", &size), ("stride", &window.stride[0]), ("padding", &padding)]);
        Ok(())
    }

    /// Whether a summand is repeated over rows, columns or channels.
    fn is_repeating(&self, sum: ValueId) -> bool {
        self.graph.node(sum).inputs.iter().any(|&v| self.shapes[v] != self.shapes[sum])
    }

    fn upsample(&mut self, resize: &Resize, [_, height, width]: Shape) -> Result<(), String> {
        match resize.repeats([height, width]) {
            Some([rows, columns]) if rows == columns && rows > 0 => {
                self.text.layer("upsample", &[("stride", &rows)]);
                Ok(())
            }
            _ => Err("Darknet resizes only by repeating every pixel as often in both directions".into()),
        }
    }

    /// A run of channels as one of equal groups, or as several of them joined.
    fn slice(&mut self, from: ValueId, start: usize, len: usize) -> Result<(), String> {
        let (from, channels) = (self.layer(from)?, self.graph.channels(from));
        let unit = gcd(gcd(start, len), channels);
        if len / unit > MAX_ROUTES {
            return Err(format!("takes channels {start}..{} of {channels}, which are no equal groups", start + len));
        }
        let groups: Vec<usize> =
            (start / unit..(start + len) / unit).map(|group| self.text.group(from, channels / unit, group)).collect();
        if groups.len() > 1 {
            self.text.route(&groups);
        }
        Ok(())
    }
}

/// Size, cells of padding before and behind the picture, and dilation of a window, where Darknet can say it.
fn taps(window: &Window) -> Result<(usize, [usize; 2], usize), String> {
    let square = |[rows, columns]: [usize; 2]| (rows == columns).then_some(rows);
    let Padding { before, after } = window.padding;
    let all = [window.kernel, window.stride, before, after, window.dilation].map(square);
    let [Some(size), Some(_), Some(before), Some(after), Some(dilation)] = all else {
        return Err("its window is not square, as all of Darknet's are".into());
    };
    // Darknet reckons the size of what a convolution gives without the dilation.
    if dilation > 1 && before + after != (size - 1) * dilation {
        return Err("its taps are apart, which Darknet has only where the size of the picture stays".into());
    }
    Ok((size, [before, after], dilation))
}

fn name(function: Unary) -> Option<&'static str> {
    ACTIVATIONS.iter().find(|(_, known)| *known == function).map(|(name, _)| *name)
}

fn unsaid(function: Unary) -> String {
    match function {
        Unary::LeakyRelu { slope } => format!("its slope is {slope}, Darknet's always 0.1"),
        _ => "Darknet has no such function".into(),
    }
}

/// A parameter of a convolution or of its normalisation as it is written.
fn part(id: ParamId, norm: Option<&Node>) -> Part {
    match norm.map(|norm| (&norm.op, of_norm(norm))) {
        Some((&Op::BatchNorm { eps, .. }, [.., variance])) if variance == id => Part::Variance { id, eps },
        _ => Part::Param(id),
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

//! Sections to layers: what each does, with Darknet's defaults, and the shape that it gives.
//!
//! Shapes are Darknet's, computed as it computes them. What it can do and a [`cspnet_graph::Graph`] cannot is collected with its
//! line, so that all of it is told at once. Not here: the graph ([`super::graph`]).

use cspnet_graph::{GraphError, Padding, Resize, Shape, Unary, Window};

use super::cfg::{Section, beginning, wrong};
use crate::error::FormatError;

/// Slope below zero of Darknet's `leaky`.
pub(super) const SLOPE: f64 = 0.1;

/// Longest side of a picture, that of [`cspnet_vision::Preprocess`].
const MAX_SIDE: usize = 8192;

/// Most numbers of a value, those of [`cspnet_graph::Graph::shapes`].
const MAX_FLOATS: usize = 1 << 32;

/// A layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub kind: Kind,
    /// Of what it gives.
    pub shape: Shape,
}

/// What a layer does to the one before it, unless it says to others. Activations are none where they are linear.
#[derive(Debug)]
pub(super) enum Kind {
    Convolutional { filters: usize, window: Window, groups: usize, is_normalised: bool, activation: Option<Unary> },
    Connected { outputs: usize, activation: Option<Unary> },
    BatchNorm,
    Activation { function: Option<Unary> },
    MaxPool(Pool),
    LocalAvgPool(Pool),
    AvgPool,
    Route { layers: Vec<usize>, groups: usize, group: usize },
    Shortcut { from: usize, activation: Option<Unary> },
    Upsample { factor: usize },
    Dropout { rate: f64 },
    Softmax,
    Cost,
}

/// A pooling window; `padding` cells lie half before the picture, rounded down, and half behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub size: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Pool {
    /// The window over so many rows and columns: with equal paddings where these give as many places.
    pub(super) fn window(self, size: [usize; 2]) -> Window {
        let before = self.padding / 2;
        let even = Window::square(self.size, self.stride, before);
        let window = Window { padding: Padding { before: [before; 2], after: [self.padding - before; 2] }, ..even };
        if even.output(size) == window.output(size) { even } else { window }
    }
}

/// All layers of a text.
#[derive(Debug)]
pub(super) struct Parsed {
    /// Of the picture.
    pub input: Shape,
    /// Up to the first whose shape is not known.
    pub layers: Vec<Layer>,
    /// What a graph cannot do, each with its line.
    pub unsupported: Vec<String>,
}

/// Why a section is no layer here.
enum Trouble {
    /// It is no layer of Darknet's either.
    Wrong(FormatError),
    /// Darknet could.
    Unsupported(String),
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Self {
        Self::Wrong(error)
    }
}

/// Understands sections.
///
/// # Errors
/// If they are no network of Darknet's.
pub(super) fn parse(sections: &[Section]) -> Result<Parsed, FormatError> {
    let Some((net, rest)) = sections.split_first().filter(|(s, _)| matches!(s.name.as_str(), "net" | "network")) else {
        return Err(wrong(sections.first().map_or(1, |s| s.line), "a network begins with the section [net]"));
    };
    let input = [net.whole("channels", 3)?, net.whole("height", 0)?, net.whole("width", 0)?];
    for (key, side) in [("channels", input[0]), ("height", input[1]), ("width", input[2])] {
        if side == 0 || side > MAX_SIDE {
            return Err(net.wrong(key, "must be in 1..=8192"));
        }
    }
    if rest.is_empty() {
        return Err(wrong(net.line, "no layers follow"));
    }
    let mut parsed = Parsed { input, layers: Vec::new(), unsupported: Vec::new() };
    let mut routed = 0;
    for (index, section) in rest.iter().enumerate() {
        let refuse = |why: &str| format!("line {}: [{}] {why}", section.line, section.name);
        let kind = kind(section, index);
        if let Ok(Kind::Route { layers, .. }) = &kind {
            routed += layers.len();
            if routed > GraphError::MAX_NODES {
                return Err(section
                    .wrong("layers", "is one of too many routes: together they take more layers than a graph has"));
            }
        }
        match kind {
            Err(Trouble::Wrong(error)) => return Err(error),
            Err(Trouble::Unsupported(why)) => parsed.unsupported.push(refuse(&why)),
            Ok(kind) if parsed.layers.len() == index => {
                let (shape, lacking) = parsed.shape(&kind, section)?;
                parsed.unsupported.extend(lacking.map(|why| refuse(&why)));
                parsed.layers.push(Layer { kind, shape });
            }
            // Behind a layer that is not understood no shape is known.
            Ok(_) => {}
        }
    }
    Ok(parsed)
}

/// What a section asks for; `index` is its number as a layer.
fn kind(section: &Section, index: usize) -> Result<Kind, Trouble> {
    Ok(match section.name.as_str() {
        "convolutional" | "conv" => convolutional(section)?,
        "connected" | "conn" => {
            refuse_options(section, &["batch_normalize"])?;
            let outputs = positive(section, "output", 1)?;
            Kind::Connected { outputs, activation: activation(section, "logistic")? }
        }
        "batchnorm" => {
            refuse_options(section, &["dontload"])?;
            Kind::BatchNorm
        }
        "activation" => Kind::Activation { function: activation(section, "linear")? },
        "maxpool" | "max" => Kind::MaxPool(pool(section)?),
        "local_avgpool" | "local_avg" => Kind::LocalAvgPool(pool(section)?),
        "avgpool" | "avg" => Kind::AvgPool,
        "route" => route(section, index)?,
        "shortcut" => shortcut(section, index)?,
        "upsample" => {
            if section.real("scale", 1.0)? != 1.0 {
                return Err(Trouble::Unsupported("with `scale` is not supported".into()));
            }
            Kind::Upsample { factor: positive(section, "stride", 2)? }
        }
        "dropout" => {
            let rate = section.real("probability", 0.2)?;
            if !(0.0..1.0).contains(&rate) {
                return Err(section.wrong("probability", "must be in 0..1").into());
            }
            Kind::Dropout { rate }
        }
        "softmax" | "soft" => {
            refuse_options(section, &["tree", "spatial"])?;
            if section.whole("groups", 1)? != 1 || section.real("temperature", 1.0)? != 1.0 {
                return Err(Trouble::Unsupported("with `groups` or `temperature` is not supported".into()));
            }
            Kind::Softmax
        }
        "cost" => Kind::Cost,
        _ => return Err(Trouble::Unsupported("is not supported".into())),
    })
}

/// Refuses options that change what a layer computes in ways that are not known here.
fn refuse_options(section: &Section, options: &[&str]) -> Result<(), Trouble> {
    match options.iter().find(|option| section.is_set(option)) {
        Some(option) => Err(Trouble::Unsupported(format!("with `{option}` is not supported"))),
        None => Ok(()),
    }
}

fn positive(section: &Section, key: &str, otherwise: usize) -> Result<usize, FormatError> {
    match section.whole(key, otherwise)? {
        0 => Err(section.wrong(key, "must be positive")),
        n => Ok(n),
    }
}

fn convolutional(section: &Section) -> Result<Kind, Trouble> {
    #[rustfmt::skip]
    refuse_options(section, &[
        "antialiasing", "sway", "rotate", "stretch", "stretch_sway", "xnor", "binary", "bin_output", "flipped",
        "share_index", "assisted_excitation", "dontload", "dontloadscales", "stride_x", "stride_y",
    ])?;
    let size = positive(section, "size", 1)?;
    let padding = if section.whole("pad", 0)? > 0 { size / 2 } else { section.whole("padding", 0)? };
    let dilation = positive(section, "dilation", 1)?;
    // Darknet pads in units of taps.
    let stride = positive(section, "stride", 1)?;
    let window = Window { dilation: [dilation; 2], ..Window::square(size, stride, padding.saturating_mul(dilation)) };
    Ok(Kind::Convolutional {
        filters: positive(section, "filters", 1)?,
        window,
        groups: positive(section, "groups", 1)?,
        is_normalised: section.is_set("batch_normalize"),
        activation: activation(section, "logistic")?,
    })
}

fn pool(section: &Section) -> Result<Pool, Trouble> {
    refuse_options(section, &["maxpool_depth", "antialiasing", "stride_x", "stride_y"])?;
    let stride = positive(section, "stride", 1)?;
    let size = positive(section, "size", stride)?;
    Ok(Pool { size, stride, padding: section.whole("padding", size - 1)? })
}

fn route(section: &Section, index: usize) -> Result<Kind, Trouble> {
    let layers = section.list("layers")?.into_iter().map(|n| earlier(section, "layers", index, n));
    let layers = layers.collect::<Result<Vec<usize>, _>>()?;
    if layers.is_empty() {
        return Err(section.wrong("layers", "says which layers it takes").into());
    }
    let (groups, group) = (positive(section, "groups", 1)?, section.whole("group_id", 0)?);
    if group >= groups {
        return Err(section.wrong("group_id", "must be below `groups`").into());
    }
    Ok(Kind::Route { layers, groups, group })
}

fn shortcut(section: &Section, index: usize) -> Result<Kind, Trouble> {
    refuse_options(section, &["weights_type"])?;
    match section.list("from")?[..] {
        [] => Err(section.wrong("from", "says which layer it adds").into()),
        [from] => {
            let from = earlier(section, "from", index, from)?;
            Ok(Kind::Shortcut { from, activation: activation(section, "linear")? })
        }
        _ => Err(Trouble::Unsupported("that adds several layers is not supported".into())),
    }
}

/// The number of a layer before the `index`-th; those below zero count back from it.
fn earlier(section: &Section, key: &str, index: usize, number: i64) -> Result<usize, FormatError> {
    let place = if number < 0 { index as i64 + number } else { number };
    let place = usize::try_from(place).ok().filter(|&place| place < index);
    place.ok_or_else(|| section.wrong(key, &format!("names no layer before this one, which is number {index}")))
}

/// Darknet's names of functions of one number, `linear` being none.
pub(super) const ACTIVATIONS: [(&str, Unary); 6] = [
    ("leaky", Unary::LeakyRelu { slope: SLOPE }),
    ("mish", Unary::Mish),
    ("swish", Unary::Silu),
    ("relu", Unary::Relu),
    ("relu6", Unary::Relu6),
    ("logistic", Unary::Sigmoid),
];

fn activation(section: &Section, otherwise: &str) -> Result<Option<Unary>, Trouble> {
    let name = section.text("activation").unwrap_or(otherwise);
    match ACTIVATIONS.iter().find(|(known, _)| *known == name) {
        Some((_, function)) => Ok(Some(*function)),
        None if name == "linear" => Ok(None),
        None => Err(Trouble::Unsupported(format!("with the activation `{}` is not supported", beginning(name)))),
    }
}

impl Parsed {
    /// What the next layer gives, and what a graph lacks for it, if anything.
    fn shape(&self, kind: &Kind, section: &Section) -> Result<(Shape, Option<String>), FormatError> {
        let wrong = |why: String| wrong(section.line, format!("[{}] {why}", section.name));
        let before @ [c, h, w] = self.layers.last().map_or(self.input, |l| l.shape);
        let mut lacking = None;
        let shape = match kind {
            Kind::Convolutional { filters, window, groups, .. } => {
                if c % groups != 0 || filters % groups != 0 {
                    return Err(wrong(format!("has {groups} groups, which do not divide {c} and {filters} channels")));
                }
                // Darknet reckons without the dilation.
                let padding = Padding::even(window.padding.before.map(|p| p / window.dilation[0]));
                let darknets = Window { dilation: [1; 2], padding, ..*window };
                let output = darknets.output([h, w]).ok_or_else(|| wrong(too_small(window.kernel[0], before)))?;
                if window.output([h, w]) != Some(output) {
                    lacking = Some("with this dilation and padding is not supported".into());
                }
                [*filters, output[0], output[1]]
            }
            Kind::Connected { outputs, .. } => [*outputs, 1, 1],
            Kind::MaxPool(pool) | Kind::LocalAvgPool(pool) => {
                let output = pool.window([h, w]).output([h, w]).ok_or_else(|| wrong(too_small(pool.size, before)))?;
                if pool.padding.div_ceil(2) >= pool.size {
                    lacking = Some(format!("pads by {}, beyond its window, which is not supported", pool.padding));
                }
                [c, output[0], output[1]]
            }
            Kind::AvgPool => [c, 1, 1],
            Kind::Route { layers, groups, .. } => {
                let mut channels = 0;
                let [_, h, w] = self.layers[layers[0]].shape;
                for &layer in layers {
                    let [c, their_h, their_w] = self.layers[layer].shape;
                    if [their_h, their_w] != [h, w] {
                        return Err(wrong(format!("joins {h} x {w} and {their_h} x {their_w} pixels")));
                    }
                    if c % groups != 0 {
                        return Err(wrong(format!("has {groups} groups, which do not divide {c} channels")));
                    }
                    channels += c / groups;
                }
                [channels, h, w]
            }
            Kind::Shortcut { from, .. } => {
                let [_, their_h, their_w] = self.layers[*from].shape;
                if stride_onto([their_h, their_w], [h, w]).is_none() {
                    lacking = Some(format!("from {their_h} x {their_w} to {h} x {w} pixels is not supported"));
                }
                before
            }
            Kind::Upsample { factor } => {
                let output = [h.saturating_mul(*factor), w.saturating_mul(*factor)];
                if Resize::repeat(*factor).output([h, w]) != output {
                    lacking = Some(format!("by {factor} is not supported"));
                }
                [c, output[0], output[1]]
            }
            Kind::BatchNorm | Kind::Activation { .. } | Kind::Dropout { .. } | Kind::Softmax | Kind::Cost => before,
        };
        if matches!(self.layers.last().map(|l| &l.kind), Some(Kind::Softmax | Kind::Cost))
            && !matches!(kind, Kind::Cost)
        {
            lacking = Some("behind [softmax] or [cost] is not supported".into());
        }
        let floats = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        match floats {
            Some(1..=MAX_FLOATS) => Ok((shape, lacking)),
            _ => Err(wrong(format!("gives a value of shape {shape:?}"))),
        }
    }
}

fn too_small(size: usize, [_, h, w]: Shape) -> String {
    format!("has a window of {size} x {size}, which does not fit into {h} x {w} pixels")
}

/// Every how many-th pixel of a larger picture is one of a smaller: how Darknet adds unequal ones.
pub(super) fn stride_onto([from_h, from_w]: [usize; 2], [h, w]: [usize; 2]) -> Option<usize> {
    let stride = from_w / w;
    (stride > 0 && from_h / h == stride && from_w.div_ceil(stride) == w && from_h.div_ceil(stride) == h)
        .then_some(stride)
}

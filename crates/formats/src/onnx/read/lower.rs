//! A file's graph to steps, node by node: what does not depend on the picture is computed, everything else becomes operations.

use std::collections::HashMap;

use super::allowance::{Allowance, table};
use super::call::{Call, Operand};
use super::constant::{Constant, Files};
use super::dims::{Dims, Integer, Why};
use super::external::Externals;
use super::flow::{self, Flow, Steps};
use super::messages::{Graph, Info, Node, Side};
use super::tensor::Tensor;
use super::{evaluate, is_standard, operators, repeat, title};
use crate::error::FormatError;
use crate::text::{shown, told};

/// Most nodes that are told.
const MAX_TOLD: usize = 100;

/// Memory for an input or output of the network in all lists in which it is, without its name.
const END: usize = 640;

/// Why an output is none.
const CONSTANT: &str = "does not depend on the picture";

/// What a file's graph becomes.
pub(super) struct Lowered<'a> {
    pub steps: Steps<'a>,
    pub inputs: Vec<End>,
    pub outputs: Vec<End>,
}

/// Where a value enters or leaves the network.
pub(super) struct End {
    pub name: String,
    pub step: usize,
    pub dims: Dims,
}

/// The tensors that the file gives itself, by name: constants, or why they are not read.
pub(super) type Initialisers<'a> = HashMap<&'a str, Result<Operand, String>>;

/// Those of a graph, some of which lie in files `beside` it.
pub(super) fn initialisers<'a>(
    tensors: &'a [Tensor],
    beside: &mut Externals,
    allowance: &Allowance,
) -> Result<Initialisers<'a>, FormatError> {
    let too_much = |why: String| FormatError::OnnxFile(format!("its tensors' names {why}"));
    allowance.take(table::<(&str, Result<Operand, String>)>(tensors.len())).map_err(too_much)?;
    let mut initialisers = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        let constant = Constant::of(tensor, Some(beside));
        allowance.take(constant.as_ref().map_or_else(String::len, Constant::beside)).map_err(too_much)?;
        initialisers.insert(tensor.name.as_str(), constant.map(Operand::Constant));
    }
    Ok(initialisers)
}

/// What of the file is the same however it is read.
pub(super) struct Source<'a> {
    pub graph: &'a Graph,
    pub opset: i64,
    /// The nodes that are lowered, each behind those it reads.
    pub order: Vec<usize>,
    pub initialisers: Initialisers<'a>,
    pub files: &'a Files<'a>,
    pub allowance: &'a Allowance,
}

/// Why a file is not run: what of it, all together.
pub(super) struct Refusal {
    told: Vec<String>,
    count: usize,
    /// Whether something would mix the images of a batch, or needs to know how many there are.
    pub is_of_images: bool,
}

impl Refusal {
    fn add(&mut self, what: String, why: Why) {
        self.count += 1;
        let why = match why {
            Why::Unsupported(why) => why,
            Why::Batch | Why::Images => {
                self.is_of_images = true;
                let what = match why {
                    Why::Batch => "would mix the images of a batch",
                    _ => "depends on the number of images in a way that cannot be followed",
                };
                what.into()
            }
        };
        if self.told.len() < MAX_TOLD {
            self.told.push(format!("{} {}", told(&what), told(&why)));
        }
    }

    /// With what stands in the way where the network is taken as one of a single image.
    pub(super) fn and(mut self, alone: Self) -> Self {
        for what in alone.told {
            if !self.told.contains(&what) {
                self.count += 1;
                if self.told.len() < MAX_TOLD {
                    self.told.push(format!("{what} (if all is one image)"));
                }
            }
        }
        self
    }

    pub(super) fn into_error(self) -> FormatError {
        let more = match self.count - self.told.len() {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        FormatError::OnnxUnsupported(self.told.join("; ") + &more)
    }
}

impl<'a> Source<'a> {
    /// The things that the network takes, which are not given by the file itself.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &'a Info> {
        self.graph.inputs.iter().filter(|info| !self.initialisers.contains_key(info.name.as_str()))
    }

    /// The number of images, as the inputs' first dimensions say it; `None` if these are not one and the same.
    pub(super) fn images(&self) -> Option<Integer> {
        let mut all = self.inputs().map(|info| match info.dims.as_ref()?.first()? {
            Side::Known(n) => Some(Integer::Known(*n as i64)),
            Side::Open(_) => Some(Integer::Batch),
        });
        let first = all.next()??;
        all.all(|images| images == Some(first)).then_some(first)
    }

    /// The graph, whose first dimension is that of the images if a number of them is given; else it is one like the others, and 1 where
    /// the file leaves all first dimensions open. `size` are rows and columns where the file does not say them.
    pub(super) fn lower(&self, images: Option<Integer>, size: [usize; 2]) -> Result<Lowered<'a>, Refusal> {
        let mut refusal = Refusal { told: Vec::new(), count: 0, is_of_images: false };
        let is_one = images.is_none() && self.images() == Some(Integer::Batch);
        let (mut steps, mut inputs) = (Steps::new(self.allowance), Vec::new());
        let count = self.graph.inputs.len() + self.graph.nodes.iter().map(|node| node.outputs.len()).sum::<usize>();
        let mut held = match self.allowance.lend::<u8>(table::<(&str, Option<Operand>)>(count)) {
            Ok(held) => held,
            Err(why) => {
                refusal.add("the network".into(), why.into());
                return Err(refusal);
            }
        };
        // What is not known because of what is not supported is `None`.
        let mut values: HashMap<&str, Option<Operand>> = HashMap::with_capacity(count);
        for info in self.inputs() {
            let taken = sides(info, images.is_some(), is_one, size).map_err(Why::from).and_then(|dims| {
                let step = steps.input(&info.name, flow::planes(&dims.sides))?;
                let end = End { name: info.name.clone(), step, dims };
                steps.hold(end.bytes())?;
                Ok(end)
            });
            match taken {
                Ok(end) => {
                    values.insert(&info.name, Some(Operand::Flow(Flow::new(end.step, end.dims.clone()))));
                    inputs.push(end);
                }
                Err(why) => {
                    values.insert(&info.name, None);
                    refusal.add(format!("the input `{}`", shown(&info.name)), why);
                }
            }
        }
        for &id in &self.order {
            let node = &self.graph.nodes[id];
            let given = self.node(node, &mut steps, &values, images.unwrap_or(Integer::Known(1))).and_then(|given| {
                held.grow(given.iter().flatten().flatten().map(Operand::beside).sum())?;
                Ok(given)
            });
            let mut given = given.unwrap_or_else(|why| {
                refusal.add(title(node), why);
                None
            });
            for (place, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let value = given.as_mut().and_then(|given| given.get_mut(place)).and_then(Option::take);
                values.insert(name, value);
            }
        }
        let mut outputs = Vec::new();
        for info in &self.graph.outputs {
            let what = || format!("the output `{}`", shown(&info.name));
            match values.get(info.name.as_str()) {
                Some(Some(Operand::Flow(flow))) => {
                    let given = steps.planes(flow).and_then(|step| {
                        if !steps.get(step).varies {
                            return Err(CONSTANT.into());
                        }
                        let end = End { name: info.name.clone(), step, dims: flow.dims.clone() };
                        steps.hold(end.bytes())?;
                        Ok(end)
                    });
                    match given {
                        Ok(end) => outputs.push(end),
                        Err(why) => refusal.add(what(), why),
                    }
                }
                Some(None) if refusal.count > 0 => {}
                Some(None) => refusal.add(what(), "is one that its node is not run for".into()),
                Some(Some(Operand::Constant(_))) => refusal.add(what(), CONSTANT.into()),
                None => refusal.add(what(), "is given by nobody".into()),
            }
        }
        match (refusal.count, inputs.is_empty() || outputs.is_empty()) {
            (0, false) => Ok(Lowered { steps, inputs, outputs }),
            (0, true) => {
                refusal.add("the network".into(), "has no inputs, or no outputs".into());
                Err(refusal)
            }
            _ => Err(refusal),
        }
    }

    /// What a node gives; `None` if that is not known because of what others do not give.
    fn node(
        &self,
        node: &Node,
        steps: &mut Steps<'_>,
        values: &HashMap<&str, Option<Operand>>,
        images: Integer,
    ) -> Result<Option<Vec<Option<Operand>>>, Why> {
        if !is_standard(&node.domain) {
            return Err(format!("is of the domain `{}`, whose operators are not known", shown(&node.domain)).into());
        }
        let lower = operators::find(&node.operator);
        if lower.is_none() && !evaluate::knows(&node.operator) {
            return Err("is an operator that is not known".into());
        }
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(match (name.as_str(), self.initialisers.get(name.as_str()), values.get(name.as_str())) {
                ("", ..) => None,
                (_, Some(Ok(constant)), _) => Some(constant),
                (_, Some(Err(why)), _) => return Err(format!("needs `{name}`, which {why}").into()),
                (_, None, Some(Some(operand))) => Some(operand),
                (_, None, Some(None)) => return Ok(None),
                // A value of a node that is left out.
                (_, None, None) => return Err(format!("reads the value `{name}`, which there is not").into()),
            });
        }
        let (files, allowance) = (self.files, self.allowance);
        let call = Call { node, opset: self.opset, inputs, files, allowance, images };
        if let Some(why) = call.unreadable() {
            return Err(why.into());
        }
        let constant = match evaluate::is_constant(&call) {
            false => None,
            true => {
                if let Some(flow) = repeat::for_every_image(steps, &call)? {
                    return Ok(Some(vec![Some(Operand::Flow(flow))]));
                }
                if let Some(constants) = evaluate::evaluate(&call)? {
                    return Ok(Some(constants.into_iter().map(|c| Some(Operand::Constant(c))).collect()));
                }
                Some(computed(steps, &call)?)
            }
        };
        let mut call = call;
        if constant.is_some() {
            call.inputs[0] = constant.as_ref();
        }
        let given = lower.ok_or("is computed of constants only")?(steps, &call)?;
        Ok(Some(given.into_iter().map(Some).collect()))
    }
}

/// The first input of a node as a value of the network: of one that is not computed while the file is read although it has nothing but
/// constants.
fn computed(steps: &mut Steps<'_>, call: &Call<'_>) -> Result<Operand, Why> {
    let constant = call.parameter(0).ok().filter(|constant| constant.is_real());
    let constant = constant.ok_or("is not computed of constants")?;
    let step = steps.constant(&call.node.inputs[0], flow::planes(&constant.dims), constant.clone())?;
    Ok(Operand::Flow(Flow::new(step, Dims::plain(constant.dims.clone()))))
}

impl End {
    /// Memory for it in all lists in which it is.
    fn bytes(&self) -> usize {
        END + 4 * self.name.len() + 4 * size_of_val(&self.dims.sides[..])
    }
}

/// The dimensions of an input, of which the first one is 1 if it is open and `is_one`.
fn sides(info: &Info, batched: bool, is_one: bool, size: [usize; 2]) -> Result<Dims, String> {
    let all = info.dims.as_ref().ok_or("does not say its shape, or is no tensor")?;
    super::data_type::DataType::of(info.element).map_err(|what| format!("holds {what}"))?;
    let rank = all.len();
    let length = |(axis, side): (usize, &Side)| match side {
        Side::Known(0) => Err("holds nothing".into()),
        Side::Known(n) => Ok(*n),
        Side::Open(_) if is_one && axis == 0 => Ok(1),
        // Of a picture, whose sides come last.
        Side::Open(_) if rank == 4 && axis >= 2 => Ok(size[axis - 2]),
        Side::Open(name) => {
            let name = if name.is_empty() { String::new() } else { format!(" (`{}`)", shown(name)) };
            Err(format!("does not say how long its dimension {axis}{name} is; write a file in which that is fixed"))
        }
    };
    let lengths =
        all.iter().enumerate().skip(usize::from(batched)).map(length).collect::<Result<Vec<usize>, String>>()?;
    match super::tensor::count(&lengths) {
        Some(count) if count <= cspnet_graph::GraphError::MAX_ELEMENTS => Ok(Dims { batched, sides: lengths }),
        _ => Err(format!("has the shape {lengths:?}, which is too large")),
    }
}

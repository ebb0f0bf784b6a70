//! Nodes in an order in which every one follows those it reads.

use std::collections::{HashMap, HashSet};

use super::allowance::{Allowance, table};
use super::messages::{Graph, Value};
use crate::error::FormatError;
use crate::text::shown;

/// Memory for a node in all lists here, in bytes.
const NODE: usize = 128;

/// The nodes' places in such an order: that of the file, as far as it is one.
///
/// # Errors
/// If two nodes give values of one name, a node reads a value that there is not, nodes wait for each other, or there are too many.
pub(super) fn order(graph: &Graph, allowance: &Allowance) -> Result<Vec<usize>, FormatError> {
    let refuse = |why: String| Err(FormatError::OnnxFile(why));
    let values = graph.inputs.len() + graph.initialisers.len();
    let values = values + graph.nodes.iter().map(|node| node.outputs.len()).sum::<usize>();
    let read: usize = graph.nodes.iter().map(|node| node.inputs.len()).sum();
    let bytes = table::<(&str, Option<usize>)>(values) + NODE * graph.nodes.len() + 3 * size_of::<usize>() * read;
    let lent = allowance.lend::<u8>(bytes);
    let _lent = lent.map_err(|why| FormatError::OnnxFile(format!("putting its nodes in order {why}")))?;
    let mut made_by: HashMap<&str, Option<usize>> = HashMap::with_capacity(values);
    let given = graph.inputs.iter().map(|i| &i.name).chain(graph.initialisers.iter().map(|t| &t.name));
    made_by.extend(given.map(|name| (name.as_str(), None)));
    for (id, node) in graph.nodes.iter().enumerate() {
        for name in node.outputs.iter().filter(|name| !name.is_empty()) {
            if made_by.insert(name, Some(id)).is_some() {
                return refuse(format!("two things give the value `{}`", shown(name)));
            }
        }
    }
    // How many values each node waits for, and who waits for it.
    let mut waits = vec![0_usize; graph.nodes.len()];
    let mut readers = vec![Vec::new(); graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        for name in node.inputs.iter().filter(|name| !name.is_empty()) {
            match made_by.get(name.as_str()) {
                None => {
                    let reader = super::title(node);
                    return refuse(format!("{reader} reads the value `{}`, which there is not", shown(name)));
                }
                Some(None) => {}
                Some(Some(maker)) => {
                    waits[id] += 1;
                    readers[*maker].push(id);
                }
            }
        }
    }
    let mut ready: std::collections::BTreeSet<usize> = (0..waits.len()).filter(|&id| waits[id] == 0).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(id) = ready.pop_first() {
        order.push(id);
        for &reader in &readers[id] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    match waits.iter().position(|&n| n > 0) {
        Some(stuck) => refuse(format!("{} waits for itself", super::title(&graph.nodes[stuck]))),
        None => Ok(order),
    }
}

/// Leaves of the nodes in order only those that some output depends on; tells of every input whether one does. What a file has beside
/// them, left by whoever wrote it, is not run, and need not be known.
pub(super) fn leading_to_outputs(
    graph: &Graph,
    order: &mut Vec<usize>,
    allowance: &Allowance,
) -> Result<Vec<bool>, FormatError> {
    let read: usize = order.iter().map(|&id| graph.nodes[id].inputs.len()).sum();
    let given = graph.inputs.len() + graph.initialisers.len();
    let given = given + graph.nodes.iter().map(|node| node.outputs.len()).sum::<usize>();
    // And the empty one, of inputs that are left out.
    let names = read.min(given + 1) + graph.outputs.len();
    let lent = allowance.lend::<u8>(table::<&str>(names));
    let _lent = lent.map_err(|why| FormatError::OnnxFile(format!("finding the nodes that it needs {why}")))?;
    let mut needed = HashSet::with_capacity(names);
    needed.extend(graph.outputs.iter().map(|info| info.name.as_str()));
    let mut left = Vec::with_capacity(order.len());
    for &id in order.iter().rev() {
        let node = &graph.nodes[id];
        if node.outputs.iter().any(|name| !name.is_empty() && needed.contains(name.as_str())) {
            // What a graph within it reads is not known. It is refused, and all that is beside it is to be told as well.
            if node.attributes.iter().any(|a| matches!(a.value, Value::Other(_))) {
                return Ok(vec![true; graph.inputs.len()]);
            }
            needed.extend(node.inputs.iter().map(String::as_str));
            left.push(id);
        }
    }
    left.reverse();
    *order = left;
    Ok(graph.inputs.iter().map(|info| needed.contains(info.name.as_str())).collect())
}

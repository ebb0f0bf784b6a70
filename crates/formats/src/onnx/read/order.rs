//! Nodes in an order in which every one follows those it reads.

use std::collections::HashMap;

use super::messages::Graph;
use crate::error::FormatError;
use crate::text::shown;

/// The nodes' places in such an order: that of the file, as far as it is one.
///
/// # Errors
/// If two nodes give values of one name, a node reads a value that there is not, or nodes wait for each other.
pub(super) fn order(graph: &Graph) -> Result<Vec<usize>, FormatError> {
    let refuse = |why: String| Err(FormatError::OnnxFile(why));
    let mut made_by: HashMap<&str, Option<usize>> = HashMap::new();
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

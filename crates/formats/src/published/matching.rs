//! How the tensors of another library's file and the parameters of a network belong together. Not here: how that is found.

use std::fmt;

/// How the tensors of a file and the parameters of a network belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The part of the file in which they were looked for; empty for the file's own tensors.
    pub part: String,
    /// Other parts that have as many of them.
    pub other_parts: Vec<String>,
    /// What the names of the part's tensors begin with before the published ones; mostly nothing.
    pub prefix: String,
    /// Parameters that were found, in the network's order.
    pub matched: Vec<String>,
    /// Parameters that were not.
    pub missing: Vec<String>,
    /// Parameters that were found, but cannot be taken, and why.
    pub unfit: Vec<(String, String)>,
    /// Tensors of the part that belong to no parameter, PyTorch's counters of batches not counted, by their names in the file.
    pub left_over: Vec<String>,
}

impl Matching {
    /// Whether every parameter was found as it should be.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unfit.is_empty()
    }

    /// Takes back that a parameter can be taken: the one that was matched in that place before any was refused.
    pub(super) fn refuse(&mut self, place: usize, why: &str) {
        let name = self.matched.remove(place - self.unfit.len());
        self.unfit.push((name, why.into()));
    }
}

/// What does not match; of long lists the beginning.
impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.iter().map(|name| format!("{name} is missing"));
        let wrong: Vec<String> = missing.chain(self.unfit.iter().map(|(name, why)| format!("{name} {why}"))).collect();
        write!(
            f,
            "the tensors are not those of this network: {} of {} do not match ({})",
            wrong.len(),
            wrong.len() + self.matched.len(),
            beginning(&wrong)
        )?;
        if !self.left_over.is_empty() {
            write!(f, "; left over: {}", beginning(&self.left_over))?;
        }
        f.write_str("; is it the right network and number of classes?")
    }
}

fn beginning(names: &[String]) -> String {
    let more = names.len().saturating_sub(5);
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

//! Everything a run needs to go on, as it stands in a checkpoint's file.

use std::collections::BTreeMap;

use cspnet_engine::UpdateState;
use cspnet_formats::{FormatError, StateFile};
use cspnet_graph::{Graph, Weights};

use crate::state::State;

/// Everything a run needs to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub(crate) state: State,
    /// The weights that steps change.
    pub(crate) weights: Weights,
    /// What steps remember of the steps before.
    pub(crate) momentum: UpdateState,
    /// The moving average of the weights and running statistics, which is what is kept in the end.
    pub(crate) average: Weights,
}

/// What a tensor of a checkpoint belongs to, as its name begins.
const PARTS: [&str; 4] = ["weights", "momentum", "square", "average"];

impl Checkpoint {
    /// The beginning of a run from nothing.
    pub fn start(graph: &Graph, seed: u64) -> Self {
        Self::start_with(graph, Weights::published(graph, seed))
    }

    /// The beginning of a run from weights of its network.
    pub(crate) fn start_with(graph: &Graph, weights: Weights) -> Self {
        let trained = |p: &cspnet_graph::Param| if p.role.is_trained() { p.len() } else { 0 };
        let momentum = UpdateState {
            momentum: graph.params().iter().map(|p| vec![0.0; trained(p)]).collect(),
            square: vec![Vec::new(); graph.params().len()],
        };
        Self { state: State::default(), average: weights.clone(), momentum, weights }
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn to_file(&self, graph: &Graph) -> Result<StateFile, FormatError> {
        let text = serde_json::to_string(&self.state).map_err(|e| FormatError::Manifest(e.to_string()))?;
        let UpdateState { momentum, square } = &self.momentum;
        let lists = [self.weights.tensors(), momentum, square, self.average.tensors()];
        let mut tensors = BTreeMap::new();
        for (part, list) in PARTS.into_iter().zip(lists) {
            let named = graph.params().iter().zip(list).map(|(p, numbers)| (tensor(part, &p.name), numbers.clone()));
            tensors.extend(named);
        }
        Ok(StateFile { text, tensors })
    }

    pub(crate) fn from_file(mut file: StateFile, graph: &Graph) -> Result<Self, FormatError> {
        let state: State = serde_json::from_str(&file.text).map_err(|e| FormatError::Manifest(e.to_string()))?;
        state.check().map_err(|why| FormatError::Manifest(format!("it speaks of {why}")))?;
        let mut list = |part: &str| {
            let numbers = graph.params().iter().map(|p| {
                let name = tensor(part, &p.name);
                file.tensors.remove(&name).ok_or_else(|| FormatError::Tensors(format!("{name} is missing")))
            });
            numbers.collect::<Result<Vec<_>, _>>()
        };
        let [weights, momentum, square, average] = PARTS.map(&mut list);
        let (momentum, square) = (momentum?, square?);
        for (param, (momentum, square)) in graph.params().iter().zip(momentum.iter().zip(&square)) {
            let expected = if param.role.is_trained() { param.len() } else { 0 };
            if momentum.len() != expected || ![0, expected].contains(&square.len()) {
                return Err(FormatError::Tensors(format!("{} has another momentum", param.name)));
            }
        }
        Ok(Self {
            state,
            weights: Weights::new(graph, weights?)?,
            momentum: UpdateState { momentum, square },
            average: Weights::new(graph, average?)?,
        })
    }
}

fn tensor(part: &str, param: &str) -> String {
    format!("{part}/{param}")
}

#[cfg(test)]
mod tests {
    use cspnet_graph::{Builder, Conv};

    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_fits_its_network_only() {
        let network = |channels| {
            let mut b = Builder::new();
            let x = b.input(3);
            let x = b.conv("conv", x, Conv::new(channels, 3));
            let x = b.batch_norm("norm", x);
            b.finish(x).unwrap()
        };
        let mut checkpoint = Checkpoint::start(&network(4), 3);
        checkpoint.momentum.momentum[0][5] = 0.1 + 0.2;
        checkpoint.momentum.square[0] = vec![0.7; 4 * 3 * 9];
        checkpoint.state.seen.loss = 0.1 + 0.2;
        let file = checkpoint.to_file(&network(4)).unwrap();
        assert_eq!(Checkpoint::from_file(file.clone(), &network(4)).unwrap(), checkpoint);
        assert!(Checkpoint::from_file(file.clone(), &network(5)).is_err());
        let mut without = file;
        without.tensors.remove("average/norm.running_var");
        let error = Checkpoint::from_file(without, &network(4)).unwrap_err().to_string();
        assert!(error.contains("average/norm.running_var"), "{error}");
    }
}

//! The network as it learns: with dropout where the recipe asks for some.

use cspnet_graph::rewrite::{with_drop_path, with_dropout, with_layer_dropout};
use cspnet_graph::{Graph, GraphError};

use crate::error::TrainError;
use crate::recipe::Recipe;

/// `graph` with the dropout of a recipe; parameters and their order stay.
///
/// # Errors
/// If the network has no place for what is asked for.
pub(crate) fn with_drops(graph: &Graph, recipe: &Recipe) -> Result<Graph, TrainError> {
    type Rewrite = fn(&Graph, f64) -> Result<(Graph, usize), GraphError>;
    let asked: [(&'static str, f64, Rewrite, &'static str); 3] = [
        ("drop-path", recipe.drop_path, with_drop_path, "left out for a network without residual units"),
        ("proj-drop", recipe.proj_drop, with_layer_dropout, "left out for a network without dense layers"),
        ("drop", recipe.drop, with_dropout, "left out for a network without a fully connected layer"),
    ];
    let asked = asked.into_iter().filter(|(_, rate, ..)| *rate > 0.0);
    asked.into_iter().try_fold(graph.clone(), |graph, (field, rate, rewrite, rule)| match rewrite(&graph, rate)? {
        (_, 0) => Err(TrainError::Recipe { field, rule }),
        (graph, _) => Ok(graph),
    })
}

#[cfg(test)]
mod tests {
    use cspnet_graph::{Builder, Op};

    use super::*;

    #[test]
    fn what_a_network_has_no_place_for_is_refused() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, 2);
        let graph = b.finish(x).unwrap();
        let with = |recipe| with_drops(&graph, &recipe);
        assert_eq!(with(Recipe::default()).unwrap(), graph);
        let dropped = with(Recipe { drop: 0.2, ..Recipe::default() }).unwrap();
        assert!(dropped.nodes().iter().any(|n| matches!(n.op, Op::Drop { .. })));
        let error = with(Recipe { drop_path: 0.2, ..Recipe::default() }).unwrap_err().to_string();
        assert!(error.contains("--drop-path") && error.contains("residual"), "{error}");
        assert!(with(Recipe { proj_drop: 0.2, ..Recipe::default() }).is_err());
    }
}

//! Fine-tuning: the model that a run begins from, and what of its network the run changes.
//!
//! Not here: which tensors are taken (`cspnet_train::start_from`).

use std::path::PathBuf;

use cspnet::formats::ModelFile;
use cspnet::graph::Graph;
use cspnet::vision::Preprocess;
use cspnet::zoo::Spec;
use cspnet_train::{Checkpoint, Freeze, Loaded, Origin, Recipe, RunFolder, start_from};
use serde_json::json;

use crate::failure::Failure;
use crate::running::{NAMED, say};
use crate::source;

/// Where a run begins, and what of the network it changes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Fine-tuning")]
pub struct FineTuning {
    /// Begin from a model file, or, without a value, from the program's own model. Network and preprocessing are the model's unless
    /// asked for otherwise; tensors of the same name and shape are taken. The classifier is taken if the model knows all classes by
    /// name, row by row where their order or number differs; else it begins anew
    #[arg(long, value_name = "MODEL")]
    from: Option<Option<PathBuf>>,

    /// Begin even if fewer than half of the network's tensors are in the model
    #[arg(long)]
    allow_partial: bool,

    /// Keep everything up to and including this stage as it is, parameters and running statistics, such as `stages.1`,
    /// `features.denseblock2` or `layer2`; begins from the program's own model without --from
    #[arg(long, value_name = "STAGE")]
    freeze_to: Option<String>,

    /// Multiply the learning rate by FACTOR for every stage that is further from the classifier (arXiv:2003.10555,
    /// arXiv:2106.08254), 0.75 for instance
    #[arg(long, value_name = "FACTOR")]
    layer_decay: Option<f64>,

    /// Train the classifier alone: what the rest makes of each photo, as evaluation sees it and, unless --hflip is 0, of its mirror
    /// image, is computed once and kept in memory; `cspnet resume` computes it again. Photos do not vary otherwise and are not mixed.
    /// Begins from the program's own model without --from
    #[arg(long, conflicts_with_all = NOT_WITH_FEATURES)]
    head_only: bool,
}

/// Flags that vary photos, or what is not trained.
const NOT_WITH_FEATURES: [&str; 19] = [
    "freeze_to",
    "layer_decay",
    "drop_path",
    "proj_drop",
    "train_size",
    "mixup",
    "cutmix",
    "mixup_prob",
    "mixup_switch_prob",
    "mixup_off_epoch",
    "scale",
    "ratio",
    "crop_padding",
    "crop_padding_mode",
    "color_jitter",
    "aa",
    "reprob",
    "remode",
    "recount",
];

/// The model that a run begins from.
pub struct Base {
    file: ModelFile,
    origin: Origin,
}

impl FineTuning {
    /// Whether there is a model to begin from: a stem that is whitened may be frozen without.
    fn has_base(&self, whitens_stem: bool) -> bool {
        self.from.is_some() || self.head_only || (self.freeze_to.is_some() && !whitens_stem)
    }

    /// Whether more than the classifier goes on from a model.
    pub fn tunes(&self, whitens_stem: bool) -> bool {
        self.has_base(whitens_stem) && !self.head_only
    }

    /// The model to begin from, if there is one.
    pub fn base(&self, recipe: &Recipe) -> Result<Option<Base>, Failure> {
        if !self.has_base(recipe.whiten_stem) {
            return Ok(None);
        }
        let path = self.from.iter().flatten().next();
        let file = source::model_file(path.map(PathBuf::as_path))?;
        let path = path.map(|p| p.canonicalize().unwrap_or_else(|_| p.clone()));
        let origin = Origin { path, hash: file.hash()? };
        Ok(Some(Base { file, origin }))
    }

    /// A recipe as far as it goes together with what is asked for here.
    pub fn applied_to(&self, recipe: Recipe) -> Recipe {
        let freeze = self.freeze_to.clone().map(Freeze::To);
        let recipe = Recipe { freeze, layer_decay: self.layer_decay, ..recipe };
        if self.head_only { recipe.for_features() } else { recipe }
    }

    /// Where a run begins, and what is told of it.
    pub fn start(
        &self,
        base: Option<&Base>,
        graph: &Graph,
        classes: &[String],
        recipe: &Recipe,
    ) -> Result<(Checkpoint, Option<Loaded>), Failure> {
        let Some(base) = base else { return Ok((Checkpoint::start(graph, recipe.seed), None)) };
        let (start, loaded) = start_from(graph, classes, &base.file, recipe, self.allow_partial)
            .map_err(|e| Failure::Message(format!("{}: {e}", base.name())))?;
        say(&format!("begins from {}: {}", base.name(), told(&loaded)));
        Ok((start, Some(loaded)))
    }
}

impl Base {
    fn name(&self) -> String {
        self.origin.path.as_ref().map_or_else(|| "the program's own model".into(), |path| path.display().to_string())
    }

    /// The model, as a run's configuration names it.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The model's network, of which the program must know how it is made: runs are continued by its name.
    pub fn network(&self) -> Result<Spec, Failure> {
        let manifest = &self.file.manifest;
        let (name, classes) = (&manifest.network, manifest.graph.channels(manifest.graph.output()));
        let spec = name.parse::<Spec>().ok().and_then(|spec| spec.with_classes(classes).ok());
        let spec = spec.filter(|spec| spec.build().is_ok_and(|graph| graph == manifest.graph));
        spec.ok_or_else(|| {
            let model = self.name();
            Failure::Message(format!(
                "{model}: its network `{name}` is none that this program makes; say with --network which it should be"
            ))
        })
    }

    /// How photos are brought to the model's network, if it takes photos.
    pub fn preprocess(&self) -> Option<&Preprocess> {
        self.file.manifest.preprocess.as_ref()
    }

    /// The licence of its weights.
    pub fn licence(&self) -> Option<&String> {
        self.file.manifest.licence.as_ref()
    }

    /// Notes in a run's events what was taken.
    pub fn note(&self, folder: &RunFolder, loaded: Option<&Loaded>) -> Result<(), Failure> {
        Ok(folder.event("begun_from", &json!({ "model": self.origin, "tensors": loaded }))?)
    }
}

/// What became of the network's tensors, in a line.
fn told(loaded: &Loaded) -> String {
    let all = loaded.loaded.len() + loaded.reinitialised.len();
    let mut line = format!("loaded {} of {all} tensors", loaded.loaded.len());
    let lists = [
        ("put into the order of the classes", &loaded.reordered),
        ("re-initialised", &loaded.reinitialised),
        ("left over", &loaded.left_over),
    ];
    for (what, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
        line += &format!("; {what}: {}", named(names));
    }
    if loaded.frozen > 0 {
        line += &format!("; {} of them stay as they are", loaded.frozen);
    }
    line
}

fn named(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    if names.len() > NAMED { format!("{shown} and {} more", names.len() - NAMED) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_told_in_a_line() {
        let names = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
        let loaded = Loaded { loaded: names(120), reinitialised: names(2), ..Loaded::default() };
        assert_eq!(told(&loaded), "loaded 120 of 122 tensors; re-initialised: t0, t1");
        let all =
            Loaded { loaded: names(3), reordered: names(1), left_over: names(12), frozen: 2, ..Loaded::default() };
        let told = told(&all);
        assert!(
            told.starts_with("loaded 3 of 3 tensors; put into the order of the classes: t0; left over: t0"),
            "{told}"
        );
        assert!(told.ends_with("t9 and 2 more; 2 of them stay as they are"), "{told}");
    }
}

//! How a model is made ready, and where what was measured for that is kept.

use std::fmt;
use std::path::{Path, PathBuf};

use cspnet_engine::{Algorithm, Choices, Plan, PlanError, PlanOptions, cpu};
use cspnet_formats::{ChoicesFile, Circumstances, FormatError};
use cspnet_graph::{Graph, InputShapes, LazyWeights};

/// How a model is made ready.
#[derive(Debug, Default)]
pub struct ModelOptions {
    /// How its plan is made; `tune` is taken from the cache if there is one.
    pub plan: PlanOptions,
    /// Where choices of algorithms that were measured are kept. With this they are measured if they are not there, which takes
    /// seconds.
    pub tune: Option<TuneCache>,
}

impl ModelOptions {
    /// A plan made this way; see [`Plan::new`].
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn plan<'a>(
        &self,
        graph: &Graph,
        weights: impl Into<LazyWeights<'a>>,
        inputs: impl Into<InputShapes>,
    ) -> Result<Plan, PlanError> {
        self.with_taps(self.plan.taps.clone(), graph, weights, inputs)
    }

    /// The same for modules of one's own to be seen.
    pub(crate) fn with_taps<'a>(
        &self,
        taps: Vec<String>,
        graph: &Graph,
        weights: impl Into<LazyWeights<'a>>,
        inputs: impl Into<InputShapes>,
    ) -> Result<Plan, PlanError> {
        let options = PlanOptions { taps, ..self.plan.clone() };
        match &self.tune {
            Some(cache) if !options.direct && !options.low_memory => {
                cache.plan(graph, weights.into(), inputs.into(), &options)
            }
            _ => Plan::new(graph, weights, inputs, &options),
        }
    }
}

/// A folder in which choices of algorithms are kept, one file for each CPU, network and size of picture.
///
/// Files that are broken are replaced, and a folder that cannot be written to only means that everything is measured every time:
/// none of that is an error, but it is told.
pub struct TuneCache {
    folder: Option<PathBuf>,
    tell: Box<dyn Fn(&str) + Send + Sync>,
}

impl TuneCache {
    /// The folder `cspnet` among the user's caches: in `$XDG_CACHE_HOME`, else in `~/.cache`.
    ///
    /// What goes wrong is told by `tell`.
    pub fn of_user(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        // The standard of these folders has it that relative paths do not count.
        let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        let caches = given.or_else(|| Some(std::env::home_dir()?.join(".cache")));
        Self { folder: caches.map(|c| c.join("cspnet")), tell: Box::new(tell) }
    }

    /// A folder of one's own; it is made if it is not there.
    pub fn in_folder(folder: impl Into<PathBuf>, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { folder: Some(folder.into()), tell: Box::new(tell) }
    }

    fn plan(
        &self,
        graph: &Graph,
        weights: LazyWeights<'_>,
        inputs: InputShapes,
        options: &PlanOptions,
    ) -> Result<Plan, PlanError> {
        let cpu = cpu::name().unwrap_or_else(|| std::env::consts::ARCH.into());
        let circumstances = Circumstances::new(cpu, options.isa.to_string(), graph, &inputs);
        let path = self.folder.as_ref().map(|f| f.join(circumstances.file_name()));
        let known = path.as_ref().map_or_else(Choices::default, |path| self.known(path, &circumstances));
        let plan = Plan::new(graph, weights, inputs, &PlanOptions { tune: Some(known.clone()), ..options.clone() })?;
        if plan.choices().iter().any(|(name, algorithm)| known.get(name) != Some(algorithm)) {
            self.keep(path.as_deref(), circumstances, plan.choices());
        }
        Ok(plan)
    }

    /// What is kept, as far as it makes sense.
    fn known(&self, path: &Path, circumstances: &Circumstances) -> Choices {
        let choice = |(name, algorithm): (String, String)| Ok((name, algorithm.parse::<Algorithm>()?));
        let known = ChoicesFile::read(path, circumstances).and_then(|file| {
            let choices: Option<Result<Choices, _>> = file.map(|f| f.choices.into_iter().map(choice).collect());
            choices.transpose().map_err(|e: cspnet_engine::NoAlgorithm| FormatError::File {
                path: path.to_owned(),
                source: Box::new(FormatError::Choices(e.to_string())),
            })
        });
        known.map(Option::unwrap_or_default).unwrap_or_else(|error| {
            (self.tell)(&format!("{error}; measured anew"));
            Choices::default()
        })
    }

    fn keep(&self, path: Option<&Path>, circumstances: Circumstances, choices: &Choices) {
        let Some(path) = path else {
            return (self.tell)("there is no folder for caches, so what was measured is not kept; set XDG_CACHE_HOME");
        };
        let choices = choices.iter().map(|(name, algorithm)| (name.to_owned(), algorithm.to_string())).collect();
        let folder = path.parent().unwrap_or(Path::new("."));
        let made = std::fs::create_dir_all(folder).map_err(|source| FormatError::Io {
            path: folder.to_owned(),
            what: "made",
            source,
        });
        if let Err(error) = made.and_then(|()| ChoicesFile { circumstances, choices }.write(path)) {
            (self.tell)(&format!("what was measured is not kept: {error}"));
        }
    }
}

impl fmt::Debug for TuneCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TuneCache").field("folder", &self.folder).finish_non_exhaustive()
    }
}

//! Several steps from one file: train or load a network, prune it, fine-tune it, distil it, make it
//! slim, quantize it, evaluate it.
//!
//! The file is called a recipe and is TOML. `examples/recipe.toml` is one:
//!
//! ```toml
#![doc = include_str!("../../examples/recipe.toml")]
//! ```
//!
//! At the top: `data`, `seed` (0) and `output`, the folder for the networks (by default a folder
//! called like the recipe, without its ending). Paths are relative to the folder of the recipe.
//! Steps may have a `data` and a `seed` of their own.
//!
//! A step says what it does with `do`, may have a `name`, and works on the network that the step
//! before gives, or that the step gives which it names with `from`. The network that it gives is
//! `OUTPUT/NAME.safetensors`, with a description of its layers in the metadata, and is judged by the
//! test rows of its data. Keys are called like the options of the command line:
//!
//! | `do` | needs | takes |
//! |---|---|---|
//! | `load` | `model` | `activations` |
//! | `train` | `hidden`, or `init` with a step or a model to begin with | `activation` (relu), `initializer` (glorot-uniform), training |
//! | `finetune` | | training (3 epochs), `schedule`, `scope`, `sparsity` by layer, `exclude` (layers), `nm`, `quantize` with scheme, `format` |
//! | `distill` | `hidden` | `teacher` (the network before; a step or a model), `temperature` (2), `alpha` (0.9), `baseline` (false), `activation`, `initializer`, training |
//! | `slim` | `keep-neurons` | |
//! | `prune` | one of `sparsity`, `threshold`, `threshold-ratio`, `nm`, `format` | `scope` (per-tensor or global), `include`, `exclude` |
//! | `quantize` | `to` (int8, int4, int2) | scheme, `format`, `include`, `exclude` |
//! | `evaluate` | | `split` (test), `batch-size` (256) |
//!
//! Training is `loss`, `optimizer` with `weight-decay` or with `momentum` and `nesterov`,
//! `learning-rate`, `decay`, `batch-size`, `epochs` (10), `steps`, `limit`, `dropout`, `l2`,
//! `validation-split`, `patience`, `shuffle` ([`crate::nn::train::TrainingOptions`] has the
//! defaults), `data` and `seed`. A scheme is `granularity`, `group-size`, `asymmetric`,
//! `narrow-range`, `scale` and `match` ([`crate::scheme::SchemeChoice`]), and `on-indivisible`.
//!
//! Everything is checked before anything is done: every key and value, with its line; that there is
//! a network and data where a step needs them; and that no step wants dense weights where one
//! before it stores codes. [`Pipeline::run`] then does what is not done.

mod chain;
mod data;
mod fields;
mod files;
mod job;
mod outcome;
mod perform;
mod plan;
mod read;
mod read_compression;
mod read_training;
mod record;
mod run;
mod step;
mod storage;
#[cfg(test)]
mod tests;

pub use files::{Files, Resume};
pub use job::{Data, Given, Job, JobProgress, JobWatch, Trained};
pub use outcome::{Figures, Outcome, Report, Score, StepReport, TrainingOutcome};
pub use plan::PlannedStep;
pub use record::Status;
pub use run::{Event, Following, Watch};
pub use step::{
    Action, Beginning, Distill, Evaluate, FineTune, Kind, NewNetwork, Source, Step, Train,
};

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What a recipe says: steps, in their order.
///
/// ```
/// use tensorpress::pipeline::Pipeline;
/// let pipeline = Pipeline::open("examples/recipe.toml".as_ref(), &Default::default())?;
/// pipeline.check_files()?;
/// println!("{pipeline}");
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Folder for the networks that the steps give.
    pub output: PathBuf,
    /// In their order.
    pub steps: Vec<Step>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What takes the place of what a recipe says at its top.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Data of the steps that have none of their own.
    pub data: Option<PathBuf>,
    /// Folder for the networks.
    pub output: Option<PathBuf>,
    /// Seed of the steps that have none of their own.
    pub seed: Option<u64>,
}

impl Pipeline {
    /// Reads a recipe from a file and checks it. No other file is read.
    ///
    /// # Errors
    /// [`Error::Input`], or [`crate::error::PipelineProblem`] with line and column.
    pub fn open(path: &Path, overrides: &Overrides) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Input { path: path.to_owned(), source })?;
        Self::parse(&text, path, overrides).map_err(|error| error.in_file(path))
    }

    /// The recipe `text`, as if it stood in a file at `path`.
    ///
    /// # Errors
    /// [`crate::error::PipelineProblem`] with line and column.
    pub fn parse(text: &str, path: &Path, overrides: &Overrides) -> Result<Self> {
        read::pipeline(text, path, overrides)
    }

    /// Fails unless every file and folder is there that the steps read and no step gives.
    ///
    /// # Errors
    /// [`Error::Input`] for the first that is not.
    pub fn check_files(&self) -> Result<()> {
        for path in self.steps.iter().flat_map(Step::reads) {
            std::fs::metadata(path)
                .map_err(|source| Error::Input { path: path.to_owned(), source })?;
        }
        Ok(())
    }
}

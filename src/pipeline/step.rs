//! What a step is.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compress::Recipe;
use crate::io::Split;
use crate::nn::train::TrainingOptions;
use crate::nn::{Init, PruningSchedule};
use crate::scheme::{Activation, QuantScheme};

/// What a step does, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Takes a network from a file.
    Load,
    /// Trains a new one.
    Train,
    /// Trains one further, and leaves zeros zeros.
    Finetune,
    /// Trains a new one to answer like another.
    #[serde(alias = "distil")]
    Distill,
    /// Removes neurons.
    Slim,
    /// Sets weights to zero.
    Prune,
    /// Rounds weights to codes.
    Quantize,
    /// Measures.
    Evaluate,
}

/// A step of a pipeline.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its own name, unlike those of the others.
    pub name: String,
    /// What it does, by name.
    pub kind: Kind,
    /// What it does.
    pub action: Action,
    /// Number of the step whose network it works on, from 0; `None` where it makes a new one.
    pub from: Option<usize>,
    /// Where its network is written; `None` where it makes none.
    pub output: Option<PathBuf>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Takes a network from a file or directory, dense or compressed.
    Load {
        /// The model.
        model: PathBuf,
    },
    /// Trains a new network.
    Train(Train),
    /// Trains a network further; zeros stay zeros.
    FineTune(FineTune),
    /// Trains a new network to answer like another.
    Distill(Distill),
    /// Removes neurons, sets weights to zero or rounds them.
    Compress(Recipe),
    /// Measures how well a network classifies.
    Evaluate(Evaluate),
}

/// A network that is yet to be made. Inputs and classes are those of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Student {
    /// Neurons of each hidden layer; none for a single layer.
    pub hidden: Vec<usize>,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// How first weights are drawn.
    pub init: Init,
}

/// How a new network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// What is trained.
    pub network: Student,
    /// What it learns from.
    pub data: PathBuf,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// How.
    pub options: TrainingOptions,
}

/// How a network is trained further.
#[derive(Clone, Debug)]
pub struct FineTune {
    /// What it learns from.
    pub data: PathBuf,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// How.
    pub options: TrainingOptions,
    /// Prunes meanwhile.
    pub schedule: Option<PruningSchedule>,
    /// Whether the sparsity of the schedule is that of all weights together.
    pub global: bool,
    /// Weights that the schedule leaves alone.
    pub exclude: Vec<regex::Regex>,
    /// Computes with weights rounded to this scheme, so that they bear it later.
    pub quantize: Option<QuantScheme>,
}

/// How a new network learns from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Distill {
    /// Whom it learns from.
    pub teacher: Teacher,
    /// How it is trained.
    pub student: Train,
    /// What logits are divided by before the softmax.
    pub temperature: f64,
    /// Weight of the teacher's answers in the loss, from 0 to 1; the labels have the rest.
    pub alpha: f64,
    /// Whether the same student is also trained on labels alone, to compare.
    pub baseline: bool,
}

/// Whom a student learns from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Teacher {
    /// The network of this step.
    Step(usize),
    /// A model in a file or directory.
    Model(PathBuf),
}

/// How a network is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluate {
    /// What it is judged by.
    pub data: PathBuf,
    /// Which part of it.
    pub split: Split,
    /// Rows computed at once.
    pub batch_size: usize,
}

impl Step {
    /// Files and folders that it reads and no step writes.
    pub(super) fn reads(&self) -> impl Iterator<Item = &Path> {
        let paths: [Option<&PathBuf>; 2] = match &self.action {
            Action::Load { model } => [Some(model), None],
            Action::Train(train) => [Some(&train.data), None],
            Action::FineTune(tuning) => [Some(&tuning.data), None],
            Action::Distill(distill) => match &distill.teacher {
                Teacher::Model(model) => [Some(&distill.student.data), Some(model)],
                Teacher::Step(_) => [Some(&distill.student.data), None],
            },
            Action::Evaluate(evaluate) => [Some(&evaluate.data), None],
            Action::Compress(_) => [None, None],
        };
        paths.into_iter().flatten().map(PathBuf::as_path)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load",
            Self::Train => "train",
            Self::Finetune => "finetune",
            Self::Distill => "distill",
            Self::Slim => "slim",
            Self::Prune => "prune",
            Self::Quantize => "quantize",
            Self::Evaluate => "evaluate",
        })
    }
}

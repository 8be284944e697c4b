//! What a step is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compress::{Format, Recipe};
use crate::error::{Result, UsageError};
use crate::io::Split;
use crate::nn::Init;
use crate::nn::train::{Loss, TrainingOptions};
use crate::scheme::Activation;

/// What a step does, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Takes a network from a file.
    Load,
    /// Trains one.
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
    /// What it learns from and is judged by, where there is any.
    pub data: Option<PathBuf>,
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
        /// In place of those that are described or inferred, as for [`crate::nn::Network::read`].
        activations: Option<Vec<Activation>>,
    },
    /// Trains a network.
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
pub struct NewNetwork {
    /// Neurons of each hidden layer; none for a single layer.
    pub hidden: Vec<usize>,
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// How first weights are drawn.
    pub initializer: Init,
}

/// How a network is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Train {
    /// What it is before.
    pub beginning: Beginning,
    /// How.
    pub options: TrainingOptions,
}

/// What a training begins with.
#[derive(Clone, Debug, PartialEq)]
pub enum Beginning {
    /// A new network.
    New(NewNetwork),
    /// One that is there, with its weights.
    Given(Source),
}

/// How a network is trained further.
#[derive(Clone, Debug, PartialEq)]
pub struct FineTune {
    /// How; zeros stay zeros whatever they say of it.
    pub options: TrainingOptions,
    /// How it is stored; by default compressed-tensors where weights are rounded, else dense.
    pub format: Option<Format>,
}

/// How a new network learns from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Distill {
    /// Whom it learns from.
    pub teacher: Source,
    /// What learns.
    pub network: NewNetwork,
    /// How it is trained.
    pub options: TrainingOptions,
    /// What logits are divided by before the softmax.
    pub temperature: f32,
    /// Weight of the teacher's answers in the loss, from 0 to 1; the labels have the rest.
    pub alpha: f32,
    /// Whether the same student is also trained on labels alone, to compare.
    pub baseline: bool,
}

/// Where a network comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The step of this number, from 0.
    Step(usize),
    /// A model in a file or directory.
    Model(PathBuf),
}

/// How a network is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluate {
    /// By which part of the data.
    pub split: Split,
    /// Rows computed at once.
    pub batch_size: usize,
}

impl FineTune {
    /// Epochs where nothing else is asked for.
    pub const EPOCHS: u64 = 3;
}

impl Distill {
    /// The temperature where nothing else is asked for.
    pub const TEMPERATURE: f32 = 2.0;
    /// The weight of the teacher where nothing else is asked for.
    pub const ALPHA: f32 = 0.9;

    /// Checks the ranges of temperature and alpha, and that nothing else is to be made small.
    ///
    /// # Errors
    /// [`UsageError::OutOfRange`] or [`UsageError::Conflict`].
    pub fn check(&self) -> Result<()> {
        let refuse = |what, value: f32, expected| {
            Err(UsageError::OutOfRange { what, value: value.to_string(), expected }.into())
        };
        if !(0.01..=1000.0).contains(&self.temperature) {
            return refuse("--temperature", self.temperature, "from 0.01 to 1000");
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return refuse("--alpha", self.alpha, "from 0 to 1");
        }
        if self.options.loss != Loss::default() {
            return Err(UsageError::Conflict {
                first: "--loss",
                second: "a teacher",
                advice: "leave it out: a student learns by cross-entropy and its teacher's answers",
            }
            .into());
        }
        Ok(())
    }
}

impl Step {
    /// The network beside the one that it works on: its teacher, or what it begins with.
    pub(super) fn source(&self) -> Option<&Source> {
        match &self.action {
            Action::Distill(distill) => Some(&distill.teacher),
            Action::Train(Train { beginning: Beginning::Given(source), .. }) => Some(source),
            _ => None,
        }
    }

    /// Numbers of the steps whose networks it works with.
    pub(super) fn inputs(&self) -> Vec<usize> {
        let source = match self.source() {
            Some(Source::Step(number)) => Some(*number),
            _ => None,
        };
        self.from.into_iter().chain(source).collect()
    }

    /// Whether it learns from its data.
    pub(super) fn trains(&self) -> bool {
        self.options().is_some()
    }

    /// Its options by name, all that what comes of it depends on but data and networks.
    pub(super) fn described(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut put = |name: &str, value: &dyn ToString| {
            all.insert(name.to_owned(), value.to_string());
        };
        put("kind of step", &self.kind);
        let network = match &self.action {
            Action::Train(Train { beginning: Beginning::New(network), .. }) => Some(network),
            Action::Distill(distill) => Some(&distill.network),
            _ => None,
        };
        if let Some(NewNetwork { hidden, activation, initializer }) = network {
            put("hidden layers", &format!("{hidden:?}"));
            put("activation", activation);
            put("initializer", initializer);
        }
        match &self.action {
            Action::Load { activations, .. } => put("activations", &format!("{activations:?}")),
            Action::Train(_) => {}
            Action::FineTune(FineTune { format, .. }) => {
                put("format", &format.map_or("by default", Format::name));
            }
            Action::Distill(Distill { temperature, alpha, baseline, .. }) => {
                put("temperature", temperature);
                put("alpha", alpha);
                put("baseline", baseline);
            }
            Action::Compress(recipe) => put("compression", recipe),
            Action::Evaluate(Evaluate { split, batch_size }) => {
                put("split", split);
                put("batch size", batch_size);
            }
        }
        all.extend(self.options().into_iter().flat_map(TrainingOptions::described));
        all
    }

    /// How it trains, where it does.
    pub(super) fn options(&self) -> Option<&TrainingOptions> {
        match &self.action {
            Action::Train(Train { options, .. })
            | Action::FineTune(FineTune { options, .. })
            | Action::Distill(Distill { options, .. }) => Some(options),
            _ => None,
        }
    }

    /// Files and folders that it reads and no step writes.
    pub(super) fn reads(&self) -> impl Iterator<Item = &Path> {
        let model = match (&self.action, self.source()) {
            (Action::Load { model, .. }, _) | (_, Some(Source::Model(model))) => Some(model),
            _ => None,
        };
        [self.data.as_ref(), model].into_iter().flatten().map(PathBuf::as_path)
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

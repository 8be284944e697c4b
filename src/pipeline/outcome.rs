//! What steps come to.

use serde::{Deserialize, Serialize};

use super::job::Trained;
use super::plan::PlannedStep;
use super::record::Status;
use crate::compress::{Execution, inspect};
use crate::error::Result;
use crate::io::Model;
use crate::nn::train::Ended;
use crate::nn::{EpochRecord, Evaluation, Network};
use crate::ops::Backend;

/// What a recipe came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema_version: u32,
    /// The folder of the networks.
    pub output: String,
    /// Where it was computed.
    pub device: String,
    /// Each step.
    pub steps: Vec<StepReport>,
}

/// What a step came to.
#[derive(Clone, Debug, Serialize)]
pub struct StepReport {
    /// What it does.
    #[serde(flatten)]
    pub planned: PlannedStep,
    /// Whether it was done this time, and why.
    pub status: Status,
    /// How many times smaller the files of its network are than the tensors of the first network
    /// of the recipe, dense.
    pub times_smaller: Option<f64>,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Wall-clock time, in seconds.
    pub seconds: f64,
    /// Where it was computed.
    pub device: String,
    /// Its network; `None` of a step that only measures.
    pub network: Option<Figures>,
    /// How its network does on the test rows, where there are some.
    pub test: Option<Score>,
    /// The same of the student that learnt from labels alone.
    pub baseline: Option<Score>,
    /// How it was trained, where it was.
    pub training: Option<TrainingOutcome>,
}

/// A network in figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Its layers, a line each.
    pub layers: String,
    /// Weights, biases not counted.
    pub weights: u64,
    /// Share of zeros among them, as they are stored.
    pub sparsity: f64,
    /// Bits that one takes, scales and masks included.
    pub bits_per_weight: f64,
    /// Bytes of its files, headers included.
    pub bytes: u64,
    /// Bytes that its tensors take as dense ones.
    pub dense_bytes: u64,
}

/// How a network does on labelled data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Score {
    /// Rows.
    pub rows: u64,
    /// Those that are classified right.
    pub correct: u64,
    /// Their share.
    pub accuracy: f64,
    /// Mean of −ln p(label), natural logarithm.
    pub cross_entropy: f64,
}

/// How a training went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrainingOutcome {
    /// Whether it ended early.
    pub stopped_early: bool,
    /// Each epoch.
    pub epochs: Vec<EpochRecord>,
}

impl From<&Evaluation> for Score {
    fn from(evaluation: &Evaluation) -> Self {
        let Evaluation { rows, correct, accuracy, cross_entropy, .. } = *evaluation;
        Self { rows, correct, accuracy, cross_entropy }
    }
}

impl From<&Trained> for TrainingOutcome {
    fn from(trained: &Trained) -> Self {
        let stopped_early = matches!(trained.ended, Ended::Early { .. });
        Self { stopped_early, epochs: trained.history.epochs.clone() }
    }
}

impl Figures {
    /// Those of `network`, which `model` holds. All its weights are read.
    pub(super) fn of(model: &Model, network: &Network) -> Result<Self> {
        let inspection = inspect(model, true, &Execution::new(&Backend::Cpu))?;
        let (mut weights, mut zeros, mut bytes) = (0, 0.0, 0);
        for tensor in &inspection.tensors {
            if network.layers.iter().any(|layer| layer.weight == tensor.name) {
                let count = tensor.shape.iter().product::<usize>();
                let share = tensor.statistics.as_ref().map_or(0.0, |found| found.sparsity);
                weights += count as u64;
                zeros += share * count as f64;
                bytes += tensor.bytes;
            }
        }
        Ok(Self {
            layers: network.to_string(),
            weights,
            sparsity: zeros / weights.max(1) as f64,
            bits_per_weight: bytes as f64 * 8.0 / weights.max(1) as f64,
            bytes: model.file_bytes(),
            dense_bytes: inspection.dense_bytes,
        })
    }
}

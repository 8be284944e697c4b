//! What a training gave.

use std::path::Path;

use serde::Serialize;

use super::Common;
use super::output::{self, bytes, figure, percent};
use crate::error::Result;
use crate::nn::train::Ended;
use crate::nn::{EpochRecord, Evaluation};
use crate::pipeline::Trained;

/// What a training gave, printed or as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema_version: u32,
    model: String,
    network: String,
    parameters: usize,
    bytes: u64,
    /// "finished" or "stopped early"
    ended: &'static str,
    steps: u64,
    seconds: f64,
    device: String,
    sparsity: f64,
    epochs: Vec<EpochRecord>,
    /// On the test rows, where the data has some.
    test: Option<Evaluation>,
    /// The same of the network that was trained on, before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Evaluation>,
    /// The same of the teacher.
    #[serde(skip_serializing_if = "Option::is_none")]
    teacher: Option<Evaluation>,
    /// The same of the student that learnt from the labels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Evaluation>,
}

impl Report {
    pub(super) fn new(trained: &Trained, model: &Path, device: &str) -> Self {
        let epochs = trained.history.epochs.clone();
        Self {
            schema_version: 1,
            model: model.display().to_string(),
            network: trained.network.to_string(),
            parameters: trained.parameters,
            bytes: std::fs::metadata(model).map_or(0, |file| file.len()),
            ended: match trained.ended {
                Ended::Early { .. } => "stopped early",
                Ended::Finished | Ended::Interrupted => "finished",
            },
            steps: epochs.last().map_or(0, |epoch| epoch.step),
            seconds: trained.earlier_seconds + trained.seconds,
            device: device.to_owned(),
            sparsity: trained.sparsity,
            epochs,
            test: trained.test.clone(),
            before: trained.before.clone(),
            teacher: trained.teacher.clone(),
            baseline: trained.baseline.clone(),
        }
    }

    pub(super) fn print(&self, common: &Common) -> Result<()> {
        if common.json { output::json(self) } else { output::print(&self.text()) }
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.network);
        text += &format!("{} weights and biases, ", self.parameters);
        if self.sparsity > 0.0 {
            text += &format!("{} of the weights zero, ", percent(self.sparsity));
        }
        text += &format!("{}\n", bytes(self.bytes));
        text += &format!(
            "{} after {} steps in {:.1} s on {}\n",
            self.ended, self.steps, self.seconds, self.device
        );
        let rows = [
            ("before", &self.before),
            ("teacher", &self.teacher),
            ("from labels alone", &self.baseline),
            ("test", &self.test),
        ];
        for (name, test) in rows {
            text += &figure(test.as_ref(), |test| {
                format!(
                    "{name} accuracy {:.4} ({} of {}), cross-entropy {:.4}\n",
                    test.accuracy, test.correct, test.rows, test.cross_entropy
                )
            });
        }
        if self.test.is_none() {
            text += "the data has no test rows\n";
        }
        text + &format!("wrote {}\n", self.model)
    }
}

//! How far a training has come.

use indicatif::ProgressBar;

use super::output::{self, figure, percent};
use super::{Common, progress};
use crate::nn::EpochRecord;
use crate::nn::train::Progress;
use crate::pipeline::JobProgress;

/// A progress bar, and a line an epoch.
pub(super) struct Bar<'a> {
    bar: ProgressBar,
    common: &'a Common,
    /// What is being trained; it begins every line.
    name: String,
}

impl<'a> Bar<'a> {
    pub(super) fn new(common: &'a Common, name: &str) -> Self {
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        Self { bar: progress::training(common), common, name }
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows how far it has come; `epochs` says whether each epoch gets a line that stays.
    pub(super) fn show(&self, now: JobProgress<'_>, epochs: bool) {
        match now {
            JobProgress::Resumed { epochs } => {
                self.note(&format!("goes on from its checkpoint, {epochs} epochs are done"));
            }
            JobProgress::Training(now) => self.show_training(now, "", epochs),
            JobProgress::Baseline(now) => self.show_training(now, "labels alone, ", epochs),
        }
    }

    fn show_training(&self, now: Progress<'_>, what: &str, epochs: bool) {
        match now {
            Progress::Steps { epoch, rows, rows_an_epoch, loss, accuracy, steps: (done, all) } => {
                self.bar.set_length(all);
                self.bar.set_position(done);
                let share = percent(rows as f64 / rows_an_epoch as f64);
                self.bar.set_message(format!(
                    "{}{what}epoch {epoch} {share}, loss {loss:.4}, accuracy {}",
                    self.name,
                    percent(accuracy)
                ));
            }
            Progress::Epoch(record) if epochs => {
                self.note(&format!("{what}{}", epoch_line(record)));
            }
            Progress::Epoch(_) => {}
        }
    }

    fn note(&self, text: &str) {
        self.bar.suspend(|| output::note(self.common, &format!("{}{text}", self.name)));
    }
}

fn epoch_line(record: &EpochRecord) -> String {
    let mut line = format!("epoch {:>3}: loss {:.4}", record.epoch, record.loss);
    line += &figure(record.accuracy, |share| format!(", accuracy {share:.4}"));
    line += &figure(record.validation_loss, |loss| format!(", validation loss {loss:.4}"));
    line += &figure(record.validation_accuracy, |share| format!(", accuracy {share:.4}"));
    if record.sparsity > 0.0 {
        line += &format!(", {} zeros", percent(record.sparsity));
    }
    line + &format!(", {:.0} rows/s", record.rows_per_second)
}

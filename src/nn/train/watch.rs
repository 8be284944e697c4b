//! What a training tells while it goes on, and how it ends.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::nn::EpochRecord;

/// What a watcher is told while training goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Some steps are done.
    Steps {
        /// The epoch, from 1.
        epoch: u64,
        /// Rows of it that were seen.
        rows: usize,
        /// Rows that an epoch has.
        rows_an_epoch: usize,
        /// Mean loss of the epoch so far.
        loss: f64,
        /// Share of the rows so far that were classified right, each before it was learnt from.
        accuracy: f64,
        /// Steps that are done, and all steps.
        steps: (u64, u64),
    },
    /// An epoch is done.
    Epoch(&'a EpochRecord),
}

/// Is told how far training has come, and may end it.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send + 'a;

/// How training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// After all epochs or steps.
    Finished,
    /// Because the validation loss had not improved; this epoch, from 1, was the best, and its
    /// parameters are back.
    Early {
        /// The best epoch.
        best: u64,
    },
    /// Because the watcher asked for it. It can go on.
    Interrupted,
}

/// Where checkpoints go.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The file.
    pub path: PathBuf,
    /// Written after so many epochs, and where training is interrupted.
    pub every: u64,
}

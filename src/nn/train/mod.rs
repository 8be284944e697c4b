//! Training: gradients, optimizers and the loop over batches, on any backend.

mod checkpoint;
mod data;
mod fit;
mod options;
mod pruning;
mod running;
mod state;

pub use fit::{Checkpoints, Distillation, Ended, Progress, Training, Watch};
pub use options::{Loss, PruneOptions, TrainingOptions};

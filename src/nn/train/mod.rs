//! Training: gradients, optimizers and the loop over batches, on any backend.

mod checkpoint;
mod choice;
mod data;
mod fit;
mod options;
mod pruning;
mod running;
mod state;
mod validate;
mod watch;

pub use choice::OptimizerChoice;
pub use fit::{Distillation, Training};
pub use options::{Loss, PruneOptions, TrainingOptions};
pub use watch::{Checkpoints, Ended, Progress, Watch};

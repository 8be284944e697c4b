use std::path::PathBuf;

/// Why training does not begin, go on or end well. Every message ends in what to do.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TrainProblem {
    /// A loss or a weight that is not finite (exit 1).
    #[error(
        "the loss is not finite at step {step}, in epoch {epoch}; lower --learning-rate{}",
        if *.checkpoint { ", or go on from the last checkpoint, which stands" } else { "" }
    )]
    Diverged {
        /// The step, from 1.
        step: u64,
        /// The epoch, from 1.
        epoch: u64,
        /// Whether there is a checkpoint of an earlier step.
        checkpoint: bool,
    },
    /// A teacher of another kind.
    #[error(
        "the teacher has {teacher} outputs and the student {student}; both must have the same classes"
    )]
    Teacher {
        /// Its outputs.
        teacher: usize,
        /// Those of the student.
        student: usize,
    },
    /// A file that is no checkpoint.
    #[error("{}: is no checkpoint to resume from: {reason}; train without --resume", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A training that is not the one that was interrupted.
    #[error(
        "the {what} was {before} when the checkpoint was written and is {now}; resume with the same command, or train without --resume"
    )]
    Changed {
        /// What is different.
        what: String,
        /// In the checkpoint.
        before: String,
        /// Now.
        now: String,
    },
    /// A layer that is named and not there.
    #[error("there is no layer {wanted:?}; the network has {available}")]
    NoLayer {
        /// The name.
        wanted: String,
        /// The names there are, comma separated.
        available: String,
    },
}

impl TrainProblem {
    /// The exit code of [`crate::Error`].
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Diverged { .. } => 1,
            Self::Changed { .. } | Self::NoLayer { .. } => 2,
            Self::Teacher { .. } | Self::Checkpoint { .. } => 65,
        }
    }
}

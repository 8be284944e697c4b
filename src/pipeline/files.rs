//! Files that a training writes: the network, and checkpoints beside it.

use std::path::{Path, PathBuf};

/// Files that a training writes and reads.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The network. A checkpoint lies beside it.
    pub output: &'a Path,
    /// Replaces a network that is there.
    pub force: bool,
    /// Epochs from one checkpoint to the next; one is also written on an interruption.
    pub checkpoint_every: u64,
    /// Whether the training goes on from a checkpoint.
    pub resume: Resume,
    /// How to go on after an interruption, for the message.
    pub(super) advice: &'static str,
    /// What the name of the checkpoint has more than that of the output.
    ending: &'static str,
}

impl<'a> Files<'a> {
    /// Those of a network at `output`, with a checkpoint after each epoch.
    pub fn new(output: &'a Path, resume: Resume) -> Self {
        let advice = match resume {
            Resume::IfThere => "the same command goes on from there",
            Resume::Never | Resume::Must => "go on with the same command and --resume",
        };
        let (force, checkpoint_every, ending) = (false, 1, ".checkpoint");
        Self { output, force, checkpoint_every, resume, advice, ending }
    }
}

/// Whether a training goes on from a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It begins anew.
    Never,
    /// It goes on, or fails.
    Must,
    /// It goes on where a checkpoint of the same training is there.
    IfThere,
}

impl Files<'_> {
    /// Where the checkpoint lies.
    pub fn checkpoint(&self) -> PathBuf {
        let mut name = self.output.as_os_str().to_owned();
        name.push(self.ending);
        name.into()
    }

    /// Those of the training on labels alone, which may not have begun where the other goes on.
    pub(super) fn of_baseline(&self) -> Self {
        let resume = match self.resume {
            Resume::Never => Resume::Never,
            Resume::Must | Resume::IfThere => Resume::IfThere,
        };
        Self { resume, ending: ".baseline-checkpoint", ..*self }
    }

    /// Removes the checkpoints, for when nothing can go wrong any more.
    pub fn remove_checkpoints(&self) {
        for files in [*self, self.of_baseline()] {
            let _ = std::fs::remove_file(files.checkpoint());
        }
    }
}

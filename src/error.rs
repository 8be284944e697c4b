//! The one error type. Each message says what was wrong, where, and what to do.

mod array;
mod device;
mod format;
mod network;
mod pipeline;
mod train;
mod usage;

pub use array::ArrayProblem;
pub use device::DeviceError;
pub use format::FormatProblem;
pub use network::NetworkProblem;
pub use pipeline::{PipelineProblem, Place};
pub use train::TrainProblem;
pub use usage::UsageError;

use std::path::{Path, PathBuf};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong. [`Error::exit_code`] maps it to the process exit code.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file's content is not what it should be (exit 65).
    #[error("{}: {problem}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        problem: FormatProblem,
    },
    /// Data handed to the library is not what it should be (exit 65).
    #[error(transparent)]
    Data(#[from] FormatProblem),
    /// An input does not exist or cannot be read (exit 66).
    #[error("{}: cannot read it ({source}); check the path and its permissions", .path.display())]
    Input {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The command or recipe contradicts itself or does not fit the model (exit 2).
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// No such device, or it failed (exit 69 or 75).
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Training does not begin, go on or end well (exit 1, 2 or 65).
    #[error(transparent)]
    Train(#[from] TrainProblem),
    /// The user interrupted what can go on (exit 130).
    #[error("interrupted; {advice} ({})", .at.display())]
    Interrupted {
        /// Where it stands: a checkpoint, or the folder of a recipe's networks.
        at: PathBuf,
        /// How to go on.
        advice: &'static str,
    },
    /// The output cannot be created (exit 73).
    #[error("{}: cannot create the output ({source}); {advice}", .path.display())]
    Create {
        /// The output.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The output exists and `--force` was not given (exit 73).
    #[error("{}: already exists; pass --force to replace it", .path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The output is the input, lies in it, or would replace it (exit 2).
    #[error("{}: is the input, lies in it, or holds it; choose another output path", .path.display())]
    OutputIsInput {
        /// The output.
        path: PathBuf,
    },
    /// Not enough room for the output (exit 73).
    #[error("{}: needs {needed} bytes and its file system has {available} free; free some space or choose another folder", .path.display())]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// Bytes that the output takes.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Another run is writing the same output (exit 75).
    #[error("{}: another tensorpress is writing it; wait for that run to end", .path.display())]
    Locked {
        /// The output.
        path: PathBuf,
    },
    /// Writing failed part-way; the old output stands (exit 74).
    #[error("{}: writing failed ({source}); nothing was replaced", .path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A comparison or self-check failed (exit 1).
    #[error("check failed: {what}")]
    Check {
        /// Which check, with the figure and its bound.
        what: String,
    },
    /// Standard output could not be written (exit 74), a closed pipe excepted.
    #[error("standard output: {source}")]
    Stdout {
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A defect in tensorpress itself (exit 70).
    #[error("internal error: {what}; please report it")]
    Bug {
        /// Which promise was broken.
        what: &'static str,
    },
}

/// The first few names of what may be many.
pub(crate) fn first_of(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(", and {} more", names.len() - SHOWN);
    }
    text
}

impl From<ArrayProblem> for Error {
    fn from(problem: ArrayProblem) -> Self {
        FormatProblem::from(problem).into()
    }
}

impl From<NetworkProblem> for Error {
    fn from(problem: NetworkProblem) -> Self {
        FormatProblem::from(problem).into()
    }
}

impl From<PipelineProblem> for Error {
    fn from(problem: PipelineProblem) -> Self {
        FormatProblem::Pipeline(problem.into()).into()
    }
}

impl Error {
    /// The process exit code: those of `sysexits.h`, with 1 for a failed check and 2 for usage.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Check { .. } => 1,
            Self::Usage(_) | Self::OutputIsInput { .. } => 2,
            Self::Format { .. } | Self::Data(_) => 65,
            Self::Input { .. } => 66,
            Self::Device(e) => e.exit_code(),
            Self::Train(e) => e.exit_code(),
            Self::Bug { .. } => 70,
            Self::Create { .. } | Self::Exists { .. } | Self::NoSpace { .. } => 73,
            Self::Write { .. } | Self::Stdout { .. } => 74,
            Self::Locked { .. } => 75,
            // As a shell reports a process that SIGINT ended.
            Self::Interrupted { .. } => 130,
        }
    }

    /// Adds the file to an error about its content.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Data(problem) => Self::Format { path: path.to_owned(), problem },
            other => other,
        }
    }

    /// The same of `to` where it is of a file in `from`, which holds copies of it.
    pub(crate) fn of_copy(mut self, from: &Path, to: &Path) -> Self {
        if let Self::Format { path, .. } = &mut self
            && path.starts_with(from)
        {
            to.clone_into(path);
        }
        self
    }

    /// The same where the row that it names is one of a part that begins `rows` later.
    pub(crate) fn rows_later(mut self, rows: usize) -> Self {
        if let Self::Data(problem) | Self::Format { problem, .. } = &mut self
            && let FormatProblem::Value { row, .. } | FormatProblem::MaskedRow { row } = problem
        {
            *row += rows;
        }
        self
    }
}

//! How the passes over a model are carried out.

use std::num::NonZeroUsize;

use crate::ops::Backend;

/// How far the work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// It begins, and will read so many bytes in all its passes together.
    Begin {
        /// All bytes.
        bytes: u64,
    },
    /// It has read some more bytes.
    Read {
        /// How many more.
        bytes: u64,
    },
}

/// Told how far the work has come; from several threads.
pub type Progress<'a> = &'a (dyn Fn(Advance) + Sync);

/// Where and with how many threads a model is worked through. The result depends on neither.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// Where it is computed.
    pub backend: &'a Backend,
    /// Worker threads; `None` for as many as serve the backend.
    pub threads: Option<NonZeroUsize>,
    /// Told how far the work has come.
    pub progress: Progress<'a>,
}

impl<'a> Execution<'a> {
    /// Silent, with as many threads as serve the backend.
    pub fn new(backend: &'a Backend) -> Self {
        Self { backend, threads: None, progress: &|_| {} }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.map(usize::from).unwrap_or(match self.backend {
            Backend::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
            // One computes on the device while the others read, write and sum.
            Backend::Gpu(_) => 3,
        })
    }
}

//! How the passes over a model are carried out.

use std::num::NonZeroUsize;

use super::pass::Progress;
use crate::ops::Backend;

/// Where and with how many threads a model is worked through. The result depends on neither.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// Where it is computed.
    pub backend: &'a Backend,
    /// Worker threads; `None` for as many as serve the backend.
    pub threads: Option<NonZeroUsize>,
    /// Told of the bytes that were read.
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

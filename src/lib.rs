//! tensorpress makes trained neural networks small, on any GPU that wgpu reaches and on a plain
//! CPU: it prunes and quantizes safetensors models and writes files that other tools load.
#![warn(missing_docs)]

pub mod cli;
pub mod compress;
pub mod cpu;
pub mod error;
pub mod gpu;
pub mod io;
pub mod nn;
pub mod ops;
pub mod pipeline;
pub mod scheme;
mod stored;
pub mod tensor;

pub use error::{Error, Result};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! The wgpu runtime: adapter choice, context, shaders, pipelines, buffers, recording, readback.
//!
//! A [`Recorder`] takes uploads, dispatches and downloads as data and submits them at once;
//! [`Pending`] waits for the results. Everything may be used from several threads.

mod adapter;
mod buffers;
mod context;
mod grid;
mod pipeline;
mod readback;
mod recorder;
mod shader;
mod timing;
mod tuning;

pub use adapter::{AdapterDescription, DeviceChoice, list};
pub use buffers::Buffer;
pub use context::{Gpu, GpuOptions};
pub use grid::Grid;
pub use pipeline::Kernel;
pub use readback::{Outcome, Pending};
pub use recorder::Recorder;
pub use shader::{ShaderError, expand, sources};
pub use tuning::{Choice, Choices, cache_folder};

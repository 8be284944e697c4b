//! Files: safetensors in and out, model directories, atomic replacement.

mod arrays;
mod atomic;
mod directory;
#[doc(hidden)]
pub mod fault;
mod header;
mod model;
mod reader;
mod writer;

pub use arrays::{Array, ArrayData, DataSet, Split, write_npy};
pub use atomic::{OutputFile, refuse_same, temporary_folder};
pub use directory::OutputDirectory;
pub(crate) use header::MAX_EMPTY;
pub use header::{Header, MAX_HEADER, TensorInfo};
pub use model::Model;
pub use reader::SafetensorsFile;
pub use writer::{SafetensorsWriter, TensorSpec};

//! Networks: chains of dense layers, and how they are read from a model file.

mod describe;
mod infer;
mod network;
mod order;
mod read;

pub use network::{Layer, Network};
pub use read::Origin;

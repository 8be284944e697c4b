//! Networks: chains of dense layers, and how they are read from a model file.

mod describe;
mod evaluate;
mod forward;
mod infer;
mod measure;
mod network;
mod order;
mod read;

pub use evaluate::{Agreement, BATCH, ClassReport, Evaluation, agreement, check_inputs, evaluate};
pub use forward::{Loaded, Outputs};
pub use measure::{Speed, outputs, speed};
pub use network::{Layer, Network};
pub use read::Origin;

//! Networks: chains of dense layers, how they are read from a model file and run, and what training
//! them needs.

mod batches;
mod decay;
mod describe;
mod evaluate;
mod forward;
mod history;
mod infer;
mod init;
mod measure;
mod network;
mod order;
mod parameters;
mod random;
mod read;
mod schedule;
mod schedule_text;
pub mod train;

pub use batches::{Batches, training_rows};
pub use decay::{Decay, Length};
pub(crate) use describe::described_weights;
pub use evaluate::{Agreement, BATCH, ClassReport, Evaluation, agreement, check_inputs, evaluate};
pub use forward::{Loaded, Outputs};
pub use history::{EpochRecord, History};
pub use init::Init;
pub use measure::{Expected, Speed, speed};
pub use network::{Layer, Network};
pub use parameters::{LayerParameters, Parameters};
pub use read::Origin;
pub use schedule::PruningSchedule;

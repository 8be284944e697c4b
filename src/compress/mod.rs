//! Recipe → plan → run → report: a whole model at a time.

mod compare;
mod config;
mod decompress;
mod execution;
mod inspect;
mod last_pass;
mod neurons;
mod output;
mod pass;
mod plan;
mod recipe;
mod report;
mod run;
mod scan;
mod select;
mod select_cut;
mod workers;

pub use compare::{ComparedTensor, Comparison, Difference, Figures, compare};
pub use decompress::{Decompressed, DecompressedTensor, decompress, decompress_with};
pub use execution::{Advance, Execution, Progress};
pub use inspect::{InspectedTensor, Inspection, Statistics, inspect};
pub use output::Metadata;
pub use plan::{Plan, TensorPlan};
pub use recipe::{Format, OnIndivisible, Pruning, Recipe};
pub use report::{Report, TensorReport};
pub use select::pattern;

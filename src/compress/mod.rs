//! Recipe → plan → run → report: a whole model at a time.

mod config;
mod finite;
mod output;
mod pass;
mod plan;
mod recipe;
mod report;
mod run;
mod scan;
mod select;
mod select_cut;
mod stored;
mod weight;
mod workers;

pub use pass::Progress;
pub use plan::{Plan, TensorPlan};
pub use recipe::{Format, OnIndivisible, Pruning, Recipe};
pub use report::{Report, TensorReport};

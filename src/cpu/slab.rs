//! Several steps on one slab of whole rows in one pass through the cache.
use crate::scheme::{Cut, NmPattern, QuantParams, QuantScheme};
use crate::tensor::Matrix;

/// Which weights a slab loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prune {
    /// By magnitude; the slab's first element has index `first_index`.
    Cut {
        /// What stays.
        cut: Cut,
        /// Index of the slab's first element.
        first_index: u64,
    },
    /// A pattern along each row.
    Nm(NmPattern),
}

/// What is done to one slab.
#[derive(Clone, Copy, Debug)]
pub struct SlabStep<'a> {
    /// Pruning, first.
    pub prune: Option<Prune>,
    /// Quantizing, then. Scales are computed a segment, or taken from `params` where they are
    /// given (granularity tensor, whose segment spans slabs).
    pub quantize: Option<(&'a QuantScheme, Option<&'a QuantParams>)>,
    /// Whether dense weights (pruned, or pruned and dequantized) are wanted.
    pub dense: bool,
}

/// Sums for the report: the result against the original weights, finite ones only, in `f64`,
/// in an order that depends on the slab alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReportSums {
    /// Σ w².
    pub signal: f64,
    /// Σ (w − w')².
    pub error: f64,
    /// max |w − w'|.
    pub max_error: f32,
    /// Zeros in the result (codes equal to the zero point count as zeros).
    pub zeros: u64,
    /// Weights that saturated.
    pub saturated: u64,
}

/// The result of one slab.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlabOutput {
    /// Dense weights, where asked for.
    pub dense: Vec<u8>,
    /// Packed codes, where quantized.
    pub packed: Vec<u32>,
    /// Scales and zero points, where quantized and computed here.
    pub params: QuantParams,
    /// For the report.
    pub sums: ReportSums,
}

/// Runs `step` on `weights`.
pub fn run(weights: Matrix<'_>, step: &SlabStep<'_>) -> SlabOutput {
    todo!("{weights:?} {step:?}")
}

/// The sums for the report of `result` (dense bytes of the same type) against `original`, with
/// `zeros` counted and `saturated` left 0. Also used by the GPU path and by `compare`.
pub fn report_sums(original: Matrix<'_>, result: &[u8]) -> ReportSums {
    todo!("{original:?} {}", result.len())
}

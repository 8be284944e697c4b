//! The public operations: each checks its arguments, then calls its CPU reference or records its
//! shader. Those of [`Bound::Exact`] give the same bytes on the CPU and on every adapter, those of
//! [`Bound::Float`] stay within a stated distance of an `f64` reference.

pub mod activation;
mod backend;
mod batch;
pub mod bitmask;
pub mod bitmask_codes;
pub mod dense;
pub mod dense_grad;
pub mod dense_masked;
pub mod dense_packed;
pub mod dequantize;
pub mod fake_quantize;
pub mod gather;
pub mod histogram;
pub mod linear;
pub mod loss;
pub mod measure;
pub mod optimizer;
pub mod pack;
mod product;
pub mod prune;
pub mod prune_exact;
pub mod prune_nm;
pub mod quant_params;
pub mod quantize;
pub mod slab;
pub mod softmax;
pub mod stats;
mod stream;
mod table;
pub mod top_k;
mod tuning;
mod values;
mod variant;

pub use activation::Dropout;
pub use backend::Backend;
pub use batch::{Batch, Indices};
pub use gather::Features;
pub use loss::{Loss, Metrics, RowMetrics, Targets};
pub use optimizer::{Moments, Optimizer, Step};
pub use stream::{Stream, Submitted};
pub use table::{
    Bound, Case, Expected, Operation, Output, Reference, ReferenceFn, Run, TABLE, Work,
};
pub use values::Values;

use crate::error::{FormatProblem, Result};
use crate::gpu::{Buffer, Gpu, Kernel, Recorder};
use crate::scheme::QuantScheme;
use crate::tensor::FloatType;

/// The `override` constant of weights of one type.
const fn dtype(float: FloatType) -> &'static [(&'static str, f64)] {
    match float {
        FloatType::F32 => &[("DTYPE", 0.0)],
        FloatType::F16 => &[("DTYPE", 1.0)],
        FloatType::BF16 => &[("DTYPE", 2.0)],
    }
}

/// A kernel over weights of one type.
const fn kernel(file: &'static str, entry: &'static str, float: FloatType) -> Kernel<'static> {
    Kernel { file, entry, constants: dtype(float), estimates: false }
}

/// Number of weights in `data`, which must be whole ones and few enough for 32-bit indices.
fn count(float: FloatType, data: &[u8]) -> Result<u32> {
    let count = data.len() / float.size();
    if !data.len().is_multiple_of(float.size()) || count >= 1 << 31 {
        return Err(FormatProblem::ShapeSize {
            shape: vec![count],
            dtype: float.dtype(),
            bytes: data.len() as u64,
        }
        .into());
    }
    Ok(count as u32)
}

/// Rows of `cols` weights in `data`, which must be whole ones.
fn rows(float: FloatType, data: &[u8], cols: usize) -> Result<usize> {
    let count = count(float, data)? as usize;
    if count > 0 && (cols == 0 || !count.is_multiple_of(cols)) {
        return Err(FormatProblem::ShapeSize {
            shape: vec![count.checked_div(cols).unwrap_or(0), cols],
            dtype: float.dtype(),
            bytes: data.len() as u64,
        }
        .into());
    }
    Ok(count.checked_div(cols).unwrap_or(0))
}

/// Invocations that share a row of `cols` columns: a power of two, so that they halve, and about
/// four columns each, so that a workgroup of 256 takes many short rows or a single long one.
fn row_lanes(cols: usize) -> u32 {
    cols.div_ceil(4).next_power_of_two().clamp(1, 256) as u32
}

/// The first place in `values` `[rows, cols]` whose bits `refused` picks, as an error.
fn refuse(
    what: &'static str,
    expected: &'static str,
    values: &[f32],
    cols: usize,
    refused: impl Fn(u32) -> bool,
) -> Result<()> {
    let Some(at) = values.iter().position(|value| refused(value.to_bits())) else {
        return Ok(());
    };
    let (row, column, value) = (at / cols, at % cols, values[at]);
    Err(FormatProblem::Value { what, row, column, value, expected }.into())
}

/// How the segments of a scheme lie in a `[rows, cols]` matrix, as the shaders want it: length and
/// segments a row, where segment = row · segments_per_row + col / length.
fn segmentation(scheme: &QuantScheme, cols: usize) -> (u32, u32) {
    use crate::scheme::Granularity as G;
    match scheme.granularity {
        G::Tensor => (u32::MAX, 0),
        G::Channel => (cols.max(1) as u32, 1),
        G::Group(size) => (size.min(u32::MAX as usize) as u32, cols.div_ceil(size) as u32),
    }
}

/// Number of segments of a `[rows, cols]` matrix.
fn segment_count(scheme: &QuantScheme, rows: usize, cols: usize) -> usize {
    match segmentation(scheme, cols) {
        (_, 0) => usize::from(rows * cols > 0),
        (_, per_row) => rows * per_row as usize,
    }
}

/// Little-endian words of a download.
fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Words that `count` weights take on the device.
fn element_words(float: FloatType, count: usize) -> usize {
    (count * float.size()).div_ceil(4)
}

/// Records with `record` and gives the first `bytes` of the buffer that it returns.
fn download(
    gpu: &Gpu,
    bytes: usize,
    record: impl FnOnce(&mut Recorder) -> Result<Buffer>,
) -> Result<Vec<u8>> {
    let mut recorder = gpu.recorder();
    let buffer = record(&mut recorder)?;
    recorder.download(&buffer, bytes)?;
    Ok(recorder.run()?.downloads.swap_remove(0))
}

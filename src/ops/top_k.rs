//! The k largest values of each row, and the largest one.

use super::{Backend, refuse, row_lanes, rows, words};
use crate::cpu;
use crate::error::{Result, UsageError};
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::tensor::FloatType;

/// The kernel reads a row once for each value that it finds.
const MAX_K: usize = 64;

const TOP_K: Kernel =
    Kernel { file: "top_k.wgsl", entry: "top_k", constants: &[], estimates: false };

/// Records the kernel for `values`, `f32` `[rows, cols]`; the results are columns and values,
/// both `[rows, k]`. NaNs count as the largest values, since a device can refuse nothing.
pub(crate) fn record(
    recorder: &mut Recorder,
    values: &Buffer,
    (rows, cols): (usize, usize),
    k: usize,
) -> Result<(Buffer, Buffer)> {
    check(cols, k)?;
    let indices = recorder.storage((rows * k * 4) as u64)?;
    let largest = recorder.storage((rows * k * 4) as u64)?;
    let lanes = row_lanes(cols);
    let params = [("rows", rows as u32), ("cols", cols as u32), ("k", k as u32), ("lanes", lanes)];
    let bindings = [values, &indices, &largest];
    recorder.dispatch(&TOP_K, &bindings, &params, rows as u64, u64::from(256 / lanes))?;
    Ok((indices, largest))
}

/// Columns and values, both `[rows, k]`, of the `k` largest values of each row of `values`
/// `[rows, cols]`: largest first, the lower column first among equal ones. -0 equals +0. The same
/// on every device.
///
/// # Errors
/// [`UsageError::OutOfRange`] where `k` is 0, above 64 or above `cols`;
/// [`crate::error::FormatProblem::Value`] for a NaN, [`crate::error::FormatProblem::ShapeSize`] for
/// a part of a row; a device error.
pub fn top_k(
    backend: &Backend,
    values: &[f32],
    cols: usize,
    k: usize,
) -> Result<(Vec<u32>, Vec<f32>)> {
    check(cols, k)?;
    let rows = rows(FloatType::F32, bytemuck::cast_slice(values), cols)?;
    refuse("values", "a number", values, cols, |bits| bits & 0x7fff_ffff > 0x7f80_0000)?;
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::top_k::top_k(values, cols, k)),
        Backend::Gpu(gpu) => gpu,
    };
    if rows == 0 {
        return Ok((vec![], vec![]));
    }
    let mut recorder = gpu.recorder();
    let values = recorder.upload(bytemuck::cast_slice(values))?;
    let (indices, largest) = record(&mut recorder, &values, (rows, cols), k)?;
    recorder.download(&indices, rows * k * 4)?;
    recorder.download(&largest, rows * k * 4)?;
    let downloads = recorder.run()?.downloads;
    let largest = words(&downloads[1]).into_iter().map(f32::from_bits).collect();
    Ok((words(&downloads[0]), largest))
}

/// Column of the largest value of each row of `values` `[rows, cols]`, the lowest one of equals.
///
/// # Errors
/// As [`top_k`].
pub fn argmax(backend: &Backend, values: &[f32], cols: usize) -> Result<Vec<u32>> {
    Ok(top_k(backend, values, cols, 1)?.0)
}

fn check(cols: usize, k: usize) -> Result<()> {
    if (1..=cols.min(MAX_K)).contains(&k) {
        return Ok(());
    }
    Err(UsageError::OutOfRange {
        what: "k",
        value: k.to_string(),
        expected: "from 1 to 64 and at most the number of columns",
    }
    .into())
}

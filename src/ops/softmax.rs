//! Softmax and its logarithm along rows.

use super::{Backend, download, refuse, row_lanes, rows, words};
use crate::cpu;
use crate::cpu::softmax::Scaling;
use crate::error::{FormatProblem, Result, UsageError};
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::tensor::FloatType;

const SOFTMAX: Kernel =
    Kernel { file: "softmax.wgsl", entry: "softmax", constants: &[], estimates: false };
const LOG_SOFTMAX: Kernel = Kernel { entry: "log_softmax", ..SOFTMAX };

/// What a row becomes.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Shares that sum to 1.
    Shares,
    /// Their natural logarithms.
    Logarithms,
}

/// Records the kernel for `logits`, `f32` `[rows, cols]`; the result has the same shape. A row
/// whose largest logit is not finite becomes NaNs, since a device can refuse nothing.
pub(crate) fn record(
    recorder: &mut Recorder,
    form: Form,
    logits: &Buffer,
    (rows, cols): (usize, usize),
    temperature: f32,
) -> Result<Buffer> {
    let scaling = scaling(temperature)?;
    let kernel = match form {
        Form::Shares => &SOFTMAX,
        Form::Logarithms => &LOG_SOFTMAX,
    };
    let result = recorder.storage((rows * cols * 4) as u64)?;
    let lanes = row_lanes(cols);
    let params = [
        ("rows", rows as u32),
        ("cols", cols as u32),
        ("lanes", lanes),
        ("factor", scaling.factor.to_bits()),
        ("lowest", scaling.lowest.to_bits()),
    ];
    let per_workgroup = u64::from(256 / lanes);
    recorder.dispatch(kernel, &[logits, &result], &params, rows as u64, per_workgroup)?;
    Ok(result)
}

/// `exp(x_i / temperature) / Σ_j exp(x_j / temperature)` for each row of `logits` `[rows, cols]`
/// (Bridle 1990; with temperature, Hinton, Vinyals and Dean 2015). The largest logit of a row is
/// subtracted first, so nothing overflows. Logits of -inf are masked: they give 0.
///
/// # Errors
/// [`UsageError::OutOfRange`] for a temperature outside 2^-64 … 2^64; [`FormatProblem::Value`] for
/// a logit that is NaN or +inf, [`FormatProblem::MaskedRow`] for a row of -inf alone,
/// [`FormatProblem::ShapeSize`] for a part of a row; a device error.
pub fn softmax(
    backend: &Backend,
    logits: &[f32],
    cols: usize,
    temperature: f32,
) -> Result<Vec<f32>> {
    run(backend, Form::Shares, logits, cols, temperature)
}

/// The natural logarithm of [`softmax`], accurate where that underflows. Masked logits give -inf;
/// what lies below -3.4e38 gives that.
///
/// # Errors
/// As [`softmax`].
pub fn log_softmax(
    backend: &Backend,
    logits: &[f32],
    cols: usize,
    temperature: f32,
) -> Result<Vec<f32>> {
    run(backend, Form::Logarithms, logits, cols, temperature)
}

fn run(
    backend: &Backend,
    form: Form,
    logits: &[f32],
    cols: usize,
    temperature: f32,
) -> Result<Vec<f32>> {
    let scaling = scaling(temperature)?;
    let rows = check(logits, cols)?;
    let gpu = match (backend, form) {
        (Backend::Cpu, Form::Shares) => return Ok(cpu::softmax::softmax(logits, cols, scaling)),
        (Backend::Cpu, Form::Logarithms) => {
            return Ok(cpu::softmax::log_softmax(logits, cols, scaling));
        }
        (Backend::Gpu(gpu), _) => gpu,
    };
    if rows == 0 {
        return Ok(vec![]);
    }
    let bytes = download(gpu, logits.len() * 4, |recorder| {
        let logits = recorder.upload(bytemuck::cast_slice(logits))?;
        record(recorder, form, &logits, (rows, cols), temperature)
    })?;
    Ok(words(&bytes).into_iter().map(f32::from_bits).collect())
}

/// Far from the ends of the exponent range, where devices may flush or overflow.
fn scaling(temperature: f32) -> Result<Scaling> {
    let largest = (1_u64 << 63) as f32 * 2.0;
    if !(1.0 / largest..=largest).contains(&temperature) {
        return Err(UsageError::OutOfRange {
            what: "the temperature",
            value: temperature.to_string(),
            expected: "a finite number above 0, from 2^-64 to 2^64",
        }
        .into());
    }
    Ok(Scaling::new(temperature))
}

/// Checks `logits` by their bits and gives the number of rows.
fn check(logits: &[f32], cols: usize) -> Result<usize> {
    const MASKED: u32 = 0xff80_0000;
    let rows = rows(FloatType::F32, bytemuck::cast_slice(logits), cols)?;
    refuse("logits", "finite, or -inf to mask it", logits, cols, |bits| {
        bits & 0x7fff_ffff >= 0x7f80_0000 && bits != MASKED
    })?;
    let masked = |row: &[f32]| row.iter().all(|logit| logit.to_bits() == MASKED);
    match logits.chunks(cols.max(1)).position(masked) {
        Some(row) => Err(FormatProblem::MaskedRow { row }.into()),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{DeviceChoice, GpuOptions};

    /// The public functions refuse such rows, so only a recorded network can show them.
    #[test]
    fn a_recorded_row_without_softmax_becomes_nan() {
        let masked = f32::NEG_INFINITY;
        let bad = [[0.0, f32::NAN], [-f32::NAN, 0.0], [f32::INFINITY, 0.0], [masked, masked]];
        let logits = [bad.concat(), vec![0.0, 1.0]].concat();
        let gpu = Backend::open(&DeviceChoice::Gpu, GpuOptions::default()).expect("an adapter");
        let Backend::Gpu(gpu) = gpu else { panic!("not a GPU") };
        for form in [Form::Shares, Form::Logarithms] {
            let bytes = download(&gpu, logits.len() * 4, |recorder| {
                let logits = recorder.upload(bytemuck::cast_slice(&logits))?;
                record(recorder, form, &logits, (5, 2), 1.0)
            });
            let result = words(&bytes.expect("runs"));
            assert_eq!(result[..8], [f32::NAN.to_bits(); 8]);
            assert!(result[8..].iter().all(|bits| f32::from_bits(*bits).is_finite()));
        }
    }
}

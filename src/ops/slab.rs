//! Several steps on one slab of whole rows, without leaving the device between them.

use super::{
    Backend, dequantize, prune, prune_nm, quant_params, quantize, segment_count, stats, words,
};
use crate::cpu::{self, slab::Prune};
use crate::error::Result;
use crate::gpu::{Buffer, Gpu, Recorder};
use crate::scheme::{Granularity, QuantParams, QuantScheme};
use crate::tensor::Matrix;

pub use crate::cpu::slab::{ReportSums, SlabOutput, SlabStep};

/// Runs `step` on `weights`.
///
/// The report sums are summed in `f64` on the host whatever the backend, so that the report of a
/// run does not depend on the device.
///
/// # Errors
/// [`crate::error::UsageError`] where scheme, parameters and shape do not fit, or a device error.
pub fn run(backend: &Backend, weights: Matrix<'_>, step: &SlabStep<'_>) -> Result<SlabOutput> {
    if let Some((scheme, given)) = step.quantize {
        match given {
            Some(params) => quantize::check(weights.rows, weights.cols, params, scheme)?,
            None => scheme.validate()?,
        }
    }
    match backend {
        Backend::Cpu => Ok(cpu::slab::run(weights, step)),
        Backend::Gpu(_) if weights.is_empty() => Ok(cpu::slab::run(weights, step)),
        Backend::Gpu(gpu) => on_gpu(gpu, weights, step),
    }
}

fn on_gpu(gpu: &Gpu, weights: Matrix<'_>, step: &SlabStep<'_>) -> Result<SlabOutput> {
    let mut recorder = gpu.recorder();
    let mut buffer = recorder.upload(weights.data)?;
    match step.prune {
        Some(Prune::Cut { cut, first_index }) => {
            prune::record(&mut recorder, weights.float, &buffer, weights.len(), cut, first_index)?;
        }
        Some(Prune::Nm(pattern)) => {
            let (count, cols) = (weights.len(), weights.cols);
            buffer = prune_nm::record(&mut recorder, weights.float, &buffer, count, cols, pattern)?;
        }
        None => {}
    }
    match step.quantize {
        Some((scheme, given)) => quantized(recorder, weights, &buffer, scheme, given, step.dense),
        None => pruned(recorder, weights, &buffer, step.dense),
    }
}

fn pruned(
    mut recorder: Recorder,
    weights: Matrix<'_>,
    buffer: &Buffer,
    wanted: bool,
) -> Result<SlabOutput> {
    recorder.download(buffer, weights.data.len())?;
    let dense = recorder.run()?.downloads.swap_remove(0);
    let sums = cpu::slab::report_sums(weights, &dense);
    Ok(SlabOutput { dense: if wanted { dense } else { vec![] }, sums, ..SlabOutput::default() })
}

fn quantized(
    mut recorder: Recorder,
    weights: Matrix<'_>,
    buffer: &Buffer,
    scheme: &QuantScheme,
    given: Option<&QuantParams>,
    wanted: bool,
) -> Result<SlabOutput> {
    let Matrix { float, rows, cols, .. } = weights;
    let segments = segment_count(scheme, rows, cols);
    let params = match given {
        Some(params) => quant_params::upload(&mut recorder, params)?,
        None => {
            let layout = stats::Layout {
                count: weights.len(),
                row_len: if scheme.granularity == Granularity::Tensor {
                    weights.len()
                } else {
                    cols
                },
                segment_len: scheme.segment_len(rows, cols),
            };
            let stats = stats::record(&mut recorder, float, buffer, layout)?;
            quant_params::record(&mut recorder, float, &stats, segments, scheme)?
        }
    };
    let result = quantize::record(&mut recorder, float, buffer, (rows, cols), &params, scheme)?;
    recorder.download(&result.packed, rows * scheme.words_per_row(cols) * 4)?;
    recorder.download(&result.saturated, 4)?;
    recorder.download(&params.scale, segments * 4)?;
    recorder.download(&params.zero_point, segments * 4)?;
    if wanted {
        let dense = dequantize::record(
            &mut recorder,
            float,
            &result.packed,
            (rows, cols),
            &params,
            scheme,
        )?;
        recorder.download(&dense, weights.data.len())?;
    }
    let mut downloads = recorder.run()?.downloads;
    let packed = words(&downloads[0]);
    let params = quant_params::decode(&downloads[2], &downloads[3], scheme);
    let dense = if wanted {
        downloads.swap_remove(4)
    } else {
        cpu::dequantize::dense(float, &packed, rows, cols, &params, scheme)
    };
    let mut sums = cpu::slab::report_sums(weights, &dense);
    sums.saturated = words(&downloads[1])[0].into();
    Ok(SlabOutput {
        dense: if wanted { dense } else { vec![] },
        packed,
        params: if given.is_some() { QuantParams::default() } else { params },
        sums,
    })
}

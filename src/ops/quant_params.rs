//! Scales and zero points from segment statistics.

use super::{Backend, kernel, words};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Recorder};
use crate::scheme::{Arithmetic, QuantParams, QuantScheme, Range, SegmentStats};
use crate::tensor::FloatType;

/// Scales and zero points on the device, one word a segment each.
pub(super) struct Recorded {
    pub scale: Buffer,
    pub zero_point: Buffer,
}

/// Records the kernel on `[segments, 5]` statistics.
pub(super) fn record(
    recorder: &mut Recorder,
    float: FloatType,
    stats: &Buffer,
    segments: usize,
    scheme: &QuantScheme,
) -> Result<Recorded> {
    let span = (scheme.qmax() - scheme.qmin()) as f32;
    let (divisor, fixed) = match scheme.range {
        Range::Full if scheme.symmetric => (span / 2.0, 0.0),
        Range::Full => (span, 0.0),
        Range::Narrow => (scheme.qmax() as f32, 0.0),
        Range::Multiplier(n) => (1.0, float.round(1.0 / n as f32)),
    };
    let params = [
        ("segments", segments as u32),
        ("divisor", divisor.to_bits()),
        ("fixed_scale", fixed.to_bits()),
        ("epsilon", float.epsilon().to_bits()),
        ("largest", float.largest().to_bits()),
        ("asymmetric", u32::from(!scheme.symmetric)),
        ("weight_type", u32::from(scheme.arithmetic == Arithmetic::WeightType)),
        ("qmin", scheme.qmin() as u32),
        ("qmax", scheme.qmax() as u32),
    ];
    let result = Recorded {
        scale: recorder.storage(segments as u64 * 4)?,
        zero_point: recorder.storage(segments as u64 * 4)?,
    };
    recorder.dispatch(
        &kernel("quant_params.wgsl", "quant_params", float),
        &[stats, &result.scale, &result.zero_point],
        &params,
        segments as u64,
        64,
    )?;
    Ok(result)
}

/// Puts given parameters on the device.
pub(super) fn upload(recorder: &mut Recorder, params: &QuantParams) -> Result<Recorded> {
    let zeros: Vec<i32> = if params.zero_point.is_empty() {
        vec![0; params.scale.len()]
    } else {
        params.zero_point.iter().map(|z| (*z).into()).collect()
    };
    Ok(Recorded {
        scale: recorder.upload(bytemuck::cast_slice(&params.scale))?,
        zero_point: recorder.upload(bytemuck::cast_slice(&zeros))?,
    })
}

/// Reads downloaded parameters.
pub(super) fn decode(scale: &[u8], zero_point: &[u8], scheme: &QuantScheme) -> QuantParams {
    QuantParams {
        scale: words(scale).into_iter().map(f32::from_bits).collect(),
        zero_point: if scheme.symmetric {
            vec![]
        } else {
            words(zero_point).into_iter().map(|z| z as i32 as i8).collect()
        },
    }
}

/// One scale (and zero point) a segment.
///
/// # Errors
/// A [`crate::error::UsageError`] for a scheme that contradicts itself, or a device error.
pub fn compute(
    backend: &Backend,
    float: FloatType,
    stats: &[SegmentStats],
    scheme: &QuantScheme,
) -> Result<QuantParams> {
    scheme.validate()?;
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::quant_params::compute(float, stats, scheme)),
        Backend::Gpu(gpu) => gpu,
    };
    let encoded: Vec<u32> = stats
        .iter()
        .flat_map(|s| [s.min.to_bits(), s.max.to_bits(), s.abs_max.to_bits(), 0, 0])
        .collect();
    let mut recorder = gpu.recorder();
    let stats_buffer = recorder.upload(bytemuck::cast_slice(&encoded))?;
    let result = record(&mut recorder, float, &stats_buffer, stats.len(), scheme)?;
    recorder.download(&result.scale, stats.len() * 4)?;
    recorder.download(&result.zero_point, stats.len() * 4)?;
    let downloads = recorder.run()?.downloads;
    Ok(decode(&downloads[0], &downloads[1], scheme))
}

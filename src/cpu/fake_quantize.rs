//! Weights as they will be once they are quantized, for training that knows of it.
use super::quant_params;
use super::quantize::{Coding, row_segment_len};
use super::stats::Partial;
use super::threads::worth_sharing;
use crate::scheme::{Granularity, QuantParams, QuantScheme, SegmentStats};
use crate::tensor::FloatType;
use rayon::prelude::*;

/// Codes that are made at once.
const BLOCK: usize = 4096;

/// `result` becomes the dequantized codes of `weights` `[rows, cols]`, with the scales and the
/// rounding that [`super::slab::run`] has for `f32`.
pub fn fake_quantize(weights: &[f32], cols: usize, scheme: &QuantScheme, result: &mut [f32]) {
    if weights.is_empty() {
        return;
    }
    let params = (scheme.granularity == Granularity::Tensor).then(|| params(weights, scheme));
    let segment_len = row_segment_len(cols, scheme);
    let row = |(result, weights): (&mut [f32], &[f32])| {
        for (result, weights) in result.chunks_mut(segment_len).zip(weights.chunks(segment_len)) {
            match &params {
                Some(params) => segment(weights, params, scheme, result),
                None => segment(weights, &self::params(weights, scheme), scheme, result),
            }
        }
    };
    // Three weights take a nanosecond.
    if worth_sharing(weights.len() as u64 / 3) {
        result.par_chunks_mut(cols).zip(weights.par_chunks(cols)).for_each(row);
    } else {
        result.chunks_mut(cols).zip(weights.chunks(cols)).for_each(row);
    }
}

/// Scale and zero point of a segment.
fn params(weights: &[f32], scheme: &QuantScheme) -> QuantParams {
    let mut partial = Partial::default();
    partial.add(weights);
    let stats: SegmentStats = partial.finish();
    quant_params::compute(FloatType::F32, &[stats], scheme)
}

fn segment(weights: &[f32], params: &QuantParams, scheme: &QuantScheme, result: &mut [f32]) {
    let coding = Coding::new(FloatType::F32, params, 0, scheme);
    let mut codes = [0; BLOCK];
    for (weights, result) in weights.chunks(BLOCK).zip(result.chunks_mut(BLOCK)) {
        let codes = &mut codes[..weights.len()];
        coding.encode(weights, codes);
        coding.decode(codes, result);
    }
}

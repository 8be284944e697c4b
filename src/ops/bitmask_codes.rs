//! Packed codes without those that mean zero: a bit mask, and the others as one bitstream.

use super::bitmask::{check_mask, mask_bytes, mask_words, prefix_sum};
use super::quant_params::{self, Recorded};
use super::{Backend, dequantize, download, quantize, segmentation, words};
use crate::cpu;
use crate::error::{FormatProblem, Result, UsageError};
use crate::gpu::{Buffer, Gpu, Kernel, Recorder};
use crate::scheme::{QuantParams, QuantScheme};
use crate::tensor::{DType, FloatType};

pub use crate::cpu::bitmask_codes::KeptCodes;

const MASK: Kernel = Kernel {
    file: "bitmask_codes.wgsl",
    entry: "bitmask_codes_mask",
    constants: &[],
    estimates: false,
};
const SCATTER: Kernel = Kernel { entry: "bitmask_codes_scatter", ..MASK };
const GATHER: Kernel = Kernel { entry: "bitmask_codes_gather", ..MASK };

fn values(cols: usize, scheme: &QuantScheme, words: usize) -> [(&'static str, u32); 7] {
    let (segment_len, segments_per_row) = segmentation(scheme, cols);
    [
        ("cols", cols as u32),
        ("mask_words", cols.div_ceil(32) as u32),
        ("words_per_row", scheme.words_per_row(cols) as u32),
        ("segment_len", segment_len),
        ("segments_per_row", segments_per_row),
        ("bits", scheme.bits as u32),
        ("words", words as u32),
    ]
}

/// Keeps of the packed codes `[rows, words_per_row]` those that are not their zero point. The
/// stream of kept codes begins at place `lead` of its first word.
///
/// # Errors
/// [`UsageError`] where scheme, parameters and shape do not fit or `lead` is a word or more,
/// [`FormatProblem::ShapeSize`] where `packed` is not `[rows, words_per_row]`, or a device error.
pub fn encode(
    backend: &Backend,
    packed: &[u32],
    (rows, cols): (usize, usize),
    lead: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<KeptCodes> {
    quantize::check_packed(packed, (rows, cols), params, scheme)?;
    check_places(lead, params, scheme)?;
    match backend {
        Backend::Gpu(gpu) if !packed.is_empty() => {
            let codes = Codes { packed, rows, cols, params, scheme };
            codes.encode(gpu, lead)
        }
        _ => Ok(cpu::bitmask_codes::encode(packed, rows, cols, lead, params, scheme)),
    }
}

/// Fails for a stream that begins beyond its first word, and for zero points that are no codes.
fn check_places(lead: usize, params: &QuantParams, scheme: &QuantScheme) -> Result<()> {
    if lead >= scheme.codes_per_word() {
        return Err(UsageError::OutOfRange {
            what: "the place of the first kept code",
            value: lead.to_string(),
            expected: "one in the first word",
        }
        .into());
    }
    let half = 1 << (scheme.bits as u32 - 1);
    match params.zero_point.iter().find(|zp| !(-half..half).contains(&i32::from(**zp))) {
        None => Ok(()),
        Some(zero_point) => Err(UsageError::OutOfRange {
            what: "a zero point",
            value: zero_point.to_string(),
            expected: "a code of the scheme",
        }
        .into()),
    }
}

/// Packed codes `[rows, words_per_row]`.
struct Codes<'a> {
    packed: &'a [u32],
    rows: usize,
    cols: usize,
    params: &'a QuantParams,
    scheme: &'a QuantScheme,
}

impl Codes<'_> {
    fn encode(&self, gpu: &Gpu, lead: usize) -> Result<KeptCodes> {
        let Self { packed, rows, cols, scheme, .. } = *self;
        let words_per_row = cols.div_ceil(32);
        let total = rows * words_per_row;

        let mut recorder = gpu.recorder();
        let codes = recorder.upload(bytemuck::cast_slice(packed))?;
        let zero_point = quant_params::upload(&mut recorder, self.params)?.zero_point;
        let mask = recorder.storage(total as u64 * 4)?;
        let params = recorder.params(&MASK, &values(cols, scheme, total))?;
        let bindings = [(0, &codes), (1, &zero_point), (2, &mask), (6, &params)];
        recorder.dispatch_at(&MASK, &bindings, total as u64, 256)?;
        recorder.download(&mask, total * 4)?;
        let found = words(&recorder.run()?.downloads[0]);

        let (mut offsets, kept) = prefix_sum(&found);
        let row_offsets = offsets.iter().step_by(words_per_row).map(|o| i64::from(*o)).collect();
        offsets.iter_mut().for_each(|offset| *offset += lead as u32);
        let stream_bytes = (lead + kept as usize).div_ceil(scheme.codes_per_word()) * 4;
        let mut recorder = gpu.recorder();
        let offsets = recorder.upload(bytemuck::cast_slice(&offsets))?;
        let stream = recorder.zeros(stream_bytes as u64)?;
        let bindings = [(0, &codes), (2, &mask), (3, &offsets), (4, &stream), (6, &params)];
        recorder.dispatch_at(&SCATTER, &bindings, total as u64, 256)?;
        recorder.download(&stream, stream_bytes)?;
        let stream = words(&recorder.run()?.downloads[0]);
        Ok(KeptCodes { words: stream, lead, bitmask: mask_bytes(&found, cols), row_offsets })
    }
}

/// The packed codes `[rows, words_per_row]`, with the code of the zero point where none was kept.
///
/// # Errors
/// [`FormatProblem::ShapeSize`] where the parts do not fit each other,
/// [`UsageError`] where scheme, parameters and shape do not, or a device error.
pub fn decode(
    backend: &Backend,
    kept: &KeptCodes,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<Vec<u32>> {
    check(kept, cols, params, scheme)?;
    match backend {
        Backend::Gpu(gpu) if !kept.bitmask.is_empty() => {
            let total = kept.row_offsets.len() * scheme.words_per_row(cols);
            let bytes = download(gpu, total * 4, |recorder| {
                let params = quant_params::upload(recorder, params)?;
                record(recorder, kept, cols, &params, scheme)
            })?;
            Ok(words(&bytes))
        }
        _ => Ok(cpu::bitmask_codes::decode(kept, cols, params, scheme)),
    }
}

/// [`decode`] and [`dequantize::dense`] without leaving the device between them.
///
/// # Errors
/// As [`decode`].
pub fn dense(
    backend: &Backend,
    float: FloatType,
    kept: &KeptCodes,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Result<Vec<u8>> {
    check(kept, cols, params, scheme)?;
    let rows = kept.row_offsets.len();
    match backend {
        Backend::Gpu(gpu) if !kept.bitmask.is_empty() => {
            download(gpu, rows * cols * float.size(), |recorder| {
                let params = quant_params::upload(recorder, params)?;
                let packed = record(recorder, kept, cols, &params, scheme)?;
                dequantize::record(recorder, float, &packed, (rows, cols), &params, scheme)
            })
        }
        _ => {
            let packed = cpu::bitmask_codes::decode(kept, cols, params, scheme);
            Ok(cpu::dequantize::dense(float, &packed, rows, cols, params, scheme))
        }
    }
}

/// The reference and the kernel trust the counts, so files are not.
fn check(kept: &KeptCodes, cols: usize, params: &QuantParams, scheme: &QuantScheme) -> Result<()> {
    let rows = kept.row_offsets.len();
    quantize::check(rows, cols, params, scheme)?;
    check_places(kept.lead, params, scheme)?;
    let codes = check_mask(&kept.bitmask, &kept.row_offsets, cols)?;
    let words = (kept.lead + codes).div_ceil(scheme.codes_per_word());
    if kept.words.len() == words {
        return Ok(());
    }
    let (shape, dtype, bytes) = (vec![words], DType::I32, kept.words.len() as u64 * 4);
    Err(FormatProblem::ShapeSize { shape, dtype, bytes }.into())
}

/// Records the kernel that decodes.
fn record(
    recorder: &mut Recorder,
    kept: &KeptCodes,
    cols: usize,
    params: &Recorded,
    scheme: &QuantScheme,
) -> Result<Buffer> {
    let total = kept.row_offsets.len() * scheme.words_per_row(cols);
    let masks = mask_words(&kept.bitmask, cols);
    let (mut offsets, _) = prefix_sum(&masks);
    offsets.iter_mut().for_each(|offset| *offset += kept.lead as u32);
    let stream = recorder.upload(bytemuck::cast_slice(&kept.words))?;
    let masks = recorder.upload(bytemuck::cast_slice(&masks))?;
    let offsets = recorder.upload(bytemuck::cast_slice(&offsets))?;
    let result = recorder.storage(total as u64 * 4)?;
    let values = recorder.params(&GATHER, &values(cols, scheme, total))?;
    let bindings = [
        (0, &stream),
        (1, &params.zero_point),
        (2, &masks),
        (3, &offsets),
        (5, &result),
        (6, &values),
    ];
    recorder.dispatch_at(&GATHER, &bindings, total as u64, 256)?;
    Ok(result)
}

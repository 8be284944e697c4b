//! The sparse-bitmask form: which weights are not zero, and those alone.

use super::{Backend, download, element_words, kernel, rows, words};
use crate::cpu::{self, bitmask::Bitmask};
use crate::error::{FormatProblem, Result};
use crate::gpu::Gpu;
use crate::tensor::{DType, FloatType};

/// Encodes rows of `cols` weights.
///
/// # Errors
/// [`FormatProblem::ShapeSize`] where `data` is not whole rows, or a device error.
pub fn encode(backend: &Backend, float: FloatType, data: &[u8], cols: usize) -> Result<Bitmask> {
    let rows = rows(float, data, cols)?;
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::bitmask::encode(float, data, cols)),
        Backend::Gpu(gpu) => gpu,
    };
    if rows == 0 {
        return Ok(Bitmask::default());
    }
    let words_per_row = cols.div_ceil(32);
    let total = rows * words_per_row;
    let params = params(rows * cols, cols, total);

    let mut recorder = gpu.recorder();
    let weights = recorder.upload(data)?;
    let mask = recorder.storage(total as u64 * 4)?;
    let find = kernel("bitmask.wgsl", "bitmask_mask", float);
    let params = recorder.params(&find, &params)?;
    recorder.dispatch_at(&find, &[(0, &weights), (1, &mask), (5, &params)], total as u64, 256)?;
    recorder.download(&mask, total * 4)?;
    let found = words(&recorder.run()?.downloads[0]);

    let (offsets, kept) = prefix_sum(&found);
    let mut recorder = gpu.recorder();
    let offset_buffer = recorder.upload(bytemuck::cast_slice(&offsets))?;
    let kept_bytes = kept as usize * float.size();
    let compressed = recorder.zeros(kept_bytes as u64)?;
    let scatter = kernel("bitmask.wgsl", "bitmask_scatter", float);
    let bindings = [(0, &weights), (1, &mask), (2, &offset_buffer), (3, &compressed), (5, &params)];
    recorder.dispatch_at(&scatter, &bindings, total as u64, 256)?;
    recorder.download(&compressed, kept_bytes)?;
    let compressed = recorder.run()?.downloads.swap_remove(0);

    Ok(Bitmask {
        compressed,
        bitmask: mask_bytes(&found, cols),
        row_offsets: offsets.iter().step_by(words_per_row).map(|o| i64::from(*o)).collect(),
    })
}

fn params(count: usize, cols: usize, words: usize) -> [(&'static str, u32); 4] {
    [
        ("count", count as u32),
        ("cols", cols as u32),
        ("words_per_row", cols.div_ceil(32) as u32),
        ("words", words as u32),
    ]
}

/// Kept weights before each mask word, and in all.
pub(super) fn prefix_sum(mask: &[u32]) -> (Vec<u32>, u32) {
    let mut total = 0;
    let offsets = mask
        .iter()
        .map(|word| {
            let before = total;
            total += word.count_ones();
            before
        })
        .collect();
    (offsets, total)
}

/// Decodes; kept weights go back to their places and the rest is +0.
///
/// # Errors
/// [`FormatProblem::ShapeSize`] where the parts do not fit each other, or a device error.
pub fn decode(backend: &Backend, float: FloatType, mask: &Bitmask, cols: usize) -> Result<Vec<u8>> {
    check(float, mask, cols)?;
    match backend {
        Backend::Cpu => Ok(cpu::bitmask::decode(float, mask, cols)),
        Backend::Gpu(_) if mask.row_offsets.is_empty() || cols == 0 => Ok(vec![]),
        Backend::Gpu(gpu) => gather(gpu, float, mask, cols),
    }
}

/// The reference and the kernel trust the counts, so files are not.
pub(super) fn check(float: FloatType, mask: &Bitmask, cols: usize) -> Result<()> {
    let kept = check_mask(&mask.bitmask, &mask.row_offsets, cols)?;
    if mask.compressed.len() == kept * float.size() {
        return Ok(());
    }
    let (shape, bytes) = (vec![kept], mask.compressed.len() as u64);
    Err(FormatProblem::ShapeSize { shape, dtype: float.dtype(), bytes }.into())
}

/// The number of bits in a mask in which every row must start where the bits say.
pub(super) fn check_mask(bitmask: &[u8], row_offsets: &[i64], cols: usize) -> Result<usize> {
    let bytes_per_row = cols.div_ceil(8);
    let rows = row_offsets.len();
    let problem = |dtype, bytes: usize| {
        Err(FormatProblem::ShapeSize { shape: vec![rows, cols], dtype, bytes: bytes as u64 }.into())
    };
    if bitmask.len() != rows * bytes_per_row {
        return problem(DType::U8, bitmask.len());
    }
    let mut before = 0_i64;
    for (row, offset) in row_offsets.iter().enumerate() {
        let bytes = &bitmask[row * bytes_per_row..][..bytes_per_row];
        let beyond = bytes.last().is_some_and(|b| !cols.is_multiple_of(8) && b >> (cols % 8) != 0);
        if *offset != before || beyond {
            return problem(DType::I64, rows * 8);
        }
        before += bytes.iter().map(|b| i64::from(b.count_ones())).sum::<i64>();
    }
    Ok(before as usize)
}

/// Mask bytes `[rows, ceil(cols / 8)]` as words `[rows, ceil(cols / 32)]`.
pub(super) fn mask_words(bitmask: &[u8], cols: usize) -> Vec<u32> {
    let rows = bitmask.chunks_exact(cols.div_ceil(8).max(1));
    let words = rows.flat_map(|row| {
        row.chunks(4).map(|part| {
            let mut word = [0; 4];
            word[..part.len()].copy_from_slice(part);
            u32::from_le_bytes(word)
        })
    });
    words.collect()
}

/// The way back.
pub(super) fn mask_bytes(words: &[u32], cols: usize) -> Vec<u8> {
    let rows = words.chunks_exact(cols.div_ceil(32).max(1));
    let bytes = |row: &[u32]| row.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    rows.flat_map(|row| bytes(row).into_iter().take(cols.div_ceil(8))).collect()
}

fn gather(gpu: &Gpu, float: FloatType, mask: &Bitmask, cols: usize) -> Result<Vec<u8>> {
    let rows = mask.row_offsets.len();
    let masks = mask_words(&mask.bitmask, cols);
    let (offsets, _) = prefix_sum(&masks);
    let count = rows * cols;
    let total = element_words(float, count);
    let params = params(count, cols, total);
    download(gpu, count * float.size(), |recorder| {
        let kept = recorder.upload(&mask.compressed)?;
        let masks = recorder.upload(bytemuck::cast_slice(&masks))?;
        let offsets = recorder.upload(bytemuck::cast_slice(&offsets))?;
        let dense = recorder.storage(total as u64 * 4)?;
        let kernel = kernel("bitmask.wgsl", "bitmask_gather", float);
        let params = recorder.params(&kernel, &params)?;
        let bindings = [(0, &kept), (1, &masks), (2, &offsets), (4, &dense), (5, &params)];
        recorder.dispatch_at(&kernel, &bindings, total as u64, 256)?;
        Ok(dense)
    })
}

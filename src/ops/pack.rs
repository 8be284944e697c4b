//! Signed codes to little-endian bitstreams and back.

use super::{Backend, download, words};
use crate::cpu;
use crate::error::{FormatProblem, Result};
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::scheme::Bits;
use crate::tensor::DType;

const PACK: Kernel = Kernel { file: "pack.wgsl", entry: "pack", constants: &[], estimates: false };
const UNPACK: Kernel = Kernel { entry: "unpack", ..PACK };

fn shape_error(cols: usize, dtype: DType, bytes: usize) -> crate::Error {
    FormatProblem::ShapeSize { shape: vec![cols], dtype, bytes: bytes as u64 }.into()
}

/// The kernels' parameters; `words` of the result first.
type Params = [(&'static str, u32); 5];

fn params(words: usize, cols: usize, bits: Bits, count: usize) -> Params {
    [
        ("words", words as u32),
        ("cols", cols as u32),
        ("words_per_row", (cols * bits as usize).div_ceil(32) as u32),
        ("bits", bits as u32),
        ("count", count as u32),
    ]
}

fn record(
    recorder: &mut Recorder,
    kernel: &Kernel,
    source: &[u8],
    params: &Params,
) -> Result<Buffer> {
    let source = recorder.upload(source)?;
    let result = recorder.storage(u64::from(params[0].1) * 4)?;
    recorder.dispatch(kernel, &[&source, &result], params, params[0].1.into(), 256)?;
    Ok(result)
}

/// Packs codes `[rows, cols]`: each row is one bitstream of `code + 2^(bits-1)`, zero padded.
///
/// # Errors
/// [`FormatProblem::ShapeSize`] where `codes` is not whole rows, or a device error.
pub fn pack(backend: &Backend, codes: &[i8], cols: usize, bits: Bits) -> Result<Vec<u32>> {
    if codes.is_empty() {
        return Ok(vec![]);
    }
    if cols == 0 || !codes.len().is_multiple_of(cols) {
        return Err(shape_error(cols, DType::I8, codes.len()));
    }
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::pack::pack(codes, cols, bits)),
        Backend::Gpu(gpu) => gpu,
    };
    let words_per_row = (cols * bits as usize).div_ceil(32);
    let total = codes.len() / cols * words_per_row;
    let params = params(total, cols, bits, codes.len());
    let bytes =
        download(gpu, total * 4, |r| record(r, &PACK, bytemuck::cast_slice(codes), &params))?;
    Ok(words(&bytes))
}

/// The codes `[rows, cols]` of packed rows.
///
/// # Errors
/// [`FormatProblem::ShapeSize`] where `stream` is not whole rows, or a device error.
pub fn unpack(backend: &Backend, stream: &[u32], cols: usize, bits: Bits) -> Result<Vec<i8>> {
    if stream.is_empty() {
        return Ok(vec![]);
    }
    let words_per_row = (cols * bits as usize).div_ceil(32);
    if cols == 0 || !stream.len().is_multiple_of(words_per_row) {
        return Err(shape_error(cols, DType::I32, stream.len() * 4));
    }
    let gpu = match backend {
        Backend::Cpu => return Ok(cpu::pack::unpack(stream, cols, bits)),
        Backend::Gpu(gpu) => gpu,
    };
    let count = stream.len() / words_per_row * cols;
    let total = count.div_ceil(4);
    let params = params(total, cols, bits, count);
    let bytes =
        download(gpu, count, |r| record(r, &UNPACK, bytemuck::cast_slice(stream), &params))?;
    Ok(bytemuck::cast_vec(bytes))
}

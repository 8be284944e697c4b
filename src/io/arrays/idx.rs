//! IDX, the format of MNIST and Fashion-MNIST (<http://yann.lecun.com/exdb/mnist/>): two zero
//! bytes, type, number of dimensions, extents, data; all big-endian.

use std::io::Read;

use super::{Array, ArrayData, Limit, payload, read_exactly, sizes};
use crate::error::{ArrayProblem, Result};

/// Reads what follows the first four bytes, of which `kind` is the type.
pub(super) fn read(mut stream: impl Read, kind: u8, dimensions: u8, limit: Limit) -> Result<Array> {
    let size = match kind {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => {
            let reason = format!(
                "the magic bytes name the type {kind:#04x}; 0x08, 0x09 or 0x0b to 0x0e was expected"
            );
            return Err(ArrayProblem::Header { kind: "IDX", reason }.into());
        }
    };
    let mut extents = vec![0; usize::from(dimensions) * 4];
    read_exactly(&mut stream, &mut extents, "IDX")?;
    let shape: Vec<u64> =
        extents.as_chunks::<4>().0.iter().map(|b| u64::from(u32::from_be_bytes(*b))).collect();
    let bytes = payload(&mut stream, &shape, size, limit)?;
    let data = match kind {
        0x08 => ArrayData::U8(bytes),
        0x09 => ArrayData::I64(bytes.iter().map(|b| i64::from(*b as i8)).collect()),
        0x0b => ArrayData::I64(
            bytes.as_chunks::<2>().0.iter().map(|b| i64::from(i16::from_be_bytes(*b))).collect(),
        ),
        0x0c => ArrayData::I64(
            bytes.as_chunks::<4>().0.iter().map(|b| i64::from(i32::from_be_bytes(*b))).collect(),
        ),
        0x0d => ArrayData::F32(
            bytes.as_chunks::<4>().0.iter().map(|b| f32::from_be_bytes(*b)).collect(),
        ),
        _ => ArrayData::F32(
            bytes.as_chunks::<8>().0.iter().map(|b| f64::from_be_bytes(*b) as f32).collect(),
        ),
    };
    Ok(Array { shape: sizes(&shape), data })
}

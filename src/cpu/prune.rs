//! Magnitude pruning by a cut.
use super::convert::{self, INFINITE_KEY, KEY_MASK};
use crate::scheme::Cut;
use crate::tensor::FloatType;
use multiversion::multiversion;

/// Zeroes what `cut` does not keep; the first element of `data` has index `first_index`.
pub fn apply(float: FloatType, data: &mut [u8], cut: Cut, first_index: u64) {
    // Indices only grow, so the ties that survive are a prefix: in it keys from `cut.key` on are
    // kept, after it keys from `cut.key + 1` on.
    let len = data.len() / float.size();
    let ties = cut.ties_below.saturating_sub(first_index).min(len as u64) as usize;
    let (head, tail) = data.split_at_mut(ties * float.size());
    keep_from(float, head, cut.key);
    keep_from(float, tail, cut.key.saturating_add(1));
}

/// Keeps the elements whose key is at least `key`.
fn keep_from(float: FloatType, data: &mut [u8], key: u32) {
    match float {
        FloatType::F32 => keep_from_32(data, key),
        FloatType::BF16 => keep_from_16(data, key.div_ceil(1 << 16)),
        FloatType::F16 if key <= INFINITE_KEY => keep_from_16(data, first_f16_from(key)),
        FloatType::F16 => keep_nan_from(data, key),
    }
}

/// The smallest binary16 magnitude whose key is at least `key`; up to infinity they grow together.
fn first_f16_from(key: u32) -> u32 {
    let (mut low, mut high) = (0_u16, 0x7c00);
    while low < high {
        let middle = (low + high) / 2;
        if convert::f16_to_f32_bits(middle) < key {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    u32::from(low)
}

/// Elements that are handled at once.
const LANES: usize = 32;

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn keep_from_32(data: &mut [u8], key: u32) {
    let keep = |bits: u32| if u32::from_le(bits) & KEY_MASK >= key { bits } else { 0 };
    let (chunks, rest) = data.as_chunks_mut::<{ 4 * LANES }>();
    for chunk in chunks {
        *chunk = bytemuck::cast(bytemuck::cast::<_, [u32; LANES]>(*chunk).map(keep));
    }
    for b in rest.as_chunks_mut().0 {
        *b = keep(u32::from_ne_bytes(*b)).to_ne_bytes();
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn keep_from_16(data: &mut [u8], magnitude: u32) {
    // Magnitudes have 15 bits; 0x8000 keeps none.
    let magnitude = magnitude.min(0x8000) as u16;
    let keep = |bits: u16| if u16::from_le(bits) & 0x7fff >= magnitude { bits } else { 0 };
    let (chunks, rest) = data.as_chunks_mut::<{ 2 * LANES }>();
    for chunk in chunks {
        *chunk = bytemuck::cast(bytemuck::cast::<_, [u16; LANES]>(*chunk).map(keep));
    }
    for b in rest.as_chunks_mut().0 {
        *b = keep(u16::from_ne_bytes(*b)).to_ne_bytes();
    }
}

/// A cut among the NaN of binary16, whose keys do not grow with their bits.
fn keep_nan_from(data: &mut [u8], key: u32) {
    for b in data.chunks_exact_mut(2) {
        if convert::f16_to_f32_bits(u16::from_le_bytes([b[0], b[1]])) & KEY_MASK < key {
            b.fill(0);
        }
    }
}

//! Magnitude pruning by a cut.
use super::convert::{self, KEY_MASK};
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

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn keep_from(float: FloatType, data: &mut [u8], key: u32) {
    match float {
        FloatType::F32 => {
            for b in data.chunks_exact_mut(4) {
                let bits = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                let kept = if bits & KEY_MASK >= key { bits } else { 0 };
                b.copy_from_slice(&kept.to_le_bytes());
            }
        }
        FloatType::F16 => keep_from_16(data, key, convert::f16_to_f32_bits),
        FloatType::BF16 => keep_from_16(data, key, |bits| u32::from(bits) << 16),
    }
}

#[inline(always)]
fn keep_from_16(data: &mut [u8], key: u32, widen: impl Fn(u16) -> u32) {
    for b in data.chunks_exact_mut(2) {
        let bits = u16::from_le_bytes([b[0], b[1]]);
        let kept = if widen(bits) & KEY_MASK >= key { bits } else { 0 };
        b.copy_from_slice(&kept.to_le_bytes());
    }
}

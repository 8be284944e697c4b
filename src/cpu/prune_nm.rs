//! N:M pruning along the rows of a matrix.
use super::convert::{self, BLOCK, KEY_MASK};
use crate::scheme::NmPattern;
use crate::tensor::FloatType;
use multiversion::multiversion;

/// Keeps `pattern.keep` of every `pattern.of` consecutive weights of each row of `cols`.
pub fn apply(float: FloatType, data: &mut [u8], cols: usize, pattern: NmPattern) {
    if cols == 0 || pattern.of == 0 {
        return;
    }
    // Where blocks end with the rows, rows are no boundary.
    let unit = if cols.is_multiple_of(pattern.of) {
        (BLOCK / pattern.of).max(1) * pattern.of
    } else {
        cols
    };
    let mut keys = vec![0.0; unit.min(data.len() / float.size())];
    let mut kept = vec![false; keys.len()];
    for part in data.chunks_mut(unit * float.size()) {
        let len = part.len() / float.size();
        convert::decode(float, part, &mut keys[..len]);
        choose(&keys[..len], &mut kept[..len], pattern);
        zero_others(part, &kept[..len], float.size());
    }
}

/// Says which of `values` survive: those that fewer than `keep` others come before in their block,
/// larger magnitudes first and then lower indices.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn choose(values: &[f32], kept: &mut [bool], pattern: NmPattern) {
    let whole = match pattern.of {
        2 => choose_whole::<2>(values, kept, pattern.keep),
        4 => choose_whole::<4>(values, kept, pattern.keep),
        8 => choose_whole::<8>(values, kept, pattern.keep),
        16 => choose_whole::<16>(values, kept, pattern.keep),
        _ => 0,
    };
    let blocks = values[whole..].chunks(pattern.of).zip(kept[whole..].chunks_mut(pattern.of));
    for (block, kept) in blocks {
        for (i, value) in block.iter().enumerate() {
            let key = value.to_bits() & KEY_MASK;
            let before = |(j, other): (usize, &f32)| {
                let other = other.to_bits() & KEY_MASK;
                usize::from(other > key || (other == key && j < i))
            };
            kept[i] = block.iter().enumerate().map(before).sum::<usize>() < pattern.keep;
        }
    }
}

const LANES: usize = 16;

/// [`choose`] for the leading lanes full of whole blocks; returns how many elements these are.
#[inline(always)]
fn choose_whole<const OF: usize>(values: &[f32], kept: &mut [bool], keep: usize) -> usize {
    let chunks = values.chunks_exact(LANES).zip(kept.chunks_exact_mut(LANES));
    for (values, kept) in chunks {
        let keys: [u32; LANES] = std::array::from_fn(|i| values[i].to_bits() & KEY_MASK);
        let mut rank = [0_u32; LANES];
        // The others of a block are the lanes that differ from a lane in the low bits.
        for distance in 1..OF {
            // An earlier element wins ties: 1 more turns `>` into `>=`, and keys have 31 bits.
            let others: [u32; LANES] = std::array::from_fn(|i| {
                let other = i ^ distance;
                keys[other] + u32::from(other < i)
            });
            for i in 0..LANES {
                rank[i] += u32::from(others[i] > keys[i]);
            }
        }
        for i in 0..LANES {
            kept[i] = rank[i] < keep as u32;
        }
    }
    values.len() / LANES * LANES
}

/// Zeroes the elements of `size` bytes that are not kept.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn zero_others(data: &mut [u8], kept: &[bool], size: usize) {
    if size == 4 {
        for (b, kept) in data.chunks_exact_mut(4).zip(kept) {
            let bits = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
            b.copy_from_slice(&(bits & 0_u32.wrapping_sub(u32::from(*kept))).to_ne_bytes());
        }
    } else {
        for (b, kept) in data.chunks_exact_mut(2).zip(kept) {
            let bits = u16::from_ne_bytes([b[0], b[1]]);
            b.copy_from_slice(&(bits & 0_u16.wrapping_sub(u16::from(*kept))).to_ne_bytes());
        }
    }
}

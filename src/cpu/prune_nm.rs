//! N:M pruning along the rows of a matrix.
use super::convert::{self, KEY_MASK};
use crate::scheme::NmPattern;
use crate::tensor::FloatType;

/// Keeps `pattern.keep` of every `pattern.of` consecutive weights of each row of `cols`.
pub fn apply(float: FloatType, data: &mut [u8], cols: usize, pattern: NmPattern) {
    if cols == 0 || pattern.of == 0 {
        return;
    }
    let size = float.size();
    let mut values = vec![0.0; cols];
    for row in data.chunks_exact_mut(cols * size) {
        convert::decode(float, row, &mut values);
        let blocks = row.chunks_mut(pattern.of * size).zip(values.chunks(pattern.of));
        for (bytes, block) in blocks {
            prune_block(bytes, block, size, pattern.keep);
        }
    }
}

/// An element survives where fewer than `keep` others come before it, larger magnitudes first and
/// then lower indices.
#[inline(always)]
fn prune_block(bytes: &mut [u8], block: &[f32], size: usize, keep: usize) {
    for (i, value) in block.iter().enumerate() {
        let key = value.to_bits() & KEY_MASK;
        let before = |(j, other): (usize, &f32)| {
            let other = other.to_bits() & KEY_MASK;
            usize::from(other > key || (other == key && j < i))
        };
        let rank: usize = block.iter().enumerate().map(before).sum();
        if rank >= keep {
            bytes[i * size..(i + 1) * size].fill(0);
        }
    }
}

//! Magnitude pruning to an exact sparsity.
use super::{histogram, prune};
use crate::scheme::{Cut, RadixDigit};
use crate::tensor::FloatType;

/// Shift and width of the digits of a magnitude key.
pub const DIGITS: [(u32, u32); 3] = [(20, 11), (10, 10), (0, 10)];

/// Zeroes the `rank` weights of smallest magnitude of all `tensors` together; of equal ones those
/// that come last, in the order of the tensors and of the weights in each.
pub fn prune_exact(tensors: &mut [&mut [f32]], rank: u64) {
    let all: u64 = tensors.iter().map(|tensor| tensor.len() as u64).sum();
    if rank == 0 || all == 0 {
        return;
    }
    let cut = cut(tensors, rank.min(all));
    let mut first = 0;
    for tensor in tensors {
        let len = tensor.len() as u64;
        prune::apply(FloatType::F32, bytemuck::cast_slice_mut(tensor), cut, first);
        first += len;
    }
}

/// A radix select over the magnitude keys, digit by digit, then a count of those that are equal.
fn cut(tensors: &[&mut [f32]], rank: u64) -> Cut {
    let (mut rank, mut prefix, mut ties) = (rank, 0, 0);
    for (shift, bits) in DIGITS {
        let mut totals = vec![0_u64; 1 << bits];
        for tensor in tensors {
            let digit = RadixDigit { shift, bits, prefix };
            let counts = histogram::count(FloatType::F32, bytemuck::cast_slice(tensor), digit);
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += u64::from(count));
        }
        for (digit, count) in (0..).zip(totals) {
            if rank <= count {
                (prefix, ties) = (prefix << bits | digit, count);
                break;
            }
            rank -= count;
        }
    }
    if prefix == 0 {
        // Zeros alone: there is nothing to choose, and each becomes +0.
        return Cut { key: 0, ties_below: 0 };
    }
    let keep = (ties - rank) as usize;
    let weights = tensors.iter().flat_map(|tensor| tensor.iter());
    let equal = weights.zip(0..).filter(|(w, _)| w.to_bits() & 0x7fff_ffff == prefix);
    let ties_below = equal.map(|(_, index)| index).nth(keep).unwrap_or(u64::MAX);
    Cut { key: prefix, ties_below }
}

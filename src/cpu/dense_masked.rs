//! A dense layer straight from a bit mask and the weights that are not zero.
use super::bitmask::Bitmask;
use super::product::{self, Rows};
use crate::scheme::Activation;
use crate::tensor::FloatType;

/// Weights `[rows, cols]` without their zeros.
#[derive(Clone, Copy, Debug)]
pub struct MaskedWeights<'a> {
    /// Type of the kept weights.
    pub float: FloatType,
    /// What is kept.
    pub mask: &'a Bitmask,
    /// Input features.
    pub cols: usize,
}

/// act(X · Wᵀ + b): `x` is `[batch, cols]`, `bias` `[rows]` and `out` `[batch, rows]`. Only kept
/// weights are read; rows are decoded a tile at a time for larger batches.
pub fn dense_masked(
    x: &[f32],
    weights: &MaskedWeights<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    product::run(weights, x, bias, activation, out);
}

impl MaskedWeights<'_> {
    /// Calls `each` with the column and the place among the kept weights of each of a row.
    #[inline(always)]
    fn for_each(&self, row: usize, mut each: impl FnMut(usize, usize)) {
        let bytes = self.cols.div_ceil(8);
        let mut place = self.mask.row_offsets[row] as usize;
        for (number, part) in self.mask.bitmask[row * bytes..][..bytes].chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            let mut bits = u64::from_le_bytes(word);
            while bits != 0 {
                each(number * 64 + bits.trailing_zeros() as usize, place);
                bits &= bits - 1;
                place += 1;
            }
        }
    }
}

impl Rows for MaskedWeights<'_> {
    fn outputs(&self) -> usize {
        self.mask.row_offsets.len()
    }

    fn inputs(&self) -> usize {
        self.cols
    }

    fn decode(&self, row: usize, out: &mut [f32]) {
        out.fill(0.0);
        self.for_each(row, |col, place| out[col] = self.float.load(&self.mask.compressed, place));
    }

    fn dot(&self, row: usize, x: &[f32]) -> f32 {
        // Four sums, so that an addition need not wait for the one before it.
        let mut sums = [0.0; 4];
        self.for_each(row, |col, place| {
            sums[place % 4] += self.float.load(&self.mask.compressed, place) * x[col];
        });
        (sums[0] + sums[1]) + (sums[2] + sums[3])
    }
}

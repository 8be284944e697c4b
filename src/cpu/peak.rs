//! Multiply-adds and nothing else: what products of matrices are measured against.

use super::product::total;
use super::simd::{Kernel, LANES, Level, Simd};

/// Does `rounds` rounds of multiply-adds on one thread that need no memory. Gives a value that
/// depends on all of them, and the number of floating-point operations, two each.
pub fn multiply_adds(level: Level, seed: f32, rounds: u32) -> (f32, u64) {
    let (value, chains) = level.run(MultiplyAdds { seed, rounds });
    (value, u64::from(rounds) * (chains * LANES * 2) as u64)
}

struct MultiplyAdds {
    seed: f32,
    rounds: u32,
}

/// Sums that do not wait for each other, at most.
const MOST: usize = 12;

impl Kernel for MultiplyAdds {
    type Output = (f32, usize);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, usize) {
        // More than those that a product of few rows needs, and fewer than there are registers.
        let chains = (S::CHAINS * 3 / 2).min(MOST);
        let mut sums = [simd.splat(self.seed); MOST];
        let (factor, term) = (simd.splat(0.999), simd.splat(0.001));
        for _ in 0..self.rounds {
            for sum in &mut sums[..chains] {
                *sum = simd.mul_add(*sum, factor, term);
            }
        }
        let mut all = [simd.splat(0.0); 16];
        all[..chains].copy_from_slice(&sums[..chains]);
        let mut lanes = [0.0; LANES];
        simd.store(total(simd, &mut all), &mut lanes);
        (lanes.iter().sum(), chains)
    }
}

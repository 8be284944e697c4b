//! Data and shapes for the cases.

use crate::scheme::{Arithmetic, Bits, Granularity, QuantScheme, Range};
use crate::tensor::FloatType;

/// SplitMix64 (Steele, Lea and Flood 2014): enough for test data, and the same everywhere.
pub(super) fn random(seed: u64, index: u64) -> u64 {
    let mut z = (seed << 32).wrapping_add(index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Weights that look trained: a sum of four uniforms, standard deviation 1.
pub(super) fn gaussian(float: FloatType, count: usize, seed: u64) -> Vec<u8> {
    let values: Vec<f32> = (0..count as u64)
        .map(|i| {
            let r = random(seed, i);
            let sum: f32 = (0..4).map(|k| ((r >> (16 * k)) & 0xffff) as f32 / 65_536.0).sum();
            (sum - 2.0) * 1.732
        })
        .collect();
    let mut data = Vec::with_capacity(count * float.size());
    float.encode(&values, &mut data);
    data
}

/// Weights with everything that goes wrong: zeros of both signs, ties, half steps, subnormals,
/// huge values; with `odd` also NaN and infinities.
pub(super) fn edges(float: FloatType, count: usize, seed: u64, odd: bool) -> Vec<u8> {
    let mut data = gaussian(float, count, seed);
    for i in 0..count {
        let r = random(seed + 77, i as u64);
        let value = match r % 16 {
            0 => 0.0,
            1 => -0.0,
            2 => 1.0,
            3 => -1.0,
            4 => ((r >> 8) % 31) as f32 / 2.0 - 7.5,
            5 => f32::from_bits(((r >> 8) as u32) & 0x800f_ffff),
            6 if (r >> 40).is_multiple_of(64) => 3.0e4 * if r & 256 == 0 { 1.0 } else { -1.0 },
            7 if odd => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][(r >> 8) as usize % 3],
            _ => continue,
        };
        let mut bytes = vec![];
        float.encode(&[value], &mut bytes);
        data[i * float.size()..][..float.size()].copy_from_slice(&bytes);
    }
    data
}

/// Weights around the smallest numbers of the type, where scales become subnormal.
pub(super) fn tiny(float: FloatType, count: usize, seed: u64) -> Vec<u8> {
    (0..count as u64)
        .flat_map(|i| {
            let r = random(seed, i);
            match float {
                FloatType::F32 => ((r as u32) & 0x80ff_ffff).to_le_bytes().to_vec(),
                FloatType::F16 => ((r as u16) & 0x83ff).to_le_bytes().to_vec(),
                FloatType::BF16 => ((r as u16) & 0x80ff).to_le_bytes().to_vec(),
            }
        })
        .collect()
}

/// Lengths around workgroups and words, primes, and one that folds into two dimensions.
pub(super) const LENGTHS: [usize; 12] = [0, 1, 2, 3, 7, 63, 255, 256, 257, 1021, 4096, 70_001];
/// Shapes likewise; `[3, 5]` and the like put rows across words.
pub(super) const SHAPES: [(usize, usize); 10] =
    [(0, 8), (1, 1), (1, 7), (3, 5), (2, 33), (5, 64), (16, 128), (17, 251), (3, 1030), (40, 256)];

pub(super) fn scheme(bits: Bits, granularity: Granularity) -> QuantScheme {
    QuantScheme {
        bits,
        symmetric: true,
        granularity,
        range: Range::Full,
        arithmetic: Arithmetic::F32,
    }
}

/// All schemes that differ in a kernel.
pub(super) fn schemes() -> Vec<QuantScheme> {
    let mut all = vec![];
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        for granularity in [Granularity::Tensor, Granularity::Channel, Granularity::Group(32)] {
            let plain = scheme(bits, granularity);
            for arithmetic in [Arithmetic::F32, Arithmetic::WeightType] {
                all.push(QuantScheme { arithmetic, ..plain });
                all.push(QuantScheme { arithmetic, symmetric: false, ..plain });
                all.push(QuantScheme { arithmetic, range: Range::Narrow, ..plain });
            }
            all.push(QuantScheme { range: Range::Multiplier(127), ..plain });
        }
    }
    all
}

pub(super) fn for_all(mut make: impl FnMut(FloatType)) {
    FloatType::ALL.into_iter().for_each(&mut make);
}

pub(super) fn words_bytes(words: &[u32]) -> Vec<u8> {
    bytemuck::cast_slice(words).to_vec()
}

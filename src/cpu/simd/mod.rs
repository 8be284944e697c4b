//! Vector instructions, chosen at run time, in one place.
//!
//! A kernel is written once over `Simd`, sixteen lanes of `f32` or of 32-bit integers, and
//! compiled for every [`Level`]. Integer results are the same on all of them. Float results may
//! differ in how products are rounded: levels with a fused multiply-add use it.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::sync::OnceLock;

use bytemuck::{Pod, Zeroable};

pub(super) use portable::Portable;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Sixteen floats that do not straddle a cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Floats(pub [f32; LANES]);

/// Sixteen words that do not straddle a cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Words(pub [u32; LANES]);

/// Sixteen 16-bit floats that do not straddle a cache line.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(32))]
pub(super) struct Halves(pub [u16; LANES]);

impl AsRef<[f32; LANES]> for Floats {
    #[inline(always)]
    fn as_ref(&self) -> &[f32; LANES] {
        &self.0
    }
}

impl AsMut<[f32; LANES]> for Floats {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut [f32; LANES] {
        &mut self.0
    }
}

impl AsRef<[u16; LANES]> for Halves {
    #[inline(always)]
    fn as_ref(&self) -> &[u16; LANES] {
        &self.0
    }
}

impl AsMut<[u16; LANES]> for Halves {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut [u16; LANES] {
        &mut self.0
    }
}

/// The highest bit of every field of `bits` bits.
const fn tops(bits: u32) -> u32 {
    (u32::MAX / ((1 << bits) - 1)) << (bits - 1)
}

/// Work that is compiled for each level.
pub(super) trait Kernel {
    /// What it gives.
    type Output;
    /// Does it. Implementations must be `#[inline(always)]`, all the way down to the methods of
    /// `simd`: only then are they compiled for its instructions. Closures that use `simd` are not,
    /// and neither `array::map` nor `array::from_fn` is sure to be inlined: loops are.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The operations that kernels are made of. A value of the type shows that the processor has the
/// instructions.
pub(super) trait Simd: Copy + Send + Sync {
    /// Sixteen `f32`.
    type F: Copy;
    /// Sixteen 32-bit integers.
    type I: Copy;

    /// Rows of inputs that a matrix kernel multiplies at once: as many as registers allow.
    const ROWS: usize;
    /// Vectors of weights that go with [`Simd::ROWS`].
    const PANELS: usize;
    /// Independent sums of one vector that registers allow: a power of two.
    const CHAINS: usize;
    /// Panels of weights that one row of inputs reads side by side, where their form allows it.
    /// Where it is one, weights are asked for ahead; where it is several, what the processor asks for
    /// by itself is faster, and nothing is, in any form.
    const STREAMS: usize;
    /// Whether the first half of the lanes takes half as long as all.
    const HALVES: bool;
    /// What [`Simd::dot4`] takes from unsigned bytes: 0, or 128 where signed ones are multiplied
    /// faster.
    const CENTER: i32;

    fn splat(self, value: f32) -> Self::F;
    fn load(self, values: &[f32; LANES]) -> Self::F;
    fn store(self, value: Self::F, to: &mut [f32; LANES]);
    /// The first half of the lanes.
    fn store_half(self, value: Self::F, to: &mut [f32; LANES / 2]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, rounded once or twice.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// binary16 to `f32`, exactly.
    fn load_f16(self, bits: &[u16; LANES]) -> Self::F;
    /// bfloat16 to `f32`, exactly.
    fn load_bf16(self, bits: &[u16; LANES]) -> Self::F;
    /// The first values, each at the place of the next set bit of `mask`; 0 elsewhere. `upper`
    /// begins with the value of the first set bit of the upper half.
    fn expand(self, mask: u16, values: Self::F, upper: Self::F) -> Self::F;
    /// The unsigned number in `bits` bits of each word, those from bit `at`, a multiple of `bits`,
    /// less 2^(bits − 1), in units of [`Simd::centered_unit`]: exactly. `bits` is at most 8.
    fn centered(self, words: Self::I, at: u32, bits: u32) -> Self::F;

    /// What 1 becomes in [`Simd::centered`], a power of two from 1 to 2^30.
    fn centered_unit(bits: u32) -> f32;

    /// Asks for what lies at an address, which may be any.
    fn prefetch(self, address: *const u8);

    fn splat_i(self, value: i32) -> Self::I;
    fn load_i(self, words: &[u32; LANES]) -> Self::I;
    #[cfg(test)]
    fn store_i(self, value: Self::I, to: &mut [u32; LANES]);
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// The low 32 bits of the products.
    fn mul_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `word >> shift & mask` of each word.
    fn field(self, words: Self::I, shift: u32, mask: u32) -> Self::I;
    /// Signed integers, rounded to `f32`.
    fn to_f32(self, value: Self::I) -> Self::F;
    /// `sum + Σ (unsigned − CENTER) · signed` over the four bytes of each word, exactly: nothing
    /// saturates on the way, and a sum beyond 32 bits wraps. No signed byte may be −128.
    fn dot4(self, sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I;
    /// `sum + Σ unsigned · signed` likewise for unsigned bytes below 128.
    fn dot4_low(self, sum: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I;
}

/// A set of vector instructions that this processor has.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Level {
    /// What the compiler makes of plain loops for the target: SSE2 or NEON at least.
    pub const PORTABLE: Self = Self(Set::Portable);

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let found = vec![
            (Set::Avx2, x86::has_avx2()),
            (Set::AvxVnni, x86::has_avx_vnni()),
            (Set::Avx512, x86::has_avx512()),
            (Set::Avx512Vnni, x86::has_avx512_vnni()),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let found: Vec<(Set, bool)> = vec![];
        let found = found.into_iter().filter(|(_, has)| *has).map(|(set, _)| Self(set));
        [Self::PORTABLE].into_iter().chain(found).collect()
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().pop().unwrap_or(Self::PORTABLE))
    }

    /// [`Simd::STREAMS`] and [`Simd::PANELS`].
    pub(super) fn panels(self) -> (usize, usize) {
        struct Panels;
        impl Kernel for Panels {
            type Output = (usize, usize);
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> (usize, usize) {
                (S::STREAMS, S::PANELS)
            }
        }
        self.run(Panels)
    }

    /// Runs `kernel`, compiled for this level.
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Portable => kernel.run(Portable),
            // SAFETY: `available`, which alone makes such a level, found the instructions.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 | Set::AvxVnni => unsafe { x86::run_avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 | Set::Avx512Vnni => unsafe { x86::run_avx512(kernel) },
        }
    }

    /// The same for kernels that use [`Simd::dot4`] or its like, for which some levels have an instruction.
    pub(super) fn run_dot4<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::AvxVnni => unsafe { x86::run_avx_vnni(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => unsafe { x86::run_avx512_vnni(kernel) },
            _ => self.run(kernel),
        }
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One operation of every kind on given values, as bytes that all levels must agree on.
    struct Everything<'a> {
        words: &'a [[u32; LANES]; 3],
        masks: &'a [u16],
    }

    impl Kernel for Everything<'_> {
        type Output = Vec<u32>;

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<u32> {
            let [a, b, c] = [0, 1, 2].map(|i| simd.load_i(&self.words[i]));
            let mut all = vec![];
            let mut keep = |value: S::I| {
                let mut words = [0; LANES];
                simd.store_i(value, &mut words);
                all.extend(words);
            };
            let half = simd.splat_i(S::CENTER / 2 * 0x0101_0101);
            for (sum, unsigned, signed) in [(c, a, 1), (simd.splat_i(-7), b, 0)] {
                let signed = simd.load_i(&self.words[signed].map(without_least));
                let low = simd.field(unsigned, 0, 0x7f7f_7f7f);
                keep(simd.dot4_low(sum, low, signed));
                // What the level takes away comes back in two halves.
                let sum = simd.dot4_low(simd.dot4_low(sum, half, signed), half, signed);
                keep(simd.dot4(sum, unsigned, signed));
            }
            keep(simd.sub_i(a, b));
            keep(simd.mul_i(a, b));
            for (bits, mask) in [(2, 0x0303_0303), (4, 0x0f0f_0f0f), (4, 15), (8, 255)] {
                for shift in (0..32).step_by(bits) {
                    keep(simd.field(a, shift as u32, mask));
                }
            }
            let mut keep = |value: S::F| {
                let mut floats = [0.0; LANES];
                simd.store(value, &mut floats);
                all.extend(floats.map(f32::to_bits));
            };
            for bits in [2, 4, 8] {
                for at in (0..32).step_by(bits) {
                    let unit = S::centered_unit(bits as u32);
                    let field = simd.centered(a, at as u32, bits as u32);
                    keep(simd.mul(field, simd.splat(1.0 / unit)));
                }
            }
            keep(simd.to_f32(b));
            // Finite values of all magnitudes; their bits are the low ones of the words.
            let floats = |words: &[u32; LANES]| words.map(|word| (word as i32 as f32) * 1e-3);
            let [x, y] = [0, 1].map(|i| simd.load(&floats(&self.words[i])));
            keep(simd.add(x, y));
            keep(simd.sub(x, y));
            keep(simd.mul(x, y));
            for mask in self.masks {
                let mut values = [0.0; 2 * LANES];
                values[..LANES].copy_from_slice(&floats(&self.words[0]));
                let lower = (mask & 0xff).count_ones() as usize;
                let upper = values[lower..].first_chunk().expect("as many as there are lanes");
                keep(simd.expand(*mask, x, simd.load(upper)));
            }
            for words in self.words {
                let halves = words.map(|word| word as u16);
                keep(simd.load_bf16(&halves));
                // NaN comes out quiet or not, as the processor likes.
                keep(simd.load_f16(&halves.map(|h| if h & 0x7c00 == 0x7c00 { 0 } else { h })));
            }
            let mut half = [0.0; LANES / 2];
            simd.store_half(y, &mut half);
            all.extend(half.map(f32::to_bits));
            all
        }
    }

    /// Bytes of −128 become −127.
    fn without_least(word: u32) -> u32 {
        u32::from_le_bytes(word.to_le_bytes().map(|byte| if byte == 0x80 { 0x81 } else { byte }))
    }

    #[test]
    fn every_level_agrees_with_the_portable_one() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99_991);
            (state >> 32) as u32
        };
        let all_masks: Vec<u16> = (0..=u16::MAX).collect();
        for round in 0..64 {
            let mut words = [(); 3].map(|()| [(); LANES].map(|()| next()));
            if round < 8 {
                // The products that saturate where an instruction adds them up in 16 bits.
                let ends = [0, u32::MAX, 0x7f7f_7f7f, 0x8080_8080, 0x81ff_7f00, 0x7f80_ff01];
                words = words.map(|row| row.map(|word| ends[word as usize % ends.len()]));
            }
            let masks = if round == 0 { &all_masks[..] } else { &[0, 0xffff, 0x8001, 0x0ff0] };
            let everything = || Everything { words: &words, masks };
            let expected = Level::PORTABLE.run(everything());
            for level in Level::available() {
                assert!(level.run_dot4(everything()) == expected, "{level:?}, round {round}");
            }
        }
    }

    #[test]
    fn four_bytes_are_multiplied_as_they_should_be() {
        struct Dot;
        impl Kernel for Dot {
            type Output = u32;
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> u32 {
                let (unsigned, low, signed) = (0xff02_0001_u32, 0x7f02_0001_u32, 0x81ff_057f_u32);
                let [unsigned, low, signed] =
                    [unsigned, low, signed].map(|word| simd.splat_i(word as i32));
                let sum = simd.dot4_low(simd.splat_i(1000), low, signed);
                let mut words = [0; LANES];
                simd.store_i(simd.dot4(sum, unsigned, signed), &mut words);
                // The signed bytes add up to 127 + 5 − 1 − 127.
                words[LANES - 1].wrapping_add((S::CENTER * 4) as u32)
            }
        }
        // 1 · 127 + 0 · 5 + 2 · (−1) + 255 · (−127), and the same with 127 for 255
        let expected = 1000 + 2 * (127 - 2) - (127 + 255) * 127;
        for level in Level::available() {
            assert_eq!(level.run_dot4(Dot) as i32, expected, "{level:?}");
        }
    }
}

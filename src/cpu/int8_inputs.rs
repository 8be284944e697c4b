//! Layers of packed codes whose inputs are rounded to 8 bits at run time, so that products are
//! integers (dynamic quantization; Jacob et al. 2018, arXiv 1712.05877, section 2).
//!
//! A row x of inputs becomes x ≈ s · q with s the largest magnitude of the row over 127 and q from
//! −127 to 127. A weight is w = t · (u − z), with u its unsigned code, and t and z the scale and
//! the offset of its segment. Hence a layer's sum is
//!
//! Σ w · x ≈ s · Σ over segments of t · (Σ u · q − z · Σ q).
//!
//! The sums inside the parentheses are exact integers and the floating-point operations around
//! them are not fused, so that every [`Level`] gives the same bytes.
#![expect(clippy::needless_range_loop, reason = "registers have numbers")]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::blocks::{Finish, Shape, share, threads};
use super::dense_packed::PackedPanels;
use super::simd::{Floats, Kernel, Level, Simd, Words};
use crate::scheme::Bits;

/// The largest code.
const MOST: f32 = 127.0;

/// Adding this rounds |y| < 2²² half to even and leaves the integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Rounds a row of inputs: |xᵢ − scale · codeᵢ| ≤ (1/2 + 2⁻¹⁶) · scale for each, with scale the
/// largest magnitude over 127, and at least the smallest normal number. A row with a value that
/// is not finite has the scale NaN, so that it does not give finite outputs.
pub fn quantize_row(x: &[f32], codes: &mut [i8]) -> f32 {
    quantize_at(Level::best(), x, codes)
}

fn quantize_at(level: Level, x: &[f32], codes: &mut [i8]) -> f32 {
    assert_eq!(x.len(), codes.len());
    let largest = f32::from_bits(level.run(Largest(x)));
    if !largest.is_finite() {
        codes.fill(0);
        return f32::NAN;
    }
    let scale = (largest / MOST).max(f32::MIN_POSITIVE);
    level.run(Round { x, inverse: 1.0 / scale, codes });
    scale
}

/// The bits of the largest magnitude: they are ordered as integers, NaN last.
struct Largest<'a>(&'a [f32]);

impl Kernel for Largest<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u32 {
        let mut largest = 0;
        for x in self.0 {
            let key = x.to_bits() & 0x7fff_ffff;
            largest = if key > largest { key } else { largest };
        }
        largest
    }
}

struct Round<'a> {
    x: &'a [f32],
    inverse: f32,
    codes: &'a mut [i8],
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (code, x) in self.codes.iter_mut().zip(self.x) {
            *code = (x * self.inverse + ROUNDER).to_bits() as i8;
        }
    }
}

/// Rows of rounded inputs, laid out as the weights' words are.
struct Rows {
    /// `[rows, words]`, each four codes in a row; segments are padded with zeros.
    codes: Vec<u32>,
    /// `[rows, segments]`: Σ q.
    sums: Vec<i32>,
    /// `[rows]`
    scales: Vec<f32>,
    /// Words of a segment.
    segment_words: usize,
    segments: usize,
}

impl Rows {
    fn new(level: Level, weights: &PackedPanels, x: &[f32]) -> Self {
        let (inputs, segments) = (weights.inputs, weights.segments());
        let rows = x.len() / inputs;
        let segment_words = weights.segment_words() * weights.per_word() / 4;
        let row_words = segments * segment_words;
        let mut result = Self {
            codes: vec![0; rows * row_words],
            sums: vec![0; rows * segments],
            scales: vec![0.0; rows],
            segment_words,
            segments,
        };
        let parts =
            x.chunks(PART_ROWS * inputs).zip(result.codes.chunks_mut(PART_ROWS * row_words));
        let parts = parts.zip(result.sums.chunks_mut(PART_ROWS * segments));
        let parts = parts.zip(result.scales.chunks_mut(PART_ROWS));
        let parts: Vec<_> = parts.map(Mutex::new).collect();
        // Each number comes once, so nobody waits for a lock.
        share(threads(x.len() * 4), parts.len(), &|number| {
            let mut part = parts[number].lock().unwrap_or_else(PoisonError::into_inner);
            let (((x, codes), sums), scales) = &mut *part;
            let mut row_codes = vec![0; inputs];
            let targets = codes.chunks_exact_mut(row_words).zip(sums.chunks_exact_mut(segments));
            let targets = targets.zip(scales.iter_mut());
            for (x, ((words, sums), scale)) in x.chunks_exact(inputs).zip(targets) {
                *scale = quantize_at(level, x, &mut row_codes);
                let words = words.chunks_exact_mut(segment_words).zip(sums);
                for ((words, sum), codes) in words.zip(row_codes.chunks(weights.segment_len)) {
                    bytemuck::cast_slice_mut(words)[..codes.len()].copy_from_slice(codes);
                    *sum = codes.iter().map(|code| i32::from(*code)).sum();
                }
            }
        });
        drop(parts);
        result
    }
}

/// Rows that are rounded together.
const PART_ROWS: usize = 16;

/// act(X · Wᵀ + b) with inputs rounded row by row: `x` is `[batch, inputs]`, `out`
/// `[batch, outputs]`.
pub(super) fn run(weights: &PackedPanels, x: &[f32], finish: Finish<'_>, out: &mut [f32]) {
    let PackedPanels { inputs, outputs, .. } = *weights;
    if out.is_empty() {
        return;
    }
    let batch = out.len() / outputs;
    assert_eq!(x.len(), batch * inputs);
    let shape = Shape {
        batch,
        outputs,
        products: batch * outputs * inputs / 4,
        bytes: size_of_val(&weights.words[..]),
        group: if batch == 1 { 8 } else { 3 },
        row_group: 8,
    };
    if inputs == 0 {
        return shape.run(finish, out, |_, _, _| {});
    }
    let rows = Rows::new(finish.level, weights, x);
    shape.run(finish, out, |part, span, sums| match weights.bits {
        Bits::Two => finish.level.run_dot4(Part::<2> { weights, rows: &rows, part, span, sums }),
        Bits::Four => finish.level.run_dot4(Part::<4> { weights, rows: &rows, part, span, sums }),
        Bits::Eight => finish.level.run_dot4(Part::<8> { weights, rows: &rows, part, span, sums }),
    });
}

/// Some rows times some panels of codes of `BITS` bits.
struct Part<'a, const BITS: u32> {
    weights: &'a PackedPanels,
    rows: &'a Rows,
    part: Range<usize>,
    span: Range<usize>,
    /// `[part, span]`
    sums: &'a mut [Floats],
}

impl<const BITS: u32> Kernel for Part<'_, BITS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let mut panel = self.span.start;
        let single = self.part.len() == 1;
        while panel < self.span.end {
            panel += match self.span.end - panel {
                8.. if single && S::CHAINS >= 8 => self.group::<S, 1, 8>(simd, panel),
                4.. if single && S::CHAINS >= 4 => self.group::<S, 1, 4>(simd, panel),
                2.. if single => self.group::<S, 1, 2>(simd, panel),
                3.. if S::PANELS >= 3 => self.group::<S, 8, 3>(simd, panel),
                _ if S::ROWS >= 8 => self.group::<S, 8, 1>(simd, panel),
                _ => self.group::<S, 2, 1>(simd, panel),
            };
        }
        let scales = &self.rows.scales[self.part];
        for (sums, scale) in self.sums.chunks_exact_mut(self.span.len()).zip(scales) {
            for sum in sums {
                simd.store(simd.mul(simd.load(&sum.0), simd.splat(*scale)), &mut sum.0);
            }
        }
    }
}

impl<const BITS: u32> Part<'_, BITS> {
    const PER_WORD: usize = 32 / BITS as usize;
    /// The lowest code of each byte.
    const MASK: u32 = (u32::MAX >> (32 - BITS)) * 0x0101_0101;

    /// All rows, `M` at a time, times `P` panels.
    #[inline(always)]
    fn group<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, panel: usize) -> usize {
        let mut row = 0;
        while row + M <= self.part.len() {
            self.rows::<S, M, P>(simd, row, panel);
            row += M;
        }
        while row < self.part.len() {
            self.rows::<S, 1, P>(simd, row, panel);
            row += 1;
        }
        P
    }

    #[inline(always)]
    fn rows<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, row: usize, panel: usize) {
        let segments = self.rows.segments;
        let mut segment = 0;
        while segment < segments {
            let sums = self.integers::<S, M, P>(simd, row, panel, segment);
            let mut scales = [simd.splat(0.0); P];
            let center = if BITS == 8 { S::CENTER } else { 0 };
            let mut offsets = [simd.splat_i(self.weights.middle() - center); P];
            for p in 0..P {
                let at = (panel + p) * segments + segment;
                scales[p] = simd.load(&self.weights.scales[at].0);
                if let Some(offset) = self.weights.offsets.get(at) {
                    offsets[p] = simd.sub_i(simd.load_i(&offset.0), simd.splat_i(center));
                }
            }
            for m in 0..M {
                let sum = self.rows.sums[(self.part.start + row + m) * segments + segment];
                let sum = simd.splat_i(sum);
                let at = (row + m) * self.span.len() + panel - self.span.start;
                let totals = &mut self.sums[at..][..P];
                for p in 0..P {
                    let exact = simd.sub_i(sums[m][p], simd.mul_i(offsets[p], sum));
                    let scaled = simd.mul(simd.to_f32(exact), scales[p]);
                    let total = simd.add(simd.load(&totals[p].0), scaled);
                    simd.store(total, &mut totals[p].0);
                }
            }
            segment += 1;
        }
    }

    /// Σ u · q over a segment, or Σ (u − [`Simd::CENTER`]) · q of 8-bit codes: at most 2¹⁵ products
    /// below 2¹⁵.
    #[inline(always)]
    fn integers<S: Simd, const M: usize, const P: usize>(
        &self,
        simd: S,
        row: usize,
        panel: usize,
        segment: usize,
    ) -> [[S::I; P]; M] {
        let segments = self.rows.segments;
        let (words, codes) = (self.weights.segment_words(), self.rows.segment_words);
        let per_word = Self::PER_WORD / 4;
        let mut weights: [&[Words]; P] = [&[]; P];
        for p in 0..P {
            let start = ((panel + p) * segments + segment) * words;
            weights[p] = &self.weights.words[start..][..words];
        }
        let mut x: [&[u32]; M] = [&[]; M];
        for m in 0..M {
            let start = ((self.part.start + row + m) * segments + segment) * codes;
            x[m] = &self.rows.codes[start..][..words * per_word];
        }
        let mut sums = [[simd.splat_i(0); P]; M];
        for word in 0..words {
            let mut loaded = [simd.splat_i(0); P];
            for p in 0..P {
                loaded[p] = simd.load_i(&weights[p][word].0);
            }
            for i in 0..per_word {
                let mut unsigned = loaded;
                if BITS < 8 {
                    for p in 0..P {
                        unsigned[p] = simd.field(loaded[p], BITS * i as u32, Self::MASK);
                    }
                }
                for m in 0..M {
                    let signed = simd.splat_i(x[m][word * per_word + i] as i32);
                    for p in 0..P {
                        sums[m][p] = if BITS < 8 {
                            simd.dot4_low(sums[m][p], unsigned[p], signed)
                        } else {
                            simd.dot4(sums[m][p], unsigned[p], signed)
                        };
                    }
                }
            }
        }
        sums
    }
}

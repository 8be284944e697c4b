//! Products with packed codes, which are decoded in registers or in tiles.
#![expect(clippy::needless_range_loop, reason = "registers have numbers")]

use std::ops::Range;

use bytemuck::Zeroable;

use super::dense::F32;
use super::dense_packed::PackedPanels;
use super::product::{Panels, multiply, prefetch, total};
use super::simd::{Floats, Simd, Words};

/// Panels of codes of `BITS` bits.
pub(super) struct Coded<'a, const BITS: u32>(pub &'a PackedPanels);

impl<const BITS: u32> Coded<'_, BITS> {
    const PER_WORD: usize = 32 / BITS as usize;

    /// Scale of a segment and, where there are zero points, those in units of codes.
    #[inline(always)]
    fn segment<S: Simd>(&self, simd: S, panel: usize, segment: usize) -> (S::F, Option<S::F>) {
        let at = panel * self.0.segments() + segment;
        // No closures: they would not be compiled for the instructions.
        let zero_point = match self.0.offsets.get(at) {
            None => None,
            Some(offset) => {
                let middle = simd.splat_i(self.0.middle());
                let zero_point = simd.to_f32(simd.sub_i(simd.load_i(&offset.0), middle));
                Some(simd.mul(zero_point, simd.splat(S::centered_unit(BITS))))
            }
        };
        (simd.load(&self.0.scales[at].0), zero_point)
    }

    /// The words of a segment.
    #[inline(always)]
    fn words(&self, panel: usize, segment: usize) -> &[Words] {
        let words = self.0.segment_words();
        &self.0.words[(panel * self.0.segments() + segment) * words..][..words]
    }

    /// Code `number` of each word, less its zero point, in units of [`Simd::centered_unit`]: exact.
    #[inline(always)]
    fn code<S: Simd>(simd: S, words: S::I, number: usize, zero_point: Option<S::F>) -> S::F {
        let bit = 8 * (number as u32 % 4) + BITS * (number as u32 / 4);
        let code = simd.centered(words, bit, BITS);
        match zero_point {
            None => code,
            Some(zero_point) => simd.sub(code, zero_point),
        }
    }

    /// From units of [`Simd::centered_unit`] to ones.
    #[inline(always)]
    fn in_ones<S: Simd>(simd: S, value: S::F) -> S::F {
        match S::centered_unit(BITS) {
            1.0 => value,
            unit => simd.mul(value, simd.splat(1.0 / unit)),
        }
    }

    /// The weights of codes of one segment, those before `skip` of the first word left out: a block
    /// may begin inside a word where segments have odd lengths.
    #[inline(always)]
    fn decode<S: Simd>(
        simd: S,
        words: &[Words],
        skip: usize,
        (scale, zero_point): (S::F, Option<S::F>),
        to: &mut [Floats],
    ) {
        let (head, body) = to.split_at_mut(match skip {
            0 => 0,
            skip => to.len().min(Self::PER_WORD - skip),
        });
        let (first, words) = words.split_at(usize::from(skip > 0).min(words.len()));
        if let Some(first) = first.first() {
            let first = simd.load_i(&first.0);
            for (i, to) in head.iter_mut().enumerate() {
                let code = Self::code(simd, first, skip + i, zero_point);
                simd.store(simd.mul(Self::in_ones(simd, code), scale), &mut to.0);
            }
        }
        let mut whole = body.chunks_exact_mut(Self::PER_WORD);
        let mut words = words.iter();
        for (to, words) in whole.by_ref().zip(words.by_ref()) {
            prefetch(simd, words);
            let words = simd.load_i(&words.0);
            for i in 0..Self::PER_WORD {
                let code = Self::code(simd, words, i, zero_point);
                simd.store(simd.mul(Self::in_ones(simd, code), scale), &mut to[i].0);
            }
        }
        if let Some(last) = words.next() {
            let last = simd.load_i(&last.0);
            for (i, to) in whole.into_remainder().iter_mut().enumerate() {
                let code = Self::code(simd, last, i, zero_point);
                simd.store(simd.mul(Self::in_ones(simd, code), scale), &mut to.0);
            }
        }
    }

    /// Codes of one segment of `P` panels times inputs, added up, in units of
    /// [`Simd::centered_unit`].
    #[inline(always)]
    fn dot<S: Simd, const P: usize>(
        simd: S,
        words: [&[Words]; P],
        x: &[f32],
        zero_points: [Option<S::F>; P],
    ) -> [S::F; P] {
        // Several sums, so that an addition need not wait for the one before it, and few enough to
        // leave registers for the codes.
        let chains = (S::CHAINS / 2 / P).clamp(1, 4);
        let mut sums = [[simd.splat(0.0); P]; 4];
        let whole = x.len() / Self::PER_WORD;
        let (x, rest) = x.split_at(whole * Self::PER_WORD);
        let mut whole_words = words;
        for p in 0..P {
            whole_words[p] = &words[p][..whole];
        }
        for (number, x) in x.chunks_exact(Self::PER_WORD).enumerate() {
            let mut loaded = [simd.splat_i(0); P];
            for p in 0..P {
                prefetch(simd, &whole_words[p][number]);
                loaded[p] = simd.load_i(&whole_words[p][number].0);
            }
            // Eight at a time are unrolled, sixteen are not. The second eight lie four bits higher.
            for x in x.chunks_exact(Self::PER_WORD.min(8)) {
                for i in 0..x.len() {
                    let x = simd.splat(x[i]);
                    let sums = &mut sums[i % chains];
                    for p in 0..P {
                        let code = Self::code(simd, loaded[p], i, zero_points[p]);
                        sums[p] = simd.mul_add(x, code, sums[p]);
                    }
                }
                for p in 0..P {
                    loaded[p] = simd.field(loaded[p], 4, u32::MAX);
                }
            }
        }
        for p in 0..P {
            if let Some(words) = words[p].get(whole) {
                let words = simd.load_i(&words.0);
                for (i, x) in rest.iter().enumerate() {
                    let code = Self::code(simd, words, i, zero_points[p]);
                    sums[0][p] = simd.mul_add(simd.splat(*x), code, sums[0][p]);
                }
            }
        }
        let mut totals = sums[0];
        for p in 0..P {
            let mut parts = [sums[0][p], sums[1][p], sums[2][p], sums[3][p]];
            totals[p] = total(simd, &mut parts[..chains]);
        }
        totals
    }

    /// One row of inputs times a panel that is decoded before it is multiplied.
    #[inline(always)]
    fn decoded<S: Simd>(&self, simd: S, panel: usize, x: &[f32]) -> S::F {
        let mut buffer = [Floats::zeroed(); BLOCK];
        let mut sum = simd.splat(0.0);
        for (block, x) in x.chunks(BLOCK).enumerate() {
            let inputs = block * BLOCK..block * BLOCK + x.len();
            let tile = self.tile(simd, panel, inputs, &mut buffer);
            let [[part]] = multiply::<S, F32, 1, 1>(simd, [x], [tile]);
            sum = simd.add(sum, part);
        }
        sum
    }
}

/// Inputs of a tile.
const BLOCK: usize = 256;

impl<const BITS: u32> Panels for Coded<'_, BITS> {
    const BLOCK: usize = BLOCK;
    const DECODED: bool = true;
    const STREAMS: usize = 2;

    fn outputs(&self) -> usize {
        self.0.outputs
    }

    fn inputs(&self) -> usize {
        self.0.inputs
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.0.words[..]) + size_of_val(&self.0.scales[..])
    }

    #[inline(always)]
    fn tile<'a, S: Simd>(
        &'a self,
        simd: S,
        panel: usize,
        inputs: Range<usize>,
        buffer: &'a mut [Floats],
    ) -> &'a [Floats] {
        let buffer = &mut buffer[..inputs.len()];
        let len = self.0.segment_len;
        let mut rest = &mut *buffer;
        let mut input = inputs.start;
        while !rest.is_empty() {
            let (segment, at) = (input / len, input % len);
            let (scale, zero_point) = self.segment(simd, panel, segment);
            let words = &self.words(panel, segment)[at / Self::PER_WORD..];
            let (part, more) = rest.split_at_mut(rest.len().min(len - at));
            match zero_point {
                None => Self::decode(simd, words, at % Self::PER_WORD, (scale, None), part),
                some => Self::decode(simd, words, at % Self::PER_WORD, (scale, some), part),
            }
            input += part.len();
            rest = more;
        }
        buffer
    }

    #[inline(always)]
    fn side_by_side<S: Simd, const P: usize>(
        &self,
        simd: S,
        panel: usize,
        x: &[f32],
        sums: &mut [Floats],
    ) {
        let mut totals = [simd.splat(0.0); P];
        let len = self.0.segment_len;
        for segment in 0..self.0.segments() {
            let x = &x[segment * len..x.len().min((segment + 1) * len)];
            let mut words: [&[Words]; P] = [&[]; P];
            let mut scales = [simd.splat(0.0); P];
            let mut zero_points = [None; P];
            for p in 0..P {
                words[p] = self.words(panel + p, segment);
                (scales[p], zero_points[p]) = self.segment(simd, panel + p, segment);
            }
            // Two loops: one without zero points has less to do.
            let dots = match zero_points[0] {
                None => Self::dot(simd, words, x, [None; P]),
                Some(_) => Self::dot(simd, words, x, zero_points),
            };
            for p in 0..P {
                totals[p] = simd.mul_add(Self::in_ones(simd, dots[p]), scales[p], totals[p]);
            }
        }
        for p in 0..P {
            let lanes = &mut sums[p].0;
            simd.store(totals[p], lanes);
            if !lanes.iter().all(|lane| lane.is_finite()) {
                // Products with codes overflow where those with weights may not.
                simd.store(self.decoded(simd, panel + p, x), lanes);
            }
        }
    }
}

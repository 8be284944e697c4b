//! A dense layer straight from packed codes.
#![expect(clippy::needless_range_loop, reason = "registers have numbers")]

use std::array;
use std::ops::Range;

use bytemuck::Zeroable;

use super::blocks::Finish;
use super::dense::F32;
use super::int8_inputs;
use super::product::{self, Panels, fill_panels, multiply, prefetch, room, total};
use super::quantize::{row_segment_len, segment_index};
use super::simd::{Floats, LANES, Level, Simd, Words};
use crate::scheme::{Activation, Bits, QuantParams, QuantScheme};

/// Packed codes `[rows, cols]` with their scales and zero points.
#[derive(Clone, Copy, Debug)]
pub struct PackedWeights<'a> {
    /// `[rows, words_per_row]`.
    pub words: &'a [u32],
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// One scale, and where asymmetric one zero point, a segment.
    pub params: &'a QuantParams,
    /// How the codes are to be read.
    pub scheme: &'a QuantScheme,
}

/// Codes in the order in which the CPU multiplies them: words of sixteen outputs side by side.
///
/// A layer from them is act(X · Wᵀ + b) with W = (code − zero point) · scale, unrounded. Codes are
/// decoded in registers for one row of inputs, in tiles of `Panels::BLOCK` × 16 for more; there
/// is never a dense copy of the weights.
#[derive(Debug)]
pub struct PackedPanels {
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) bits: Bits,
    /// Inputs of a segment: those that share a scale, or a part of them.
    pub(super) segment_len: usize,
    /// `[panels, segments, words of a segment]`. The codes of a segment begin at a word. Code `i` of
    /// a word lies at bit `8 · (i % 4) + bits · (i / 4)`, so that four inputs in a row meet the four
    /// bytes of a word: see [`Simd::dot4`].
    pub(super) words: Vec<Words>,
    /// `[panels, segments]`
    pub(super) scales: Vec<Floats>,
    /// What is taken from an unsigned code, likewise; none where it is the same for all.
    pub(super) offsets: Vec<Words>,
}

/// Inputs of a segment, at most: the sum of so many products of 8-bit codes fits 31 bits.
const SEGMENT_LEN: usize = 1 << 15;

impl PackedPanels {
    /// Rearranges codes, which must fit their parameters.
    pub fn new(weights: &PackedWeights<'_>) -> Self {
        let PackedWeights { rows: outputs, cols: inputs, params, scheme, .. } = *weights;
        let whole_len = row_segment_len(inputs, scheme).min(inputs.max(1));
        let segment_len = whole_len.min(SEGMENT_LEN);
        let mut panels = Self {
            outputs,
            inputs,
            bits: scheme.bits,
            segment_len,
            words: vec![],
            scales: vec![],
            offsets: vec![],
        };
        let count = outputs.div_ceil(LANES);
        let (segments, per_row) = (panels.segments(), panels.segments() * panels.segment_words());
        panels.words = room(count * per_row);
        fill_panels(outputs, &mut panels.words, per_row, |rows, words| {
            for (lane, row) in rows.enumerate() {
                weights.arrange_row(row, segment_len, lane, words);
            }
        });
        // Segments that share a scale repeat it.
        let index = |row: usize, segment: usize| {
            segment_index(row, segment * segment_len / whole_len, inputs, scheme)
        };
        panels.scales = room(count * segments);
        fill_panels(outputs, &mut panels.scales, segments, |rows, scales| {
            for (lane, row) in rows.enumerate() {
                for (segment, scale) in scales.iter_mut().enumerate() {
                    scale.0[lane] = params.scale[index(row, segment)];
                }
            }
        });
        if !params.zero_point.is_empty() {
            panels.offsets = room(count * segments);
            let middle = panels.middle();
            fill_panels(outputs, &mut panels.offsets, segments, |rows, offsets| {
                for (lane, row) in rows.enumerate() {
                    for (segment, offset) in offsets.iter_mut().enumerate() {
                        let zero_point = i32::from(params.zero_point[index(row, segment)]);
                        offset.0[lane] = (middle + zero_point) as u32;
                    }
                }
            });
        }
        panels
    }

    /// act(X · Wᵀ + b): `x` is `[batch, inputs]`, `bias` `[outputs]` and `out` `[batch, outputs]`.
    pub fn forward(
        &self,
        level: Level,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
    ) {
        let finish = Finish { bias, activation, level };
        match self.bits {
            Bits::Two => product::run(&Coded::<2>(self), x, finish, out),
            Bits::Four => product::run(&Coded::<4>(self), x, finish, out),
            Bits::Eight => product::run(&Coded::<8>(self), x, finish, out),
        }
    }

    /// The same with inputs rounded to 8 bits, one scale a row: see [`super::int8_inputs`].
    pub fn forward_int8(
        &self,
        level: Level,
        x: &[f32],
        bias: Option<&[f32]>,
        activation: Activation,
        out: &mut [f32],
    ) {
        int8_inputs::run(self, x, Finish { bias, activation, level }, out);
    }

    /// Codes of a word.
    pub(super) fn per_word(&self) -> usize {
        32 / self.bits as usize
    }

    pub(super) fn segment_words(&self) -> usize {
        self.segment_len.div_ceil(self.per_word())
    }

    /// Segments of a row.
    pub(super) fn segments(&self) -> usize {
        self.inputs.div_ceil(self.segment_len)
    }

    /// The unsigned code of 0 without a zero point.
    pub(super) fn middle(&self) -> i32 {
        1 << (self.bits as u32 - 1)
    }
}

impl PackedWeights<'_> {
    /// Puts the codes of a row into `lane` of `words`.
    fn arrange_row(&self, row: usize, segment_len: usize, lane: usize, words: &mut [Words]) {
        let (bits, per_word) = (self.scheme.bits as usize, self.scheme.codes_per_word());
        let words_per_row = self.scheme.words_per_row(self.cols);
        let from = &self.words[row * words_per_row..][..words_per_row];
        if bits == 8 && (segment_len.is_multiple_of(per_word) || segment_len >= self.cols) {
            for (to, word) in words.iter_mut().zip(from) {
                to.0[lane] = *word;
            }
            return;
        }
        let segment_words = segment_len.div_ceil(per_word);
        let places = (0..self.cols.div_ceil(segment_len)).flat_map(|segment| {
            (0..segment_len).map(move |at| (segment * segment_words + at / per_word, at % per_word))
        });
        let codes = from
            .iter()
            .flat_map(|word| (0..per_word).map(move |i| *word >> (i * bits) & ((1 << bits) - 1)));
        for (code, (word, i)) in codes.zip(places).take(self.cols) {
            words[word].0[lane] |= code << (8 * (i % 4) + bits * (i / 4));
        }
    }
}

/// Panels of codes of `BITS` bits.
struct Coded<'a, const BITS: u32>(&'a PackedPanels);

impl<const BITS: u32> Coded<'_, BITS> {
    const PER_WORD: usize = 32 / BITS as usize;

    /// Scale of a segment and, where there are zero points, those in units of codes.
    #[inline(always)]
    fn segment<S: Simd>(&self, simd: S, panel: usize, segment: usize) -> (S::F, Option<S::F>) {
        let at = panel * self.0.segments() + segment;
        let zero_point = self.0.offsets.get(at).map(|offset| {
            let middle = simd.splat_i(self.0.middle());
            let zero_point = simd.to_f32(simd.sub_i(simd.load_i(&offset.0), middle));
            simd.mul(zero_point, simd.splat(S::centered_unit(BITS)))
        });
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
        zero_point.map_or(code, |zero_point| simd.sub(code, zero_point))
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
        let whole_words = words.map(|words| &words[..whole]);
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

    /// One row of inputs times `P` panels, and `P`.
    #[inline(always)]
    fn side_by_side<S: Simd, const P: usize>(
        &self,
        simd: S,
        panel: usize,
        x: &[f32],
        sums: &mut [Floats],
    ) -> usize {
        let mut totals = [simd.splat(0.0); P];
        let len = self.0.segment_len;
        for segment in 0..self.0.segments() {
            let x = &x[segment * len..x.len().min((segment + 1) * len)];
            let words = array::from_fn(|p| self.words(panel + p, segment));
            let mut scales = [simd.splat(0.0); P];
            let mut zero_points = [None; P];
            for p in 0..P {
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
            if S::centered_unit(BITS) > 1.0 && !lanes.iter().all(|lane| lane.is_finite()) {
                // Inputs beyond 2^97 overflow in such units, and not in ones.
                simd.store(self.decoded(simd, panel + p, x), lanes);
            }
        }
        P
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
    fn vectors<S: Simd>(&self, simd: S, span: Range<usize>, x: &[f32], sums: &mut [Floats]) {
        let mut panel = span.start;
        while panel < span.end {
            let sums = &mut sums[panel - span.start..];
            panel += match span.end - panel {
                2.. if S::STREAMS >= 2 => self.side_by_side::<S, 2>(simd, panel, x, sums),
                _ => self.side_by_side::<S, 1>(simd, panel, x, sums),
            };
        }
    }
}

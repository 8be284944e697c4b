//! A dense layer straight from packed codes.
#![expect(clippy::needless_range_loop, reason = "registers have numbers")]

use std::ops::Range;

use super::blocks::Finish;
use super::int8_inputs;
use super::product::{self, Panels, fill_panels, prefetch, room, total};
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
    const MASK: u32 = (1 << BITS) - 1;

    /// Scale and offset of a segment.
    #[inline(always)]
    fn segment<S: Simd>(&self, simd: S, panel: usize, segment: usize) -> (S::F, S::F) {
        let at = panel * self.0.segments() + segment;
        let offset = match self.0.offsets.get(at) {
            Some(offset) => simd.to_f32(simd.load_i(&offset.0)),
            None => simd.splat(self.0.middle() as f32),
        };
        (simd.load(&self.0.scales[at].0), offset)
    }

    /// The words of a segment.
    #[inline(always)]
    fn words(&self, panel: usize, segment: usize) -> &[Words] {
        let words = self.0.segment_words();
        &self.0.words[(panel * self.0.segments() + segment) * words..][..words]
    }

    /// Code `number` of each word, less the offset: exact.
    #[inline(always)]
    fn code<S: Simd>(simd: S, words: S::I, number: usize, offset: S::F) -> S::F {
        let bit = 8 * (number as u32 % 4) + BITS * (number as u32 / 4);
        // Mantissas have 23 bits: the upper half of a word must come down first.
        let (at, words) =
            if bit < 16 { (bit, words) } else { (bit - 16, simd.field(words, 16, 0xffff)) };
        let bias = simd.splat((1 << (23 - at)) as f32);
        simd.sub(simd.biased(words, at, Self::MASK), simd.add(bias, offset))
    }
}

impl<const BITS: u32> Panels for Coded<'_, BITS> {
    const BLOCK: usize = 256;
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
            let (scale, offset) = self.segment(simd, panel, segment);
            let words = &self.words(panel, segment)[at / Self::PER_WORD..];
            let (part, more) = rest.split_at_mut(rest.len().min(len - at));
            // A block may begin inside a word where segments have odd lengths.
            let skip = at % Self::PER_WORD;
            let (head, body) = part.split_at_mut(match skip {
                0 => 0,
                skip => part.len().min(Self::PER_WORD - skip),
            });
            if let Some(word) = words.first() {
                let word = simd.load_i(&word.0);
                for (number, to) in (skip..).zip(head.iter_mut()) {
                    let code = Self::code(simd, word, number, offset);
                    simd.store(simd.mul(code, scale), &mut to.0);
                }
            }
            let words = &words[usize::from(skip > 0)..];
            let mut whole = body.chunks_exact_mut(Self::PER_WORD);
            let mut number = 0;
            for to in whole.by_ref() {
                prefetch(simd, &words[number]);
                let word = simd.load_i(&words[number].0);
                number += 1;
                for i in 0..Self::PER_WORD {
                    let code = Self::code(simd, word, i, offset);
                    simd.store(simd.mul(code, scale), &mut to[i].0);
                }
            }
            if let Some(word) = words.get(number) {
                let word = simd.load_i(&word.0);
                for (i, to) in whole.into_remainder().iter_mut().enumerate() {
                    let code = Self::code(simd, word, i, offset);
                    simd.store(simd.mul(code, scale), &mut to.0);
                }
            }
            input += part.len();
            rest = more;
        }
        buffer
    }

    #[inline(always)]
    fn vector<S: Simd>(&self, simd: S, panel: usize, x: &[f32]) -> S::F {
        let mut sum = simd.splat(0.0);
        let len = self.0.segment_len;
        for segment in 0..self.0.segments() {
            let x = &x[segment * len..x.len().min((segment + 1) * len)];
            let words = self.words(panel, segment);
            let (scale, offset) = self.segment(simd, panel, segment);
            // Several sums, so that an addition need not wait for the one before it.
            let mut parts = [simd.splat(0.0); 4];
            let chains = S::CHAINS.min(4);
            let mut whole = x.chunks_exact(Self::PER_WORD);
            for (x, words) in whole.by_ref().zip(words) {
                prefetch(simd, words);
                let words = simd.load_i(&words.0);
                for i in 0..Self::PER_WORD {
                    let code = Self::code(simd, words, i, offset);
                    let part = &mut parts[i % chains];
                    *part = simd.mul_add(simd.splat(x[i]), code, *part);
                }
            }
            if let Some(words) = words.get(x.len() / Self::PER_WORD) {
                let words = simd.load_i(&words.0);
                for (i, x) in whole.remainder().iter().enumerate() {
                    let code = Self::code(simd, words, i, offset);
                    parts[0] = simd.mul_add(simd.splat(*x), code, parts[0]);
                }
            }
            sum = simd.mul_add(total(simd, &mut parts[..chains]), scale, sum);
        }
        sum
    }
}

//! A dense layer straight from packed codes.

use super::blocks::Finish;
use super::coded::Coded;
use super::int8_inputs;
use super::product::{self, fill_panels, room};
use super::quantize::{row_segment_len, segment_index};
use super::simd::{Floats, LANES, Level, Words};
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
    /// bytes of a word: see `Simd::dot4`.
    pub(super) words: Vec<Words>,
    /// `[panels, segments]`
    pub(super) scales: Vec<Floats>,
    /// What is taken from an unsigned code, likewise; none where it is the same for all.
    pub(super) offsets: Vec<Words>,
}

/// Inputs of a segment, at most: the sum of so many products of 8-bit codes fits 31 bits.
const SEGMENT_LEN: usize = 1 << 15;

/// The most inputs of a segment that lies within `whole_len` inputs, those that share a scale.
fn segment_len(whole_len: usize, inputs: usize) -> usize {
    if whole_len >= inputs {
        return whole_len.min(SEGMENT_LEN); // one scale a row: segments may end anywhere
    }
    let divides = |len: &usize| whole_len.is_multiple_of(*len);
    (1..=SEGMENT_LEN.min(whole_len)).rev().find(divides).unwrap_or(1)
}

impl PackedPanels {
    /// Rearranges codes, which must fit their parameters.
    pub fn new(weights: &PackedWeights<'_>) -> Self {
        let PackedWeights { rows: outputs, cols: inputs, params, scheme, .. } = *weights;
        let whole_len = row_segment_len(inputs, scheme).min(inputs.max(1));
        let segment_len = segment_len(whole_len, inputs);
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

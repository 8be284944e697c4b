//! A dense layer straight from packed codes.
use super::dense::total;
use super::product::{self, Rows};
use super::quantize::{row_segment_len, segment_index};
use crate::scheme::{Activation, Bits, QuantParams, QuantScheme};
use multiversion::multiversion;

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

/// act(X · Wᵀ + b) with W = (code − zero point) · scale, unrounded: `x` is `[batch, cols]`, `bias`
/// `[rows]` and `out` `[batch, rows]`. Codes are decoded in registers, or in tiles of rows for
/// larger batches; there is never a dense copy of the weights.
pub fn dense_packed(
    x: &[f32],
    weights: &PackedWeights<'_>,
    bias: Option<&[f32]>,
    activation: Activation,
    out: &mut [f32],
) {
    product::run(weights, x, bias, activation, out);
}

/// Words whose codes are multiplied at once: code `i` of each is the same shift away.
const WORDS: usize = 16;

impl PackedWeights<'_> {
    fn per_word(&self) -> usize {
        32 / self.scheme.bits as usize
    }

    /// Codes of [`WORDS`] words.
    fn block(&self) -> usize {
        WORDS * self.per_word()
    }

    /// Columns from the first on that are whole blocks of one segment each.
    fn blocked_cols(&self) -> usize {
        let (segment, block) = (row_segment_len(self.cols, self.scheme), self.block());
        if segment >= self.cols {
            self.cols / block * block
        } else if segment.is_multiple_of(block) {
            self.cols / segment * segment
        } else {
            0
        }
    }

    fn row_words(&self, row: usize) -> &[u32] {
        let words = self.scheme.words_per_row(self.cols);
        &self.words[row * words..][..words]
    }

    /// Scale and the number that is taken from an unsigned code.
    fn segment(&self, row: usize, group: usize) -> (f32, i32) {
        let index = segment_index(row, group, self.cols, self.scheme);
        let offset = 1 << (self.scheme.bits as u32 - 1);
        let zero_point = self.params.zero_point.get(index).map_or(0, |zp| i32::from(*zp));
        (self.params.scale[index], offset + zero_point)
    }
}

impl Rows for PackedWeights<'_> {
    fn outputs(&self) -> usize {
        self.rows
    }

    fn inputs(&self) -> usize {
        self.cols
    }

    fn decode(&self, row: usize, out: &mut [f32]) {
        let segment = row_segment_len(self.cols, self.scheme);
        let words = self.row_words(row);
        for (group, out) in out.chunks_mut(segment).enumerate() {
            let (scale, offset) = self.segment(row, group);
            decode(words, group * segment, self.scheme.bits, scale, offset, out);
        }
    }

    /// Blocks in the order of [`block_dot`]: what code `i` of each word of a block meets lies
    /// together. The rest stays.
    fn arrange(&self, x: &[f32]) -> Vec<f32> {
        let (per_word, block) = (self.per_word(), self.block());
        let mut arranged = x.to_vec();
        let blocked = self.blocked_cols();
        for (to, from) in arranged[..blocked].chunks_mut(block).zip(x.chunks(block)) {
            for (at, value) in from.iter().enumerate() {
                to[at % per_word * WORDS + at / per_word] = *value;
            }
        }
        arranged
    }

    fn dot(&self, row: usize, x: &[f32]) -> f32 {
        let segment = row_segment_len(self.cols, self.scheme);
        let blocked = self.blocked_cols();
        let words = self.row_words(row);
        let (per_word, block) = (self.per_word(), self.block());
        let mut sum = 0.0;
        let whole = segment.min(blocked.max(1));
        for (group, x) in x[..blocked].chunks(whole).enumerate() {
            let (scale, offset) = self.segment(row, group);
            let words = &words[group * whole / per_word..][..x.len() / per_word];
            sum += scale * block_dot(words.as_chunks().0, x, self.scheme.bits, offset);
        }
        // What is no whole block.
        let mut at = blocked;
        let mut values = [0.0; 256];
        while at < self.cols {
            let group = at / segment;
            let end = self.cols.min((group + 1) * segment).min(at + values.len());
            let (scale, offset) = self.segment(row, group);
            let values = &mut values[..end - at];
            decode(words, at, self.scheme.bits, 1.0, offset, values);
            let part: f32 = values.iter().zip(&x[at..end]).map(|(w, x)| w * x).sum();
            sum += scale * part;
            at = end;
        }
        debug_assert!(block > 0);
        sum
    }
}

/// `(code − offset) · scale` of the codes from `first` on.
fn decode(words: &[u32], first: usize, bits: Bits, scale: f32, offset: i32, out: &mut [f32]) {
    match bits {
        Bits::Two => decode_as::<2>(words, first, scale, offset, out),
        Bits::Four => decode_as::<4>(words, first, scale, offset, out),
        Bits::Eight => decode_as::<8>(words, first, scale, offset, out),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn decode_as<const BITS: usize>(
    words: &[u32],
    first: usize,
    scale: f32,
    offset: i32,
    out: &mut [f32],
) {
    let per_word = 32 / BITS;
    let mask = (1 << BITS) - 1;
    let value =
        |word: u32, i: usize| (((word >> (i * BITS)) & mask) as i32 - offset) as f32 * scale;
    let (mut out, mut at) = (out, first);
    // Up to a whole word, whole words, the rest.
    let head = (at.next_multiple_of(per_word) - at).min(out.len());
    for slot in &mut out[..head] {
        *slot = value(words[at / per_word], at % per_word);
        at += 1;
    }
    out = &mut out[head..];
    for (slots, word) in out.chunks_mut(per_word).zip(&words[(at / per_word).min(words.len())..]) {
        for (i, slot) in slots.iter_mut().enumerate() {
            *slot = value(*word, i);
        }
    }
}

/// Σ (code − offset) · x over blocks of words, with x arranged.
fn block_dot(words: &[[u32; WORDS]], x: &[f32], bits: Bits, offset: i32) -> f32 {
    match bits {
        Bits::Two => block_dot_as::<2>(words, x, offset),
        Bits::Four => block_dot_as::<4>(words, x, offset),
        Bits::Eight => block_dot_as::<8>(words, x, offset),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn block_dot_as<const BITS: usize>(words: &[[u32; WORDS]], x: &[f32], offset: i32) -> f32 {
    let per_word = 32 / BITS;
    let mask = (1 << BITS) - 1;
    // Two sets of sums, so that an addition need not wait for the one before it.
    let mut sums = [[0.0_f32; WORDS]; 2];
    let (parts, _) = x.as_chunks::<WORDS>();
    for (words, parts) in words.iter().zip(parts.chunks_exact(per_word)) {
        for (i, x) in parts.iter().enumerate() {
            let sums = &mut sums[i % 2];
            for lane in 0..WORDS {
                let code = ((words[lane] >> (i * BITS)) & mask) as i32 - offset;
                sums[lane] += code as f32 * x[lane];
            }
        }
    }
    total(sums.as_flattened_mut())
}

//! Packed codes back to weights.
use super::quantize::{Coding, row_segment_len, segment_index};
use super::{convert, pack};
use crate::scheme::{QuantParams, QuantScheme};
use crate::tensor::FloatType;

/// `(code - zero_point) * scale` in `float`, little-endian `[rows, cols]`.
pub fn dense(
    float: FloatType,
    words: &[u32],
    rows: usize,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows * cols * float.size());
    if rows * cols == 0 {
        return out;
    }
    let mut codes = vec![0; cols];
    let mut values = vec![0.0; cols];
    let size = row_segment_len(cols, scheme);
    for (row, words) in words.chunks_exact(scheme.words_per_row(cols)).take(rows).enumerate() {
        pack::unpack_row(words, scheme.bits, &mut codes);
        let segments = codes.chunks(size).zip(values.chunks_mut(size));
        for (group, (codes, values)) in segments.enumerate() {
            let index = segment_index(row, group, cols, scheme);
            Coding::new(float, params, index, scheme).decode(codes, values);
        }
        convert::encode_rounded(float, &values, &mut out);
    }
    out
}

//! The sparse-bitmask form.
use crate::tensor::FloatType;

/// A matrix without its zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bitmask {
    /// Kept elements, row-major, in the weight's type. An element is kept when it is not ±0.
    pub compressed: Vec<u8>,
    /// `[rows, ceil(cols / 8)]`; bit k of byte j is column 8j + k; 1 = kept.
    pub bitmask: Vec<u8>,
    /// Kept elements before each row.
    pub row_offsets: Vec<i64>,
}

/// Encodes `[data.len() / size / cols, cols]`.
pub fn encode(float: FloatType, data: &[u8], cols: usize) -> Bitmask {
    if cols == 0 {
        return Bitmask::default();
    }
    match float {
        FloatType::F32 => encode_sized::<4>(data, cols),
        FloatType::F16 | FloatType::BF16 => encode_sized::<2>(data, cols),
    }
}

fn encode_sized<const SIZE: usize>(data: &[u8], cols: usize) -> Bitmask {
    let rows = data.len() / SIZE / cols;
    let mut mask = Bitmask {
        compressed: vec![0; data.len()],
        bitmask: Vec::with_capacity(rows * cols.div_ceil(8)),
        row_offsets: Vec::with_capacity(rows),
    };
    let mut kept = 0;
    for row in data.chunks_exact(cols * SIZE) {
        mask.row_offsets.push(kept as i64);
        for octet in row.chunks(8 * SIZE) {
            let mut byte = 0;
            for (k, element) in octet.chunks_exact(SIZE).enumerate() {
                // Every element is written and only the kept ones move the place: no branch.
                mask.compressed[kept * SIZE..][..SIZE].copy_from_slice(element);
                let keep = u8::from(!is_zero(element));
                byte |= keep << k;
                kept += usize::from(keep);
            }
            mask.bitmask.push(byte);
        }
    }
    mask.compressed.truncate(kept * SIZE);
    mask.compressed.shrink_to_fit();
    mask
}

/// True for +0 and −0: no bit set but perhaps the sign, the highest of the last byte.
#[inline(always)]
fn is_zero(element: &[u8]) -> bool {
    let (last, low) = element.split_last().expect("an element has bytes");
    (last & 0x7f) | low.iter().fold(0, |bits, byte| bits | byte) == 0
}

/// Decodes; kept elements go back to their places and the rest is +0.
pub fn decode(float: FloatType, mask: &Bitmask, cols: usize) -> Vec<u8> {
    let size = float.size();
    let mut data = vec![0; mask.row_offsets.len() * cols * size];
    if data.is_empty() {
        return data;
    }
    let mut kept = mask.compressed.chunks_exact(size);
    let rows = data.chunks_exact_mut(cols * size).zip(mask.bitmask.chunks_exact(cols.div_ceil(8)));
    for (row, bits) in rows {
        for (octet, byte) in row.chunks_mut(8 * size).zip(bits) {
            for (k, element) in octet.chunks_exact_mut(size).enumerate() {
                if byte >> k & 1 == 1 {
                    element.copy_from_slice(kept.next().expect("one element a mask bit"));
                }
            }
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_matrix() {
        let values = [0.0, 1.5, -0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 1e-45, 0.0];
        let data: Vec<u8> = values.iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        // Rows of 6: [0, 1.5, -0, NaN, 0, 0] and [0, 0, -2, 0, 1e-45, 0].
        let mask = encode(FloatType::F32, &data, 6);
        assert_eq!(mask.bitmask, [0b00_1010, 0b01_0100]);
        assert_eq!(mask.row_offsets, [0, 2]);
        assert_eq!(mask.compressed.len(), 4 * 4);
        let back = decode(FloatType::F32, &mask, 6);
        let mut expected = data.clone();
        expected[8..12].fill(0);
        assert_eq!(back, expected);
    }

    #[test]
    fn nothing_at_all() {
        assert_eq!(encode(FloatType::BF16, &[], 0), Bitmask::default());
        assert!(decode(FloatType::BF16, &Bitmask::default(), 7).is_empty());
    }
}

//! Packed codes without those that mean zero.
use super::pack;
use super::quantize::{row_segment_len, segment_index};
use crate::scheme::{QuantParams, QuantScheme};

/// Codes of a matrix without those that are their segment's zero point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptCodes {
    /// Kept codes, row-major, as one little-endian bitstream of `code + 2^(bits-1)` over all rows,
    /// zero padded. The first `lead` places hold 0 bits, so that the stream of a slab begins in the
    /// word in which that of the slab before ends.
    pub words: Vec<u32>,
    /// Places before the first kept code, fewer than a word has.
    pub lead: usize,
    /// `[rows, ceil(cols / 8)]`; bit k of byte j is column 8j + k; 1 = kept.
    pub bitmask: Vec<u8>,
    /// Kept codes before each row.
    pub row_offsets: Vec<i64>,
}

impl KeptCodes {
    /// Number of kept codes.
    pub fn kept(&self) -> usize {
        self.bitmask.iter().map(|byte| byte.count_ones() as usize).sum()
    }
}

/// Which of the packed codes `[rows, cols]` are not their zero point: `[rows, ceil(cols / 8)]`.
pub fn mask(
    words: &[u32],
    rows: usize,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Vec<u8> {
    let mut bitmask = Vec::with_capacity(rows * cols.div_ceil(8));
    for_each_row(words, rows, cols, params, scheme, |codes, zeros| {
        let octets = codes.chunks(8).zip(zeros.chunks(8));
        bitmask.extend(octets.map(|(codes, zeros)| difference(codes, zeros)));
    });
    bitmask
}

/// Encodes packed codes `[rows, words_per_row]`.
pub fn encode(
    words: &[u32],
    rows: usize,
    cols: usize,
    lead: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> KeptCodes {
    let mut result = KeptCodes { lead, row_offsets: vec![0; rows], ..KeptCodes::default() };
    // The code whose bits are all 0.
    let mut kept = vec![smallest(scheme); lead + rows * cols];
    let (mut at, mut row) = (lead, 0);
    for_each_row(words, rows, cols, params, scheme, |codes, zeros| {
        result.row_offsets[row] = (at - lead) as i64;
        row += 1;
        for (codes, zeros) in codes.chunks(8).zip(zeros.chunks(8)) {
            let byte = difference(codes, zeros);
            result.bitmask.push(byte);
            if byte == 0 {
                continue;
            }
            for (k, code) in codes.iter().enumerate() {
                // Every code is written and only the kept ones move the place: no branch.
                kept[at] = *code;
                at += usize::from(byte >> k & 1);
            }
        }
    });
    pack::pack_row(&kept[..at], scheme.bits, &mut result.words);
    result
}

/// Decodes to packed codes `[rows, words_per_row]`; what was left out has the code of its zero
/// point.
pub fn decode(
    kept: &KeptCodes,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
) -> Vec<u32> {
    let rows = kept.row_offsets.len();
    let mut words = Vec::with_capacity(rows * scheme.words_per_row(cols));
    if cols == 0 {
        return words;
    }
    let mut stream = vec![0; kept.lead + kept.kept()];
    pack::unpack_row(&kept.words, scheme.bits, &mut stream);
    let mut stream = stream[kept.lead..].iter();
    let mut zeros = vec![0; cols];
    let mut codes = vec![0; cols];
    for (row, mask) in kept.bitmask.chunks_exact(cols.div_ceil(8)).enumerate() {
        zero_points(&mut zeros, row, params, scheme);
        codes.copy_from_slice(&zeros);
        for (octet, byte) in codes.chunks_mut(8).zip(mask) {
            let mut bits = *byte;
            while bits != 0 {
                let place = bits.trailing_zeros() as usize;
                octet[place] = *stream.next().expect("one code a mask bit");
                bits &= bits - 1;
            }
        }
        pack::pack_row(&codes, scheme.bits, &mut words);
    }
    words
}

/// The code whose unsigned form is 0.
fn smallest(scheme: &QuantScheme) -> i8 {
    (-1_i32 << (scheme.bits as u32 - 1)) as i8
}

/// Calls `each` with the codes and the zero points of every row.
fn for_each_row(
    words: &[u32],
    rows: usize,
    cols: usize,
    params: &QuantParams,
    scheme: &QuantScheme,
    mut each: impl FnMut(&[i8], &[i8]),
) {
    if cols == 0 {
        return;
    }
    let (mut codes, mut zeros) = (vec![0; cols], vec![0; cols]);
    for (row, words) in words.chunks_exact(scheme.words_per_row(cols)).take(rows).enumerate() {
        pack::unpack_row(words, scheme.bits, &mut codes);
        zero_points(&mut zeros, row, params, scheme);
        each(&codes, &zeros);
    }
}

/// Fills `zeros` with the zero point of every column of `row`; they stay 0 where symmetric.
fn zero_points(zeros: &mut [i8], row: usize, params: &QuantParams, scheme: &QuantScheme) {
    if scheme.symmetric {
        return;
    }
    let cols = zeros.len();
    for (group, zeros) in zeros.chunks_mut(row_segment_len(cols, scheme)).enumerate() {
        zeros.fill(params.zero_point[segment_index(row, group, cols, scheme)]);
    }
}

/// Bit k: whether code k is not zero point k, of eight or fewer.
#[inline(always)]
fn difference(codes: &[i8], zeros: &[i8]) -> u8 {
    match (<&[i8; 8]>::try_from(codes), <&[i8; 8]>::try_from(zeros)) {
        (Ok(codes), Ok(zeros)) => {
            let octet = |bytes: &[i8; 8]| u64::from_le_bytes(bytes.map(|byte| byte as u8));
            let x = octet(codes) ^ octet(zeros);
            // The high bit of each byte that is not 0, then those eight bits side by side.
            let high = ((x & 0x7f7f_7f7f_7f7f_7f7f) + 0x7f7f_7f7f_7f7f_7f7f) | x;
            let low = high >> 7 & 0x0101_0101_0101_0101;
            (low.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
        }
        _ => {
            let each = codes.iter().zip(zeros).enumerate();
            each.fold(0, |byte, (k, (code, zero))| byte | u8::from(code != zero) << k)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::{Bits, Granularity};

    #[test]
    fn a_small_matrix() {
        // Rows of 9 codes; zero points 1 and -2.
        let codes = [1, 3, 1, 1, 1, 1, 1, 1, -8, -2, -2, -2, -2, 0, 7, -2, -2, -2];
        let scheme =
            QuantScheme { symmetric: false, ..QuantScheme::new(Bits::Four, Granularity::Channel) };
        let params = QuantParams { scale: vec![1.0; 2], zero_point: vec![1, -2] };
        let words = pack::pack(&codes, 9, Bits::Four);
        for (lead, stream) in [(0, vec![0xf80b]), (7, vec![0xb000_0000, 0xf80])] {
            let kept = encode(&words, 2, 9, lead, &params, &scheme);
            assert_eq!(kept.words, stream, "3, -8, 0, 7 after {lead} places");
            assert_eq!(kept.bitmask, [0b10, 1, 0b11_0000, 0]);
            assert_eq!(kept.bitmask, mask(&words, 2, 9, &params, &scheme));
            assert_eq!(kept.row_offsets, [0, 2]);
            assert_eq!(decode(&kept, 9, &params, &scheme), words);
        }
    }

    #[test]
    fn nothing_at_all() {
        let scheme = QuantScheme::int8();
        let params = QuantParams { scale: vec![1.0; 3], zero_point: vec![] };
        let kept = encode(&[], 3, 0, 0, &params, &scheme);
        assert_eq!(kept, KeptCodes { row_offsets: vec![0; 3], ..KeptCodes::default() });
        assert!(decode(&kept, 0, &params, &scheme).is_empty());
        assert_eq!(encode(&[], 0, 7, 0, &params, &scheme), KeptCodes::default());
    }
}

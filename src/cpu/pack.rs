//! Signed codes to little-endian bitstreams and back (compressed-tensors, pack-quantized).
use crate::scheme::Bits;

/// Packs `codes` `[rows, cols]`: each row is one bitstream of `code + 2^(bits-1)`, zero padded.
pub fn pack(codes: &[i8], cols: usize, bits: Bits) -> Vec<u32> {
    if cols == 0 {
        return Vec::new();
    }
    let rows = codes.len() / cols;
    let mut words = Vec::with_capacity(rows * cols.div_ceil(32 / bits as usize));
    for row in codes.chunks_exact(cols) {
        pack_row(row, bits, &mut words);
    }
    words
}

/// The codes `[rows, cols]` of packed rows.
pub fn unpack(words: &[u32], cols: usize, bits: Bits) -> Vec<i8> {
    if cols == 0 {
        return Vec::new();
    }
    let row_words = cols.div_ceil(32 / bits as usize);
    let mut codes = vec![0; words.len() / row_words * cols];
    for (row, out) in words.chunks_exact(row_words).zip(codes.chunks_exact_mut(cols)) {
        unpack_row(row, bits, out);
    }
    codes
}

/// Packs zero points `[rows, groups]` along dimension 0, as compressed-tensors stores them:
/// transposed, packed as rows, transposed back to `[ceil(rows * bits / 32), groups]`.
pub fn pack_zero_points(zp: &[i8], rows: usize, groups: usize, bits: Bits) -> Vec<u32> {
    assert_eq!(zp.len(), rows * groups);
    let packed = pack(&transpose(zp, rows, groups), rows, bits);
    transpose(&packed, groups, rows.div_ceil(32 / bits as usize))
}

/// The zero points `[rows, groups]` that [`pack_zero_points`] packed.
pub fn unpack_zero_points(words: &[u32], rows: usize, groups: usize, bits: Bits) -> Vec<i8> {
    let packed = transpose(words, rows.div_ceil(32 / bits as usize), groups);
    transpose(&unpack(&packed, rows, bits), groups, rows)
}

fn transpose<T: Copy>(data: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..cols).flat_map(|c| (0..rows).map(move |r| data[r * cols + c])).collect()
}

/// Appends one packed row.
pub(super) fn pack_row(codes: &[i8], bits: Bits, words: &mut Vec<u32>) {
    let per_word = 32 / bits as usize;
    let chunks = codes.chunks_exact(per_word);
    let rest = chunks.remainder();
    match bits {
        Bits::Two => words.extend(chunks.map(|c| two(octet(c, 0)) | two(octet(c, 8)) << 16)),
        Bits::Four => words.extend(chunks.map(|c| four(octet(c, 0)))),
        Bits::Eight => words.extend(chunks.map(|c| {
            u32::from_le_bytes([c[0] as u8, c[1] as u8, c[2] as u8, c[3] as u8]) ^ 0x8080_8080
        })),
    }
    if !rest.is_empty() {
        let offset = 1 << (bits as u32 - 1);
        let unsigned = rest.iter().map(|&code| (i32::from(code) + offset) as u32);
        words.push(unsigned.enumerate().fold(0, |w, (i, u)| w | u << (i * bits as usize)));
    }
}

/// Eight codes as the bytes of one integer.
#[inline(always)]
fn octet(codes: &[i8], at: usize) -> u64 {
    let codes: &[i8; 8] = codes[at..at + 8].try_into().expect("eight codes");
    u64::from_le_bytes(codes.map(|code| code as u8))
}

/// Eight codes as nibbles: flipping the sign bit adds the offset, then neighbours are merged.
#[inline(always)]
fn four(octet: u64) -> u32 {
    let x = (octet & 0x0f0f_0f0f_0f0f_0f0f) ^ 0x0808_0808_0808_0808;
    let x = (x | x >> 4) & 0x00ff_00ff_00ff_00ff;
    let x = (x | x >> 8) & 0x0000_ffff_0000_ffff;
    (x | x >> 16) as u32
}

/// Eight codes as bit pairs, in the low half of a word.
#[inline(always)]
fn two(octet: u64) -> u32 {
    let x = (octet & 0x0303_0303_0303_0303) ^ 0x0202_0202_0202_0202;
    let x = (x | x >> 6) & 0x000f_000f_000f_000f;
    let x = (x | x >> 12) & 0x0000_00ff_0000_00ff;
    (x | x >> 24) as u32 & 0xffff
}

/// Unpacks one row; `out` says how many codes it has.
pub(super) fn unpack_row(words: &[u32], bits: Bits, out: &mut [i8]) {
    match bits {
        Bits::Two => unpack_words::<2>(words, out),
        Bits::Four => unpack_words::<4>(words, out),
        Bits::Eight => unpack_words::<8>(words, out),
    }
}

#[inline(always)]
fn unpack_words<const BITS: usize>(words: &[u32], out: &mut [i8]) {
    let offset = 1 << (BITS - 1);
    for (codes, word) in out.chunks_mut(32 / BITS).zip(words) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code = (((word >> (i * BITS)) & ((1 << BITS) - 1)) as i32 - offset) as i8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_format_description() {
        let int4 = [-8, -7, -1, 0, 1, 2, 6, 7];
        assert_eq!(pack(&int4, 8, Bits::Four), [0xfea9_8710]);
        assert_eq!(pack(&[-128, -1, 0, 127], 4, Bits::Eight), [0xff80_7f00]);
    }

    #[test]
    fn padding_is_zero_bits_and_not_the_offset() {
        assert_eq!(pack(&[0, 0, 0], 3, Bits::Four), [0x888]);
        assert_eq!(pack(&[-2, 1, 1], 1, Bits::Two), [0, 3, 3]);
        assert_eq!(pack(&[1; 17], 17, Bits::Two), [u32::MAX, 3]);
    }

    #[test]
    fn zero_points_are_packed_along_the_rows() {
        let zp: Vec<i8> = (0..9 * 2).map(|i| (i % 16) as i8 - 8).collect();
        let words = pack_zero_points(&zp, 9, 2, Bits::Four);
        // Column 0 holds 0, 2, 4 … 14, then 0; column 1 holds 1, 3, 5 … 15, then 1.
        assert_eq!(words, [0xeca8_6420, 0xfdb9_7531, 0, 1]);
        assert_eq!(unpack_zero_points(&words, 9, 2, Bits::Four), zp);
    }

    #[test]
    fn all_codes_come_back() {
        for (bits, low, high) in [(Bits::Two, -2, 1), (Bits::Four, -8, 7), (Bits::Eight, -128, 127)]
        {
            for cols in [1, 2, 7, 8, 15, 16, 17, 31, 101] {
                let len = cols * 5;
                let codes: Vec<i8> = (low..=high).cycle().step_by(3).take(len).collect();
                assert_eq!(unpack(&pack(&codes, cols, bits), cols, bits), codes);
            }
            assert!(pack(&[], 0, bits).is_empty());
            assert!(unpack(&[], 0, bits).is_empty());
        }
    }
}

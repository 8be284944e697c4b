//! Codes without those that mean zero, as `FORMAT.md` describes them on disk: the mask is
//! stored without its bytes that are 0, behind a second mask that says which those are.

use std::ops::Range;

use super::{Part, Weight, words_of};
use crate::cpu::bitmask_codes::KeptCodes;
use crate::io::Model;
use crate::scheme::QuantScheme;
use crate::tensor::DType;

/// The tensors that hold the codes of a weight `[out, in]`.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// I32 `[words]`: the kept codes as one bitstream.
    pub compressed: Part,
    /// U8 `[bytes]`: the bytes of the mask that are not 0.
    pub bitmask: Part,
    /// U8 `[out, ceil(ceil(in / 8) / 8)]`: which bytes of the mask those are.
    pub bytemask: Part,
    /// I32 or I64 `[out + 1, 2]`: mask bytes and codes before each row, and in all.
    pub row_offsets: Part,
}

/// What is stored before some row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Before {
    mask_bytes: usize,
    codes: usize,
}

impl Kept {
    pub(super) fn parts(&self) -> [&Part; 4] {
        [&self.compressed, &self.bitmask, &self.bytemask, &self.row_offsets]
    }

    /// Whether types and shapes are those of a weight `[rows, cols]`.
    pub(super) fn fits(&self, rows: usize, cols: usize) -> bool {
        let [compressed, bitmask, bytemask, row_offsets] = self.parts().map(|part| &part.info);
        let vectors = [(compressed, DType::I32), (bitmask, DType::U8)];
        vectors.iter().all(|(info, dtype)| info.dtype == *dtype && info.shape.len() == 1)
            && bytemask.dtype == DType::U8
            && bytemask.shape == [rows, bytes_for(bytes_for(cols))]
            && [DType::I32, DType::I64].contains(&row_offsets.dtype)
            && row_offsets.shape == [rows + 1, 2]
    }

    /// The kept codes of some rows; `None` where masks, offsets and lengths contradict each other.
    pub(super) fn read(
        &self,
        model: &Model,
        weight: &Weight,
        scheme: &QuantScheme,
        rows: &Range<usize>,
    ) -> Option<KeptCodes> {
        let (first, end) = (self.before(model, rows.start)?, self.before(model, rows.end)?);
        let all = self.before(model, weight.rows)?;
        let per_word = scheme.codes_per_word();
        let fits = (rows.start > 0 || first == Before::default())
            && all.mask_bytes as u64 == self.bitmask.info.bytes()
            && all.codes.div_ceil(per_word) as u64 == self.compressed.info.bytes() / 4
            && (first.mask_bytes..=all.mask_bytes).contains(&end.mask_bytes)
            && (first.codes..=all.codes).contains(&end.codes);
        if !fits {
            return None;
        }
        let bytes = self.bitmask.bytes(model, first.mask_bytes..end.mask_bytes);
        let width = bytes_for(bytes_for(weight.cols));
        let bytemask = self.bytemask.bytes(model, rows.start * width..rows.end * width);
        let (bitmask, starts) = join(bytemask, bytes, rows.len(), weight.cols)?;
        let mut row_offsets = vec![];
        for (row, start) in rows.clone().zip(starts) {
            let before = self.before(model, row)?;
            if before.mask_bytes != first.mask_bytes + start {
                return None;
            }
            row_offsets.push(before.codes.checked_sub(first.codes)? as i64);
        }

        let lead = first.codes % per_word;
        let mut kept = KeptCodes { words: vec![], lead, bitmask, row_offsets };
        if kept.kept() != end.codes - first.codes {
            return None;
        }
        let words = first.codes / per_word..end.codes.div_ceil(per_word);
        kept.words = words_of(self.compressed.bytes(model, words.start * 4..words.end * 4));
        Some(kept)
    }

    /// What is stored before `row`, or in all after the last.
    fn before(&self, model: &Model, row: usize) -> Option<Before> {
        let number = |at: usize| -> Option<usize> {
            match self.row_offsets.info.dtype {
                DType::I32 => {
                    let bytes = self.row_offsets.bytes(model, at * 4..at * 4 + 4);
                    usize::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok()
                }
                _ => {
                    let bytes = self.row_offsets.bytes(model, at * 8..at * 8 + 8);
                    usize::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok()
                }
            }
        };
        Some(Before { mask_bytes: number(row * 2)?, codes: number(row * 2 + 1)? })
    }
}

/// Bytes of so many bits.
fn bytes_for(bits: usize) -> usize {
    bits.div_ceil(8)
}

/// A mask `[rows, ceil(cols / 8)]` in two levels.
pub(crate) struct SplitMask {
    /// `[rows, ceil(ceil(cols / 8) / 8)]`: bit k of byte j is 1 where byte 8j + k of the row is in
    /// `bytes`.
    pub bytemask: Vec<u8>,
    /// The bytes that are not 0, row after row.
    pub bytes: Vec<u8>,
    /// How many of them are before each row.
    pub row_offsets: Vec<u64>,
}

/// Takes the bytes that are 0 out of a mask `[rows, ceil(cols / 8)]`.
pub(crate) fn split(bitmask: &[u8], rows: usize, cols: usize) -> SplitMask {
    let mut split = SplitMask { bytemask: vec![], bytes: vec![], row_offsets: vec![] };
    let width = bytes_for(cols);
    for row in 0..rows {
        split.row_offsets.push(split.bytes.len() as u64);
        for octet in bitmask[row * width..][..width].chunks(8) {
            let bit = |(k, byte): (usize, &u8)| u8::from(*byte != 0) << k;
            split.bytemask.push(octet.iter().enumerate().map(bit).sum());
            split.bytes.extend(octet.iter().filter(|byte| **byte != 0));
        }
    }
    split
}

/// The mask `[rows, ceil(cols / 8)]` and how many of `bytes` are before each row; `None` where
/// `bytemask` does not count them.
fn join(bytemask: &[u8], bytes: &[u8], rows: usize, cols: usize) -> Option<(Vec<u8>, Vec<usize>)> {
    let width = bytes_for(cols);
    let mut bitmask = vec![0; rows * width];
    if bitmask.is_empty() {
        return bytes.is_empty().then(|| (bitmask, vec![0; rows]));
    }
    let mut starts = Vec::with_capacity(rows);
    let mut at = 0;
    for (row, marks) in bitmask.chunks_exact_mut(width).zip(bytemask.chunks(bytes_for(width))) {
        starts.push(at);
        for (number, mark) in marks.iter().enumerate() {
            let mut bits = *mark;
            while bits != 0 {
                let place = number * 8 + bits.trailing_zeros() as usize;
                *row.get_mut(place)? = *bytes.get(at)?;
                at += 1;
                bits &= bits - 1;
            }
        }
    }
    (at == bytes.len()).then_some((bitmask, starts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_come_back() {
        for (rows, cols) in [(0, 5), (3, 0), (1, 1), (2, 8), (3, 65), (5, 129), (4, 1000)] {
            let width = bytes_for(cols);
            let byte = |i: usize| if i * 7 % 5 < 2 { (i * 37 % 255 + 1) as u8 } else { 0 };
            let bitmask: Vec<u8> = (0..rows * width).map(byte).collect();
            let SplitMask { bytemask, bytes, row_offsets } = split(&bitmask, rows, cols);
            assert_eq!(bytemask.len(), rows * bytes_for(width));
            assert!(!bytes.contains(&0));
            let (joined, starts) = join(&bytemask, &bytes, rows, cols).expect("fits");
            assert_eq!(joined, bitmask);
            let starts: Vec<u64> = starts.iter().map(|start| *start as u64).collect();
            assert_eq!(starts, row_offsets);
        }
    }

    #[test]
    fn what_does_not_fit_is_noticed() {
        let good = [0b101, 0b10];
        assert_eq!(join(&good, &[7, 8, 9], 2, 20), Some((vec![7, 0, 8, 0, 9, 0], vec![0, 2])));
        assert_eq!(join(&good, &[7, 8], 2, 20), None, "too few bytes");
        assert_eq!(join(&good, &[7, 8, 9, 9], 2, 20), None, "too many");
        assert_eq!(join(&[0b1000, 0], &[7], 2, 20), None, "a byte beyond the row");
        assert_eq!(join(&[], &[7], 2, 0), None, "bytes of nothing");
    }
}

//! Signed codes to little-endian bitstreams and back (compressed-tensors, pack-quantized).
use crate::scheme::Bits;

/// Packs `codes` `[rows, cols]`: each row is one bitstream of `code + 2^(bits-1)`, zero padded.
pub fn pack(codes: &[i8], cols: usize, bits: Bits) -> Vec<u32> {
    todo!("{} {cols} {bits:?}", codes.len())
}

/// The codes `[rows, cols]` of packed rows.
pub fn unpack(words: &[u32], cols: usize, bits: Bits) -> Vec<i8> {
    todo!("{} {cols} {bits:?}", words.len())
}

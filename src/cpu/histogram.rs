//! Counts of one radix digit of the magnitude keys.
use super::convert::{self, BLOCK, KEY_MASK};
use crate::scheme::RadixDigit;
use crate::tensor::FloatType;

/// Tables counted side by side: neighbouring weights often share a digit, and counting them in
/// one table would wait for the store before.
const TABLES: usize = 4;

/// `1 << digit.bits` counts.
pub fn count(float: FloatType, data: &[u8], digit: RadixDigit) -> Vec<u32> {
    let size = 1_usize << digit.bits;
    let mut tables = vec![0_u32; size * TABLES];
    let mut values = [0.0; BLOCK];
    for block in data.chunks(BLOCK * float.size()) {
        let values = &mut values[..block.len() / float.size()];
        convert::decode(float, block, values);
        count_block(values, digit, &mut tables);
    }
    let (first, others) = tables.split_at_mut(size);
    for table in others.chunks_exact(size) {
        for (sum, n) in first.iter_mut().zip(table) {
            *sum += n;
        }
    }
    tables.truncate(size);
    tables
}

fn count_block(values: &[f32], digit: RadixDigit, tables: &mut [u32]) {
    let size = 1_usize << digit.bits;
    let mask = size - 1;
    let (shift, prefix) = (digit.shift, u64::from(digit.prefix));
    let above = shift + digit.bits;
    for chunk in values.chunks(TABLES) {
        for (table, value) in chunk.iter().enumerate() {
            let key = value.to_bits() & KEY_MASK;
            if u64::from(key) >> above == prefix {
                tables[table * size + ((key >> shift) as usize & mask)] += 1;
            }
        }
    }
}

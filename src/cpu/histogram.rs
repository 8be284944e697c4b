//! Counts of one radix digit of the magnitude keys.
use super::convert::{self, BLOCK, KEY_MASK};
use crate::scheme::RadixDigit;
use crate::tensor::FloatType;
use multiversion::multiversion;

/// Tables counted side by side: neighbouring weights often share a digit, and counting them in
/// one table would wait for the store before.
const TABLES: usize = 4;
/// Counts of the widest digit.
const SIZE: usize = 1 << 11;

/// `1 << digit.bits` counts.
///
/// # Panics
/// Where the digit has more than 11 bits.
pub fn count(float: FloatType, data: &[u8], digit: RadixDigit) -> Vec<u32> {
    let size = 1_usize << digit.bits;
    assert!(size <= SIZE, "a digit of {} bits", digit.bits);
    let mut tables = vec![[0; SIZE]; TABLES];
    // Floats that lie where the processor can read them need no copy.
    let in_place = float == FloatType::F32 && cfg!(target_endian = "little");
    match in_place.then(|| bytemuck::try_cast_slice(data)) {
        Some(Ok(bits)) => add(bits, digit, &mut tables),
        _ => {
            let mut values = [0.0; BLOCK];
            for block in data.chunks(BLOCK * float.size()) {
                let values = &mut values[..block.len() / float.size()];
                convert::decode(float, block, values);
                add(bytemuck::cast_slice(values), digit, &mut tables);
            }
        }
    }
    let mut counts = vec![0; size];
    for table in &tables {
        counts.iter_mut().zip(table).for_each(|(sum, n)| *sum += n);
    }
    counts
}

/// Counts floats, given by their bits.
fn add(bits: &[u32], digit: RadixDigit, tables: &mut [[u32; SIZE]]) {
    // Keys have 31 bits: above the first digit there is nothing to compare.
    if digit.shift + digit.bits == 31 && digit.prefix == 0 {
        add_all(bits, digit.shift, tables);
    } else if let [table, ..] = tables {
        add_matching(bits, digit, table);
    }
}

fn add_all(bits: &[u32], shift: u32, tables: &mut [[u32; SIZE]]) {
    let (chunks, rest) = bits.as_chunks::<TABLES>();
    for bits in chunks.iter().map(|chunk| &chunk[..]).chain([rest]) {
        for (bits, table) in bits.iter().zip(&mut *tables) {
            table[((bits & KEY_MASK) >> shift) as usize % SIZE] += 1;
        }
    }
}

/// Keys that are compared at once: few of them share what lies above their digit with the cut.
const LANES: usize = 16;

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_matching(bits: &[u32], digit: RadixDigit, table: &mut [u32; SIZE]) {
    let RadixDigit { shift, bits: width, prefix } = digit;
    let (above, mask) = (shift + width, (1 << width) - 1);
    let matches = |bits: u32| u32::from((bits & KEY_MASK) >> above == prefix);
    let mut count = |bits: u32| table[(bits >> shift & mask) as usize % SIZE] += 1;
    let (chunks, rest) = bits.as_chunks::<LANES>();
    for chunk in chunks {
        if chunk.iter().fold(0, |any, bits| any | matches(*bits)) == 0 {
            continue;
        }
        // Every key is written and only those that match move the place: no branch to mispredict.
        let mut kept = [0; LANES];
        let mut len = 0;
        for bits in chunk {
            kept[len % LANES] = *bits;
            len += matches(*bits) as usize;
        }
        kept[..len].iter().for_each(|bits| count(*bits));
    }
    rest.iter().filter(|bits| matches(**bits) == 1).for_each(|bits| count(*bits));
}

//! The k largest values of each row.

/// Columns and values `[rows, k]` of the `k` largest values of each row of `values`
/// `[rows, cols]`, largest first, the lower column first among equal ones; -0 equals +0, and NaNs
/// come first.
///
/// # Panics
/// Where a row has fewer than `k` values.
pub fn top_k(values: &[f32], cols: usize, k: usize) -> (Vec<u32>, Vec<f32>) {
    assert!(k <= cols, "a row of {cols} has no {k} values");
    let count = values.len() / cols.max(1) * k;
    let (mut indices, mut largest) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut best: Vec<(u32, u32)> = Vec::with_capacity(k + 1);
    for row in values.chunks_exact(cols.max(1)) {
        best.clear();
        for (column, value) in (0..).zip(row) {
            let key = rank_key(value.to_bits());
            if best.len() < k || best.last().is_some_and(|last| key > last.0) {
                // Behind its equals, whose columns are lower.
                best.insert(best.partition_point(|b| b.0 >= key), (key, column));
                best.truncate(k);
            }
        }
        indices.extend(best.iter().map(|b| b.1));
        largest.extend(best.iter().map(|b| row[b.1 as usize]));
    }
    (indices, largest)
}

/// Orders floats as unsigned integers; -0 equals +0, and a NaN of either sign comes first.
fn rank_key(bits: u32) -> u32 {
    match bits {
        0x8000_0000 => 0x8000_0000,
        _ if bits & 0x7fff_ffff > 0x7f80_0000 => u32::MAX,
        _ if bits & 0x8000_0000 != 0 => !bits,
        _ => bits | 0x8000_0000,
    }
}

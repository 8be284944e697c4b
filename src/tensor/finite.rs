//! Finding NaN and infinite weights by their bits.

use crate::tensor::FloatType;

/// Whether an element of `data` is NaN or infinite.
pub(crate) fn any_non_finite(float: FloatType, data: &[u8]) -> bool {
    match float {
        FloatType::F32 => wide(data),
        FloatType::F16 => narrow(data, 0x7c00),
        FloatType::BF16 => narrow(data, 0x7f80),
    }
}

/// Elements of a block, after which the search may stop.
const BLOCK: usize = 1 << 14;

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn wide(data: &[u8]) -> bool {
    data.chunks(BLOCK).any(|block| {
        let bits = block.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b) & 0x7fff_ffff);
        bits.fold(0, u32::max) >= 0x7f80_0000
    })
}

#[multiversion::multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn narrow(data: &[u8], infinity: u16) -> bool {
    data.chunks(BLOCK).any(|block| {
        let bits = block.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b) & 0x7fff);
        bits.fold(0, u16::max) >= infinity
    })
}

/// The NaN and infinite elements of `data`: place and value of the first, and how many there are.
pub(crate) fn non_finite(float: FloatType, data: &[u8]) -> Option<(usize, f32, u64)> {
    let count = data.len() / float.size();
    let mut bad = (0..count).filter(|i| !float.load(data, *i).is_finite());
    let first = bad.next()?;
    Some((first, float.load(data, first), 1 + bad.count() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_kind_is_found() {
        for float in FloatType::ALL {
            for len in [0, 1, 7, 33, BLOCK, BLOCK + 3] {
                let mut values = vec![-1.5; len];
                if len > 0 {
                    values[0] = if float == FloatType::F16 { 65504.0 } else { 3e38 };
                }
                let mut data = vec![];
                float.encode(&values, &mut data);
                assert!(!any_non_finite(float, &data));
                assert_eq!(non_finite(float, &data), None);
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for at in [0, len / 2, len.saturating_sub(1)].into_iter().take(len) {
                        let mut values = values.clone();
                        values[at] = bad;
                        let mut data = vec![];
                        float.encode(&values, &mut data);
                        assert!(any_non_finite(float, &data), "{float:?} {len} {at} {bad}");
                        let (first, value, count) = non_finite(float, &data).expect("found");
                        assert_eq!((first, count), (at, 1));
                        assert_eq!(value.is_nan(), bad.is_nan());
                    }
                }
            }
        }
    }
}

//! Cases of the operations on magnitudes.

use super::data::{LENGTHS, SHAPES, edges, for_all, gaussian, tiny, words_bytes};
use super::{Case, Output, Work};
use crate::cpu;
use crate::ops::{bitmask, histogram, prune, prune_exact, prune_nm, stats};
use crate::scheme::{Cut, NmPattern, RadixDigit, SegmentStats};
use crate::tensor::FloatType;

pub(super) const FIRST_DIGIT: RadixDigit = RadixDigit { shift: 20, bits: 11, prefix: 0 };

pub(super) fn stats_case(float: FloatType, data: &[u8], segment_len: usize, what: &str) -> Case {
    let data = data.to_vec();
    let count = data.len() / float.size();
    Case {
        name: format!("{float:?} [{count}] segments of {segment_len}, {what}"),
        work: Work {
            read: data.len() as u64,
            written: count.div_ceil(segment_len) as u64 * 20,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let found = stats::segments(backend, float, &data, segment_len)?;
            let bytes = found
                .iter()
                .flat_map(|s| {
                    let SegmentStats { min, max, abs_max, non_finite, zeros } = s;
                    let mut row = vec![];
                    row.extend([min, max, abs_max].iter().flat_map(|v| v.to_le_bytes()));
                    row.extend([non_finite, zeros].iter().flat_map(|v| v.to_le_bytes()));
                    row
                })
                .collect();
            Ok(Output { parts: vec![("statistics", bytes)] })
        }),
        reference: None,
    }
}

pub(super) fn stats_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for (i, count) in LENGTHS.into_iter().enumerate() {
            for segment_len in [1, 5, 32, 128, 1000, 1 << 30] {
                let data = edges(float, count, i as u64, true);
                cases.push(stats_case(float, &data, segment_len, "edges"));
            }
        }
        cases.push(stats_case(float, &gaussian(float, 300_000, 9), 200_000, "cut segments"));
        // 70 000 segments of four lanes take more workgroups than one dimension holds.
        cases.push(stats_case(float, &tiny(float, 70_000, 10), 1, "folded"));
    });
    cases
}

pub(super) fn histogram_case(
    float: FloatType,
    data: Vec<u8>,
    digit: RadixDigit,
    what: &str,
) -> Case {
    Case {
        name: format!("{float:?} {} bytes, {digit:?}, {what}", data.len()),
        work: Work { read: data.len() as u64, written: 4 << digit.bits, ..Work::default() },
        run: Box::new(move |backend| {
            let counts = histogram::count_digit(backend, float, &data, digit)?;
            Ok(Output { parts: vec![("counts", words_bytes(&counts))] })
        }),
        reference: None,
    }
}

pub(super) fn histogram_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for (i, count) in LENGTHS.into_iter().enumerate() {
            let data = edges(float, count, i as u64, true);
            cases.push(histogram_case(float, data, FIRST_DIGIT, "first digit"));
        }
        let data = gaussian(float, 70_001, 5);
        let key = float.load(&data, 123).to_bits() & 0x7fff_ffff;
        let second = RadixDigit { shift: 10, bits: 10, prefix: key >> 20 };
        let third = RadixDigit { shift: 0, bits: 10, prefix: key >> 10 };
        cases.push(histogram_case(float, data.clone(), second, "second digit"));
        cases.push(histogram_case(float, data, third, "third digit"));
    });
    cases
}

pub(super) fn prune_case(
    float: FloatType,
    data: Vec<u8>,
    cut: Cut,
    first_index: u64,
    what: &str,
) -> Case {
    Case {
        name: format!("{float:?} {} bytes, {cut:?} from {first_index}, {what}", data.len()),
        work: Work { read: data.len() as u64, written: data.len() as u64, ..Work::default() },
        run: Box::new(move |backend| {
            let mut data = data.clone();
            prune::apply(backend, float, &mut data, cut, first_index)?;
            Ok(Output { parts: vec![("weights", data)] })
        }),
        reference: None,
    }
}

pub(super) fn prune_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for (i, count) in LENGTHS.into_iter().enumerate() {
            let data = edges(float, count, i as u64, true);
            let middle = (count / 2) as u64;
            let tie = Cut { key: 1.0_f32.to_bits(), ties_below: middle };
            cases.push(prune_case(float, data.clone(), Cut::above(1.0), 0, "above"));
            cases.push(prune_case(float, data.clone(), Cut::at_least(1.0), 0, "at least"));
            cases.push(prune_case(float, data.clone(), tie, 0, "ties by index"));
            let far = Cut { ties_below: (1 << 40) + middle, ..tie };
            cases.push(prune_case(float, data.clone(), far, 1 << 40, "ties in a later slab"));
            cases.push(prune_case(float, data, Cut::above(0.0), 0, "zeros only"));
        }
    });
    cases
}

pub(super) fn prune_exact_case(tensors: Vec<(Vec<f32>, usize)>, sparsity: f64, what: &str) -> Case {
    let shapes: Vec<_> = tensors.iter().map(|(w, cols)| (w.len() / cols, *cols)).collect();
    let bytes = tensors.iter().map(|(weights, _)| weights.len() as u64 * 4).sum();
    Case {
        name: format!("{shapes:?} to {sparsity}, {what}"),
        // Three digits of the keys and the weights themselves.
        work: Work { read: 4 * bytes, written: bytes, ..Work::default() },
        run: Box::new(move |backend| {
            let mut tensors = tensors.clone();
            let mut views: Vec<_> =
                tensors.iter_mut().map(|(weights, cols)| (&mut weights[..], *cols)).collect();
            prune_exact::prune_exact(backend, &mut views, sparsity)?;
            let weights = tensors.iter().flat_map(|(weights, _)| bytemuck::cast_slice(weights));
            Ok(Output { parts: vec![("weights", weights.copied().collect())] })
        }),
        reference: None,
    }
}

pub(super) fn prune_exact_cases() -> Vec<Case> {
    let floats = |count: usize, seed: u64| -> Vec<f32> {
        let data = edges(FloatType::F32, count, seed, true);
        (0..count).map(|i| FloatType::F32.load(&data, i)).collect()
    };
    let mut cases = vec![];
    for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
        for sparsity in [0.0, 0.1, 0.5, 0.9, 1.0] {
            let one = vec![(floats(rows * cols, i as u64), cols)];
            cases.push(prune_exact_case(one, sparsity, "edges"));
        }
    }
    for sparsity in [0.25, 0.7] {
        let mixed = vec![(floats(17 * 31, 1), 31), (vec![], 5), (floats(90, 2), 9)];
        cases.push(prune_exact_case(mixed, sparsity, "one cut for all"));
        let alike = vec![(vec![-1.0; 50 * 3], 3), (vec![1.0; 70_001], 1)];
        cases.push(prune_exact_case(alike, sparsity, "all alike"));
    }
    cases
}

pub(super) fn prune_nm_case(
    float: FloatType,
    data: Vec<u8>,
    cols: usize,
    pattern: NmPattern,
    what: &str,
) -> Case {
    Case {
        name: format!("{float:?} {} bytes, rows of {cols}, {pattern:?}, {what}", data.len()),
        work: Work { read: data.len() as u64, written: data.len() as u64, ..Work::default() },
        run: Box::new(move |backend| {
            let mut data = data.clone();
            prune_nm::apply(backend, float, &mut data, cols, pattern)?;
            Ok(Output { parts: vec![("weights", data)] })
        }),
        reference: None,
    }
}

pub(super) fn prune_nm_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for (rows, cols) in SHAPES {
            for (keep, of) in [(2, 4), (4, 8), (1, 4), (1, 3), (5, 7), (16, 32), (1, 1)] {
                let data = edges(float, rows * cols, (keep * 40 + of) as u64, true);
                let pattern = NmPattern { keep, of };
                cases.push(prune_nm_case(float, data, cols, pattern, "edges"));
            }
        }
    });
    cases
}

pub(super) fn bitmask_case(float: FloatType, data: Vec<u8>, cols: usize, what: &str) -> Case {
    let dense = data.len() as u64;
    Case {
        name: format!("{float:?} {dense} bytes, rows of {cols}, {what}"),
        work: Work { read: dense * 3 / 2, written: dense * 3 / 2, ..Work::default() },
        run: Box::new(move |backend| {
            let mask = bitmask::encode(backend, float, &data, cols)?;
            let dense = bitmask::decode(backend, float, &mask, cols)?;
            let parts = vec![
                ("compressed", mask.compressed),
                ("bitmask", mask.bitmask),
                ("row offsets", bytemuck::cast_slice(&mask.row_offsets).to_vec()),
                ("decoded", dense),
            ];
            Ok(Output { parts })
        }),
        reference: None,
    }
}

pub(super) fn bitmask_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
            let mut data = edges(float, rows * cols, i as u64, true);
            cases.push(bitmask_case(float, data.clone(), cols, "edges"));
            cpu::prune::apply(float, &mut data, Cut::above(0.7), 0);
            cases.push(bitmask_case(float, data, cols, "half pruned"));
            cases.push(bitmask_case(float, vec![0; rows * cols * float.size()], cols, "zeros"));
        }
    });
    cases
}

//! THE TABLE: every operation with its cases and its error bound. The tests compare each case on
//! the CPU and on the GPU; `tensorpress bench` and the benchmarks measure the same functions.

use super::{
    Backend, bitmask, dequantize, histogram, pack, prune, prune_nm, quant_params, quantize, stats,
};
use crate::cpu;
use crate::error::Result;
use crate::scheme::{
    Arithmetic, Bits, Cut, Granularity, NmPattern, QuantParams, QuantScheme, RadixDigit, Range,
    SegmentStats,
};
use crate::tensor::{FloatType, Matrix};

/// How far a result may lie from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Not at all: the same bytes.
    Exact,
}

/// One operation.
pub struct Operation {
    /// Stem of the shader, the reference, the public operation and the test.
    pub stem: &'static str,
    /// One line for `bench --help` and the report.
    pub summary: &'static str,
    /// Bound of GPU against reference.
    pub bound: Bound,
    /// Cases for the tests: every type and the shapes where kernels go wrong.
    pub cases: fn() -> Vec<Case>,
    /// One case of about so many weights for measurements.
    pub bench: fn(usize) -> Case,
}

/// Runs an operation on some data; the same bytes must come from every backend.
pub type Run = Box<dyn Fn(&Backend) -> Result<Output> + Send + Sync>;

/// An operation on given data.
pub struct Case {
    /// What it shows, for messages.
    pub name: String,
    /// Bytes that the kernel must at least move.
    pub work: Work,
    /// Runs it.
    pub run: Run,
}

/// The least that a kernel must do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read once.
    pub read: u64,
    /// Bytes written once.
    pub written: u64,
}

/// A result as bytes, in parts, with how many bytes make a row of each (for the comparator).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Name, bytes.
    pub parts: Vec<(&'static str, Vec<u8>)>,
}

/// Every operation.
pub const TABLE: &[Operation] = &[
    Operation {
        stem: "stats",
        summary: "magnitude statistics a group of 128",
        bound: Bound::Exact,
        cases: stats_cases,
        bench: |n| stats_case(FloatType::F32, &gaussian(FloatType::F32, n, 1), 128, "bench"),
    },
    Operation {
        stem: "histogram",
        summary: "first radix digit of the magnitude keys",
        bound: Bound::Exact,
        cases: histogram_cases,
        bench: |n| {
            histogram_case(FloatType::F32, gaussian(FloatType::F32, n, 2), FIRST_DIGIT, "bench")
        },
    },
    Operation {
        stem: "prune",
        summary: "magnitude pruning by a cut, in place",
        bound: Bound::Exact,
        cases: prune_cases,
        bench: |n| {
            let data = gaussian(FloatType::F32, n, 3);
            prune_case(FloatType::F32, data, Cut::above(0.67), 0, "bench")
        },
    },
    Operation {
        stem: "prune_nm",
        summary: "2:4 pruning along rows",
        bound: Bound::Exact,
        cases: prune_nm_cases,
        bench: |n| {
            let data = gaussian(FloatType::F32, n & !4095, 4);
            prune_nm_case(FloatType::F32, data, 4096, NmPattern { keep: 2, of: 4 }, "bench")
        },
    },
    Operation {
        stem: "quant_params",
        summary: "scales from statistics, a group of 128",
        bound: Bound::Exact,
        cases: quant_params_cases,
        bench: |n| {
            let data = gaussian(FloatType::F32, n, 5);
            let stats = cpu::stats::segments(FloatType::F32, &data, 128);
            quant_params_case(
                FloatType::F32,
                stats,
                scheme(Bits::Four, Granularity::Group(128)),
                "bench",
            )
        },
    },
    Operation {
        stem: "quantize",
        summary: "int4 codes, group 128, packed",
        bound: Bound::Exact,
        cases: quantize_cases,
        bench: |n| {
            let data = gaussian(FloatType::F32, n & !4095, 6);
            let scheme = scheme(Bits::Four, Granularity::Group(128));
            quantize_case(FloatType::F32, data, 4096, scheme, "bench")
        },
    },
    Operation {
        stem: "dequantize",
        summary: "int4 codes, group 128, to f32",
        bound: Bound::Exact,
        cases: dequantize_cases,
        bench: |n| {
            let data = gaussian(FloatType::F32, n & !4095, 7);
            let scheme = scheme(Bits::Four, Granularity::Group(128));
            dequantize_case(FloatType::F32, &data, 4096, scheme, "bench")
        },
    },
    Operation {
        stem: "pack",
        summary: "int4 codes to words and back",
        bound: Bound::Exact,
        cases: pack_cases,
        bench: |n| pack_case(n & !4095, 4096, Bits::Four, "bench"),
    },
    Operation {
        stem: "bitmask",
        summary: "sparse-bitmask encode and decode at 50 %",
        bound: Bound::Exact,
        cases: bitmask_cases,
        bench: |n| {
            let mut data = gaussian(FloatType::F32, n & !4095, 8);
            cpu::prune::apply(FloatType::F32, &mut data, Cut::above(0.674), 0);
            bitmask_case(FloatType::F32, data, 4096, "bench")
        },
    },
];

const FIRST_DIGIT: RadixDigit = RadixDigit { shift: 20, bits: 11, prefix: 0 };

/// SplitMix64 (Steele, Lea and Flood 2014): enough for test data, and the same everywhere.
fn random(seed: u64, index: u64) -> u64 {
    let mut z = (seed << 32).wrapping_add(index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Weights that look trained: a sum of four uniforms, standard deviation 1.
fn gaussian(float: FloatType, count: usize, seed: u64) -> Vec<u8> {
    let values: Vec<f32> = (0..count as u64)
        .map(|i| {
            let r = random(seed, i);
            let sum: f32 = (0..4).map(|k| ((r >> (16 * k)) & 0xffff) as f32 / 65_536.0).sum();
            (sum - 2.0) * 1.732
        })
        .collect();
    let mut data = Vec::with_capacity(count * float.size());
    float.encode(&values, &mut data);
    data
}

/// Weights with everything that goes wrong: zeros of both signs, ties, half steps, subnormals,
/// huge values; with `odd` also NaN and infinities.
fn edges(float: FloatType, count: usize, seed: u64, odd: bool) -> Vec<u8> {
    let mut data = gaussian(float, count, seed);
    for i in 0..count {
        let r = random(seed + 77, i as u64);
        let value = match r % 16 {
            0 => 0.0,
            1 => -0.0,
            2 => 1.0,
            3 => -1.0,
            4 => ((r >> 8) % 31) as f32 / 2.0 - 7.5,
            5 => f32::from_bits(((r >> 8) as u32) & 0x800f_ffff),
            6 if (r >> 40).is_multiple_of(64) => 3.0e4 * if r & 256 == 0 { 1.0 } else { -1.0 },
            7 if odd => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][(r >> 8) as usize % 3],
            _ => continue,
        };
        let mut bytes = vec![];
        float.encode(&[value], &mut bytes);
        data[i * float.size()..][..float.size()].copy_from_slice(&bytes);
    }
    data
}

/// Weights around the smallest numbers of the type, where scales become subnormal.
fn tiny(float: FloatType, count: usize, seed: u64) -> Vec<u8> {
    (0..count as u64)
        .flat_map(|i| {
            let r = random(seed, i);
            match float {
                FloatType::F32 => ((r as u32) & 0x80ff_ffff).to_le_bytes().to_vec(),
                FloatType::F16 => ((r as u16) & 0x83ff).to_le_bytes().to_vec(),
                FloatType::BF16 => ((r as u16) & 0x80ff).to_le_bytes().to_vec(),
            }
        })
        .collect()
}

/// Lengths around workgroups and words, primes, and one that folds into two dimensions.
const LENGTHS: [usize; 12] = [0, 1, 2, 3, 7, 63, 255, 256, 257, 1021, 4096, 70_001];
/// Shapes likewise; `[3, 5]` and the like put rows across words.
const SHAPES: [(usize, usize); 10] =
    [(0, 8), (1, 1), (1, 7), (3, 5), (2, 33), (5, 64), (16, 128), (17, 251), (3, 1030), (40, 256)];

fn scheme(bits: Bits, granularity: Granularity) -> QuantScheme {
    QuantScheme {
        bits,
        symmetric: true,
        granularity,
        range: Range::Full,
        arithmetic: Arithmetic::F32,
    }
}

/// All schemes that differ in a kernel.
pub(super) fn schemes() -> Vec<QuantScheme> {
    let mut all = vec![];
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        for granularity in [Granularity::Tensor, Granularity::Channel, Granularity::Group(32)] {
            let plain = scheme(bits, granularity);
            for arithmetic in [Arithmetic::F32, Arithmetic::WeightType] {
                all.push(QuantScheme { arithmetic, ..plain });
                all.push(QuantScheme { arithmetic, symmetric: false, ..plain });
            }
            all.push(QuantScheme { range: Range::Narrow, ..plain });
            all.push(QuantScheme { range: Range::Multiplier(127), ..plain });
        }
    }
    all
}

fn for_all(mut make: impl FnMut(FloatType)) {
    FloatType::ALL.into_iter().for_each(&mut make);
}

fn words_bytes(words: &[u32]) -> Vec<u8> {
    bytemuck::cast_slice(words).to_vec()
}

fn stats_case(float: FloatType, data: &[u8], segment_len: usize, what: &str) -> Case {
    let data = data.to_vec();
    let count = data.len() / float.size();
    Case {
        name: format!("{float:?} [{count}] segments of {segment_len}, {what}"),
        work: Work { read: data.len() as u64, written: count.div_ceil(segment_len) as u64 * 20 },
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
    }
}

fn stats_cases() -> Vec<Case> {
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

fn histogram_case(float: FloatType, data: Vec<u8>, digit: RadixDigit, what: &str) -> Case {
    Case {
        name: format!("{float:?} {} bytes, {digit:?}, {what}", data.len()),
        work: Work { read: data.len() as u64, written: 4 << digit.bits },
        run: Box::new(move |backend| {
            let counts = histogram::count_digit(backend, float, &data, digit)?;
            Ok(Output { parts: vec![("counts", words_bytes(&counts))] })
        }),
    }
}

fn histogram_cases() -> Vec<Case> {
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

fn prune_case(float: FloatType, data: Vec<u8>, cut: Cut, first_index: u64, what: &str) -> Case {
    Case {
        name: format!("{float:?} {} bytes, {cut:?} from {first_index}, {what}", data.len()),
        work: Work { read: data.len() as u64, written: data.len() as u64 },
        run: Box::new(move |backend| {
            let mut data = data.clone();
            prune::apply(backend, float, &mut data, cut, first_index)?;
            Ok(Output { parts: vec![("weights", data)] })
        }),
    }
}

fn prune_cases() -> Vec<Case> {
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

fn prune_nm_case(
    float: FloatType,
    data: Vec<u8>,
    cols: usize,
    pattern: NmPattern,
    what: &str,
) -> Case {
    Case {
        name: format!("{float:?} {} bytes, rows of {cols}, {pattern:?}, {what}", data.len()),
        work: Work { read: data.len() as u64, written: data.len() as u64 },
        run: Box::new(move |backend| {
            let mut data = data.clone();
            prune_nm::apply(backend, float, &mut data, cols, pattern)?;
            Ok(Output { parts: vec![("weights", data)] })
        }),
    }
}

fn prune_nm_cases() -> Vec<Case> {
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

fn params_bytes(params: &QuantParams) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("scale", bytemuck::cast_slice(&params.scale).to_vec()),
        ("zero point", bytemuck::cast_slice(&params.zero_point).to_vec()),
    ]
}

fn quant_params_case(
    float: FloatType,
    stats: Vec<SegmentStats>,
    scheme: QuantScheme,
    what: &str,
) -> Case {
    let segments = stats.len() as u64;
    Case {
        name: format!("{float:?} {segments} segments, {scheme:?}, {what}"),
        work: Work { read: segments * 20, written: segments * 8 },
        run: Box::new(move |backend| {
            let params = quant_params::compute(backend, float, &stats, &scheme)?;
            Ok(Output { parts: params_bytes(&params) })
        }),
    }
}

fn quant_params_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        let mut stats = cpu::stats::segments(float, &edges(float, 20_000, 1, true), 9);
        stats.extend(cpu::stats::segments(float, &gaussian(float, 20_000, 2), 11));
        stats.extend(cpu::stats::segments(float, &tiny(float, 20_000, 3), 7));
        stats.push(SegmentStats::default());
        let huge = float.round(match float {
            FloatType::F16 => 65_504.0,
            FloatType::F32 | FloatType::BF16 => 3.3e38,
        });
        stats.push(SegmentStats { min: -huge, max: huge, abs_max: huge, non_finite: 0, zeros: 0 });
        for scheme in schemes() {
            cases.push(quant_params_case(float, stats.clone(), scheme, "mixed"));
        }
        cases.push(quant_params_case(float, vec![], schemes()[0], "none"));
    });
    cases
}

fn params_of(
    float: FloatType,
    data: &[u8],
    (rows, cols): (usize, usize),
    scheme: &QuantScheme,
) -> QuantParams {
    if data.is_empty() {
        return QuantParams::default();
    }
    // Groups do not cross rows, so rows are taken one at a time unless one scale serves all.
    let stats: Vec<_> = match scheme.granularity {
        Granularity::Tensor => cpu::stats::segments(float, data, rows * cols),
        Granularity::Channel => cpu::stats::segments(float, data, cols),
        Granularity::Group(size) => data
            .chunks_exact(cols * float.size())
            .flat_map(|row| cpu::stats::segments(float, row, size))
            .collect(),
    };
    cpu::quant_params::compute(float, &stats, scheme)
}

fn quantize_case(
    float: FloatType,
    data: Vec<u8>,
    cols: usize,
    scheme: QuantScheme,
    what: &str,
) -> Case {
    let rows = data.len() / float.size() / cols;
    let params = params_of(float, &data, (rows, cols), &scheme);
    let segments = params.scale.len() as u64;
    Case {
        name: format!("{float:?} [{rows}, {cols}], {scheme:?}, {what}"),
        work: Work {
            read: data.len() as u64 + segments * 8,
            written: (rows * scheme.words_per_row(cols) * 4) as u64,
        },
        run: Box::new(move |backend| {
            let weights = Matrix::new(float, rows, cols, &data)?;
            let (packed, saturated) = quantize::packed(backend, weights, &params, &scheme)?;
            let parts = vec![
                ("codes", words_bytes(&packed)),
                ("saturated", saturated.to_le_bytes().to_vec()),
            ];
            Ok(Output { parts })
        }),
    }
}

fn quantize_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for scheme in schemes() {
            for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
                let data = edges(float, rows * cols, i as u64, true);
                cases.push(quantize_case(float, data, cols, scheme, "edges"));
            }
            let data = gaussian(float, 64 * 256, 3);
            cases.push(quantize_case(float, data, 256, scheme, "gaussian"));
            let data = tiny(float, 64 * 64, 4);
            cases.push(quantize_case(float, data, 64, scheme, "tiny"));
        }
    });
    cases
}

fn dequantize_case(
    float: FloatType,
    data: &[u8],
    cols: usize,
    scheme: QuantScheme,
    what: &str,
) -> Case {
    let rows = data.len() / float.size() / cols;
    let params = params_of(float, data, (rows, cols), &scheme);
    let weights = Matrix { float, rows, cols, data };
    let (packed, _) = cpu::quantize::packed(weights, &params, &scheme);
    Case {
        name: format!("{float:?} [{rows}, {cols}], {scheme:?}, {what}"),
        work: Work {
            read: (packed.len() * 4 + params.scale.len() * 8) as u64,
            written: data.len() as u64,
        },
        run: Box::new(move |backend| {
            let shape = (rows, cols);
            let dense = dequantize::dense(backend, float, &packed, shape, &params, &scheme)?;
            Ok(Output { parts: vec![("weights", dense)] })
        }),
    }
}

fn dequantize_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for scheme in schemes() {
            for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
                let data = edges(float, rows * cols, i as u64, false);
                cases.push(dequantize_case(float, &data, cols, scheme, "edges"));
            }
            cases.push(dequantize_case(float, &tiny(float, 64 * 64, 4), 64, scheme, "tiny"));
        }
    });
    cases
}

fn pack_case(count: usize, cols: usize, bits: Bits, what: &str) -> Case {
    let half = 1_i64 << (bits as u32 - 1);
    let codes: Vec<i8> = (0..count as u64)
        .map(|i| ((random(6, i) % (2 * half as u64)) as i64 - half) as i8)
        .collect();
    let packed = (count / cols.max(1) * (cols * bits as usize).div_ceil(32) * 4) as u64;
    Case {
        name: format!("{bits:?} {count} codes, rows of {cols}, {what}"),
        work: Work { read: count as u64 + packed, written: count as u64 + packed },
        run: Box::new(move |backend| {
            let packed = pack::pack(backend, &codes, cols, bits)?;
            let unpacked = pack::unpack(backend, &packed, cols, bits)?;
            let unpacked = bytemuck::cast_slice(&unpacked).to_vec();
            Ok(Output { parts: vec![("words", words_bytes(&packed)), ("codes", unpacked)] })
        }),
    }
}

fn pack_cases() -> Vec<Case> {
    let mut cases = vec![];
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        for (rows, cols) in SHAPES {
            cases.push(pack_case(rows * cols, cols, bits, "all codes"));
        }
    }
    cases
}

fn bitmask_case(float: FloatType, data: Vec<u8>, cols: usize, what: &str) -> Case {
    let dense = data.len() as u64;
    Case {
        name: format!("{float:?} {dense} bytes, rows of {cols}, {what}"),
        work: Work { read: dense * 3 / 2, written: dense * 3 / 2 },
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
    }
}

fn bitmask_cases() -> Vec<Case> {
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

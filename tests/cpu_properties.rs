//! The CPU reference against naive code that handles one element at a time, over all float types
//! and over the values that break kernels: ±0, subnormals, ties, NaN and infinities.

#[path = "common/weights.rs"]
mod weights;

use proptest::prelude::*;
use tensorpress::cpu::bitmask_codes::KeptCodes;
use tensorpress::cpu::{bitmask, bitmask_codes, dequantize, histogram, prune, prune_nm};
use tensorpress::cpu::{pack, quant_params, quantize, stats};
use tensorpress::scheme::{
    Arithmetic, Cut, NmPattern, QuantParams, QuantScheme, RadixDigit, Range,
};
use tensorpress::scheme::{Granularity, SegmentStats};
use tensorpress::tensor::FloatType;
use weights::{Weights, key, quant_schemes, weights};

fn naive_stats(values: &[f32]) -> SegmentStats {
    let finite: Vec<f32> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let fold = |pick: fn(&f32, &f32) -> std::cmp::Ordering| finite.iter().copied().max_by(pick);
    SegmentStats {
        min: fold(|a, b| b.total_cmp(a)).unwrap_or(0.0),
        max: fold(|a, b| a.total_cmp(b)).unwrap_or(0.0),
        abs_max: finite.iter().fold(0.0, |m, v| m.max(v.abs())),
        non_finite: (values.len() - finite.len()) as u64,
        zeros: values.iter().filter(|v| **v == 0.0).count() as u64,
    }
}

/// Segment of element (`row`, `col`).
fn segment_of(row: usize, col: usize, cols: usize, granularity: Granularity) -> usize {
    match granularity {
        Granularity::Tensor => 0,
        Granularity::Channel => row,
        Granularity::Group(size) => row * cols.div_ceil(size) + col / size,
    }
}

/// `value` rounded to the type in which `scheme` computes.
fn fl(float: FloatType, scheme: &QuantScheme, value: f32) -> f32 {
    match scheme.arithmetic {
        Arithmetic::F32 => value,
        Arithmetic::WeightType => float.round(value),
    }
}

fn naive_code(w: f32, scale: f32, zp: i8, float: FloatType, scheme: &QuantScheme) -> (i8, bool) {
    if w.is_nan() {
        return (zp, false);
    }
    let quotient = match scheme.range {
        Range::Multiplier(n) => w * n as f32,
        Range::Full | Range::Narrow => w / scale,
    };
    let y = fl(float, scheme, quotient);
    let y = if scheme.symmetric { y } else { fl(float, scheme, y + f32::from(zp)) };
    let (low, high) = (scheme.qmin() as f32, scheme.qmax() as f32);
    (y.clamp(low, high).round_ties_even() as i8, y > high + 0.5 || y < low - 0.5)
}

fn naive_param(float: FloatType, s: &SegmentStats, scheme: &QuantScheme) -> (f32, i8) {
    let (low, high) = (scheme.qmin() as f32, scheme.qmax() as f32);
    let (mn, mx) = (s.min.min(0.0), s.max.max(0.0));
    let step = match scheme.range {
        Range::Full if scheme.symmetric => mn.abs().max(mx.abs()) / ((high - low) / 2.0),
        Range::Full => fl(float, scheme, mx - mn) / (high - low),
        Range::Narrow => mn.abs().max(mx.abs()) / high,
        Range::Multiplier(n) => 1.0 / n as f32,
    };
    let step = float.round(step);
    let step = if step.is_infinite() { f32::MAX } else { step };
    let largest = match float {
        FloatType::F32 => f32::MAX,
        FloatType::F16 => 65504.0,
        FloatType::BF16 => f32::from_bits(0x7f7f_0000),
    };
    let step = step.min(largest);
    let zp = fl(float, scheme, low - fl(float, scheme, mn / step));
    let zp = if zp.is_nan() { 0 } else { zp.clamp(low, high).round_ties_even() as i8 };
    (if step == 0.0 { float.epsilon() } else { step }, if scheme.symmetric { 0 } else { zp })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn statistics(w in weights(), len in 1_usize..70) {
        let naive: Vec<_> = w.values().chunks(len).map(naive_stats).collect();
        let got = stats::segments(w.float, &w.data, len);
        prop_assert_eq!(format!("{got:?}"), format!("{naive:?}"));
    }

    #[test]
    fn cuts_keep_exactly_what_they_say(w in weights(), pick in 0.0..1.0_f64, first in 0..99_u64) {
        let mut order: Vec<usize> = (0..w.len()).collect();
        let keys: Vec<u32> = w.values().into_iter().map(key).collect();
        order.sort_by_key(|i| (std::cmp::Reverse(keys[*i]), *i));
        let keep = (pick * w.len() as f64) as usize;
        let cut = match order.get(keep) {
            Some(&i) => Cut { key: keys[i], ties_below: first + i as u64 },
            None => Cut { key: 0, ties_below: u64::MAX },
        };
        let mut expected = vec![0; w.data.len()];
        for &i in &order[..keep] {
            expected[w.bytes_of(i)].copy_from_slice(&w.data[w.bytes_of(i)]);
        }
        let mut got = w.data.clone();
        prune::apply(w.float, &mut got, cut, first);
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn patterns_keep_exactly_what_they_say(w in weights(), of in 1_usize..33, keep in 0_usize..33) {
        let keep = keep.min(of);
        let mut expected = vec![0; w.data.len()];
        let keys: Vec<u32> = w.values().into_iter().map(key).collect();
        for row in 0..w.rows {
            for start in (0..w.cols).step_by(of) {
                let block = row * w.cols + start..row * w.cols + (start + of).min(w.cols);
                let mut order: Vec<usize> = block.collect();
                order.sort_by_key(|i| (std::cmp::Reverse(keys[*i]), *i));
                for &i in order.iter().take(keep) {
                    expected[w.bytes_of(i)].copy_from_slice(&w.data[w.bytes_of(i)]);
                }
            }
        }
        let mut got = w.data.clone();
        prune_nm::apply(w.float, &mut got, w.cols, NmPattern { keep, of });
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn histograms(w in weights(), level in 0_usize..3, pick in any::<prop::sample::Index>()) {
        let (shift, bits) = [(20, 11), (10, 10), (0, 10)][level];
        let keys: Vec<u32> = w.values().into_iter().map(key).collect();
        let some = if keys.is_empty() { 0 } else { keys[pick.index(keys.len())] };
        let prefix = (u64::from(some) >> (shift + bits)) as u32;
        let mut expected = vec![0_u32; 1 << bits];
        for k in keys.iter().filter(|k| u64::from(**k) >> (shift + bits) == u64::from(prefix)) {
            expected[(k >> shift) as usize & ((1 << bits) - 1)] += 1;
        }
        let digit = RadixDigit { shift, bits, prefix };
        prop_assert_eq!(histogram::count(w.float, &w.data, digit), expected);
    }

    #[test]
    fn masks_keep_all_but_zeros(w in weights()) {
        let mask = bitmask::encode(w.float, &w.data, w.cols);
        let kept = w.values().iter().filter(|v| key(**v) != 0).count();
        prop_assert_eq!(mask.compressed.len(), kept * w.float.size());
        prop_assert_eq!(mask.bitmask.iter().map(|b| b.count_ones() as usize).sum::<usize>(), kept);
        if w.cols != 0 {
            prop_assert_eq!(mask.row_offsets.len(), w.rows);
        }
        let mut expected = w.data.clone();
        prune::apply(w.float, &mut expected, Cut { key: 1, ties_below: u64::MAX }, 0);
        prop_assert_eq!(bitmask::decode(w.float, &mask, w.cols), expected);
    }

    #[test]
    fn kept_codes_are_those_that_are_not_zero(
        w in weights(),
        scheme in quant_schemes(),
        lead in 0_usize..4,
    ) {
        let stats = stats::matrix(w.matrix(), scheme.granularity);
        let params = quant_params::compute(w.float, &stats, &scheme);
        let (packed, _) = quantize::packed(w.matrix(), &params, &scheme);
        let kept = bitmask_codes::encode(&packed, w.rows, w.cols, lead, &params, &scheme);
        check_kept(&w, &packed, &kept, &params, &scheme)?;
        prop_assert_eq!(bitmask_codes::decode(&kept, w.cols, &params, &scheme), packed);
    }

    #[test]
    fn parameters_codes_and_back(w in weights(), scheme in quant_schemes()) {
        let stats = stats::matrix(w.matrix(), scheme.granularity);
        let params = quant_params::compute(w.float, &stats, &scheme);
        let naive: Vec<(f32, i8)> =
            stats.iter().map(|s| naive_param(w.float, s, &scheme)).collect();
        prop_assert_eq!(&params.scale, &naive.iter().map(|p| p.0).collect::<Vec<_>>());
        let zp: Vec<i8> = naive.iter().map(|p| p.1).collect();
        prop_assert_eq!(&params.zero_point, &if scheme.symmetric { Vec::new() } else { zp });
        check_codes(&w, &params, &scheme)?;
    }

    #[test]
    fn codes_for_any_scale(
        w in weights(),
        scheme in quant_schemes(),
        scales in prop::collection::vec(weights::scale(), 1..8),
        zp in any::<i8>(),
    ) {
        let count = stats::matrix(w.matrix(), scheme.granularity).len();
        let scale = |i: usize| match w.float.round(scales[i % scales.len()]) {
            s if s == 0.0 || s.is_infinite() => w.float.epsilon(),
            s => s,
        };
        let zp = (i32::from(zp)).clamp(scheme.qmin(), scheme.qmax()) as i8;
        let params = QuantParams {
            scale: (0..count).map(scale).collect(),
            zero_point: if scheme.symmetric { Vec::new() } else { vec![zp; count] },
        };
        check_codes(&w, &params, &scheme)?;
    }
}

/// The stream and the mask, one code at a time and bit by bit.
fn check_kept(
    w: &Weights,
    packed: &[u32],
    kept: &KeptCodes,
    params: &QuantParams,
    s: &QuantScheme,
) -> Result<(), TestCaseError> {
    let bits = s.bits as usize;
    let codes = pack::unpack(packed, w.cols, s.bits);
    let mut stream = vec![0_u32; kept.words.len()];
    let mut mask = vec![0_u8; w.rows * w.cols.div_ceil(8)];
    let (mut at, mut offsets) = (kept.lead, vec![]);
    for row in 0..w.rows {
        offsets.push((at - kept.lead) as i64);
        for col in 0..w.cols {
            let code = codes[row * w.cols + col];
            let segment = segment_of(row, col, w.cols, s.granularity);
            if code == params.zero_point.get(segment).copied().unwrap_or(0) {
                continue;
            }
            let unsigned = (i32::from(code) + (1 << (bits - 1))) as u32;
            stream[at * bits / 32] |= unsigned << (at * bits % 32);
            mask[row * w.cols.div_ceil(8) + col / 8] |= 1 << (col % 8);
            at += 1;
        }
    }
    prop_assert_eq!(&kept.words, &stream);
    prop_assert_eq!(kept.words.len(), (at * bits).div_ceil(32));
    prop_assert_eq!(&kept.bitmask, &mask);
    prop_assert_eq!(&bitmask_codes::mask(packed, w.rows, w.cols, params, s), &mask);
    prop_assert_eq!(&kept.row_offsets, &offsets);
    prop_assert_eq!(kept.kept(), at - kept.lead);
    // What is kept is what does not come back as zero.
    let dense = dequantize::dense(w.float, packed, w.rows, w.cols, params, s);
    let zeros = (0..codes.len()).filter(|i| w.float.load(&dense, *i) == 0.0).count();
    prop_assert_eq!(kept.kept(), codes.len() - zeros);
    Ok(())
}

fn check_codes(w: &Weights, params: &QuantParams, s: &QuantScheme) -> Result<(), TestCaseError> {
    let (packed, saturated) = quantize::packed(w.matrix(), params, s);
    prop_assert_eq!(packed.len(), w.rows * s.words_per_row(w.cols));
    let dense = dequantize::dense(w.float, &packed, w.rows, w.cols, params, s);
    let codes = pack::unpack(&packed, w.cols, s.bits);
    prop_assert_eq!(&pack::pack(&codes, w.cols, s.bits), &packed);
    let mut expected_saturated = 0;
    for (i, value) in w.values().into_iter().enumerate() {
        let segment = segment_of(i / w.cols, i % w.cols, w.cols, s.granularity);
        let scale = params.scale[segment];
        let zp = if s.symmetric { 0 } else { params.zero_point[segment] };
        let (code, saturates) = naive_code(value, scale, zp, w.float, s);
        prop_assert_eq!(codes[i], code, "{} of {:e} by {:e}", i, value, scale);
        expected_saturated += u64::from(saturates);
        let back = w.float.round((i32::from(code) - i32::from(zp)) as f32 * scale);
        prop_assert_eq!(w.float.load(&dense, i).to_bits(), back.to_bits());
    }
    prop_assert_eq!(saturated, expected_saturated);
    Ok(())
}

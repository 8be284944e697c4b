use tensorpress::ops::quantize::packed;
use tensorpress::scheme::{Arithmetic, Bits, Granularity, QuantParams, QuantScheme, Range};
use tensorpress::tensor::{FloatType, Matrix};

use super::{both, f32_bytes};

const INT4: QuantScheme = QuantScheme {
    bits: Bits::Four,
    symmetric: true,
    granularity: Granularity::Tensor,
    range: Range::Full,
    arithmetic: Arithmetic::F32,
};

fn codes(values: &[f32], scheme: &QuantScheme, params: &QuantParams) -> Vec<(Vec<i8>, u64)> {
    let data = f32_bytes(values);
    both()
        .iter()
        .map(|backend| {
            let weights =
                Matrix::new(FloatType::F32, 1, values.len(), &data).expect("a row of values");
            let (words, saturated) = packed(backend, weights, params, scheme).expect("runs");
            let bits = scheme.bits as u32;
            let code = |i: usize| {
                let word = words[i / scheme.codes_per_word()];
                let unsigned =
                    word >> (i % scheme.codes_per_word() * bits as usize) & ((1 << bits) - 1);
                (unsigned as i32 - (1 << (bits - 1))) as i8
            };
            ((0..values.len()).map(code).collect(), saturated)
        })
        .collect()
}

#[test]
fn ties_go_to_the_even_code_and_the_ends_clamp() {
    let params = QuantParams { scale: vec![2.0], zero_point: vec![] };
    let values = [1.0, 3.0, 5.0, -1.0, -3.0, 15.0, -15.0, 15.1, -17.0, -17.1, 0.9, f32::NAN];
    for (got, saturated) in codes(&values, &INT4, &params) {
        assert_eq!(got, [0, 2, 2, 0, -2, 7, -8, 7, -8, -8, 0, 0]);
        // 7.5 clamps to 7 at half a step; 7.55 and -8.55 lose more.
        assert_eq!(saturated, 2);
    }
}

#[test]
fn the_textbook_form_multiplies() {
    let scheme = QuantScheme { range: Range::Multiplier(10), bits: Bits::Eight, ..INT4 };
    let params = QuantParams { scale: vec![0.1], zero_point: vec![] };
    for (got, saturated) in codes(&[0.25, -0.35, 12.7, 13.0, -12.8, -20.0], &scheme, &params) {
        assert_eq!(got, [2, -4, 127, 127, -128, -128]);
        assert_eq!(saturated, 2);
    }
}

#[test]
fn a_missing_scale_is_refused() {
    let data = f32_bytes(&[1.0; 8]);
    let weights = Matrix::new(FloatType::F32, 2, 4, &data).expect("two rows");
    let scheme = QuantScheme { granularity: Granularity::Channel, ..INT4 };
    let params = QuantParams { scale: vec![1.0], zero_point: vec![] };
    for backend in both() {
        let error = packed(&backend, weights, &params, &scheme).expect_err("one scale short");
        assert_eq!(error.exit_code(), 2);
    }
}

/// Quotients whose rounding an inexact division gets wrong: weights one unit in the last place
/// beside a midpoint between two codes.
#[test]
fn neighbours_of_midpoints_are_settled_exactly() {
    let scheme = QuantScheme { bits: Bits::Eight, ..INT4 };
    let scale = 0.012_345_68_f32;
    let params = QuantParams { scale: vec![scale], zero_point: vec![] };
    let mut values = vec![];
    for code in -127..127 {
        let midpoint = (code as f32 + 0.5) * scale;
        for ulp in -3_i32..=3 {
            values.push(f32::from_bits((midpoint.to_bits() as i32 + ulp) as u32));
        }
    }
    let expected: Vec<i8> =
        values.iter().map(|v| (v / scale).clamp(-128.0, 127.0).round_ties_even() as i8).collect();
    let careless: Vec<i8> = values
        .iter()
        .map(|v| (v * (1.0 / scale)).clamp(-128.0, 127.0).round_ties_even() as i8)
        .collect();
    assert_ne!(expected, careless, "these values do not test anything");
    for (got, _) in codes(&values, &scheme, &params) {
        assert_eq!(got, expected);
    }
}

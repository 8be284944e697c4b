use tensorpress::ops::dequantize::dense;
use tensorpress::scheme::{Arithmetic, Bits, Granularity, QuantParams, QuantScheme, Range};
use tensorpress::tensor::FloatType;

use super::{both, f32_values};

const INT4: QuantScheme = QuantScheme {
    bits: Bits::Four,
    symmetric: false,
    granularity: Granularity::Group(4),
    range: Range::Full,
    arithmetic: Arithmetic::F32,
};

#[test]
fn worked_by_hand() {
    // [-8, -7, -1, 0, 1, 2, 6, 7] packs to 0xfea98710 (FORMATS: compressed-tensors).
    let params = QuantParams { scale: vec![0.5, 2.0], zero_point: vec![0, 1] };
    for backend in both() {
        let got =
            dense(&backend, FloatType::F32, &[0xfea9_8710], (1, 8), &params, &INT4).expect("runs");
        assert_eq!(f32_values(&got), [-4.0, -3.5, -0.5, 0.0, 0.0, 2.0, 10.0, 12.0]);
    }
}

#[test]
fn subnormal_scales_are_not_flushed() {
    let scale = f32::from_bits(3);
    let params = QuantParams { scale: vec![scale, scale], zero_point: vec![0, 0] };
    for backend in both() {
        let got =
            dense(&backend, FloatType::F32, &[0xfea9_8710], (1, 8), &params, &INT4).expect("runs");
        let codes = [-8, -7, -1, 0, 1, 2, 6, 7_i32];
        let expected: Vec<u32> =
            codes.map(|c| (c.unsigned_abs() * 3) | if c < 0 { 1 << 31 } else { 0 }).to_vec();
        let got: Vec<u32> = f32_values(&got).iter().map(|v| v.to_bits()).collect();
        assert_eq!(got, expected, "{}", backend.name());
    }
}

#[test]
fn a_missing_word_is_refused() {
    let params = QuantParams { scale: vec![1.0; 4], zero_point: vec![0; 4] };
    for backend in both() {
        let error = dense(&backend, FloatType::F32, &[0], (2, 8), &params, &INT4)
            .expect_err("one word for two rows");
        assert_eq!(error.exit_code(), 65);
    }
}

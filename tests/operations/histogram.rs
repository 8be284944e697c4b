use tensorpress::ops::histogram::count_digit;
use tensorpress::scheme::RadixDigit;
use tensorpress::tensor::FloatType;

use super::{both, f32_bytes};

#[test]
fn three_digits_lead_to_a_key() {
    let values: Vec<f32> =
        (1..=999).map(|i| i as f32 * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let data = f32_bytes(&values);
    for backend in both() {
        // The 500th smallest magnitude is 500.
        let mut rank = 499_u32;
        let mut prefix = 0;
        for (shift, bits) in [(20, 11), (10, 10), (0, 10)] {
            let digit = RadixDigit { shift, bits, prefix };
            let counts = count_digit(&backend, FloatType::F32, &data, digit).expect("runs");
            assert_eq!(counts.len(), 1 << bits);
            let bin = counts
                .iter()
                .position(|count| {
                    let here = rank < *count;
                    rank = if here { rank } else { rank - count };
                    here
                })
                .expect("the rank lies in a bin");
            prefix = (prefix << bits) | bin as u32;
        }
        assert_eq!(f32::from_bits(prefix), 500.0, "{}", backend.name());
    }
}

#[test]
fn a_digit_wider_than_workgroup_memory_is_refused() {
    let digit = RadixDigit { shift: 0, bits: 12, prefix: 0 };
    for backend in both() {
        let error = count_digit(&backend, FloatType::F32, &[], digit).expect_err("12 bits");
        assert_eq!(error.exit_code(), 2);
    }
}

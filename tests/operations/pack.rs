use tensorpress::ops::pack::{pack, unpack};
use tensorpress::scheme::Bits;

use super::both;

/// Examples from compressed-tensors.
#[test]
fn known_words() {
    for backend in both() {
        let int4 = [-8, -7, -1, 0, 1, 2, 6, 7];
        assert_eq!(pack(&backend, &int4, 8, Bits::Four).expect("runs"), [0xfea9_8710]);
        let int8 = [-128, -1, 0, 127];
        assert_eq!(pack(&backend, &int8, 4, Bits::Eight).expect("runs"), [0xff80_7f00]);
        assert_eq!(unpack(&backend, &[0xff80_7f00], 4, Bits::Eight).expect("runs"), int8);
    }
}

#[test]
fn the_pad_is_zero_bits() {
    for backend in both() {
        let words = pack(&backend, &[-1, 1, -2, 0, 1, 1], 3, Bits::Two).expect("runs");
        assert_eq!(words, [0b00_11_01, 0b11_11_10]);
        let codes = unpack(&backend, &words, 3, Bits::Two).expect("runs");
        assert_eq!(codes, [-1, 1, -2, 0, 1, 1]);
    }
}

#[test]
fn broken_rows_are_refused() {
    for backend in both() {
        assert_eq!(pack(&backend, &[0; 7], 3, Bits::Four).expect_err("7 of 3").exit_code(), 65);
        assert_eq!(unpack(&backend, &[0; 3], 9, Bits::Four).expect_err("3 of 2").exit_code(), 65);
    }
}

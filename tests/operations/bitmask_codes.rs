use tensorpress::ops::bitmask_codes::{KeptCodes, decode, dense, encode};
use tensorpress::ops::{dequantize, pack};
use tensorpress::scheme::{Bits, Granularity, QuantParams, QuantScheme};
use tensorpress::tensor::FloatType;

use super::{both, f32_values};

/// Two groups of 5 a row, and what they hold.
fn example() -> (QuantScheme, QuantParams, Vec<i8>) {
    let scheme =
        QuantScheme { symmetric: false, ..QuantScheme::new(Bits::Four, Granularity::Group(5)) };
    let params = QuantParams { scale: vec![0.5, 1.0, 2.0, 4.0], zero_point: vec![0, -8, 7, 1] };
    let codes = vec![0, 3, 0, 0, -1, -8, -8, -7, -8, 7, 7, 7, 7, 7, -8, 1, 1, 1, 1, 0];
    (scheme, params, codes)
}

#[test]
fn worked_by_hand() {
    let (scheme, params, codes) = example();
    for backend in both() {
        let packed = pack::pack(&backend, &codes, 10, Bits::Four).expect("runs");
        let kept = encode(&backend, &packed, (2, 10), 3, &params, &scheme).expect("runs");
        // 3, -1, -7, 7, -8, 0 as unsigned codes b, 7, 1, f, 0, 8 after three places.
        assert_eq!(kept.words, [0x0f17_b000, 0x8]);
        assert_eq!(kept.bitmask, [0b1001_0010, 0b10, 0b0001_0000, 0b10]);
        assert_eq!((kept.lead, &kept.row_offsets[..]), (3, &[0, 4][..]));
        assert_eq!(kept.kept(), 6);
        assert_eq!(decode(&backend, &kept, 10, &params, &scheme).expect("runs"), packed);
        for float in FloatType::ALL {
            let got = dense(&backend, float, &kept, 10, &params, &scheme).expect("runs");
            let expected = dequantize::dense(&backend, float, &packed, (2, 10), &params, &scheme);
            assert_eq!(got, expected.expect("runs"), "{float:?} on {}", backend.name());
        }
        let mut expected = [0.0; 20];
        (expected[1], expected[4], expected[7], expected[9]) = (1.5, -0.5, 1.0, 15.0);
        (expected[14], expected[19]) = (-30.0, -4.0);
        let got = dense(&backend, FloatType::F32, &kept, 10, &params, &scheme).expect("runs");
        assert_eq!(f32_values(&got), expected);
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let (scheme, params, codes) = example();
    let [cpu, _] = both();
    let packed = pack::pack(&cpu, &codes, 10, Bits::Four).expect("runs");
    let good = encode(&cpu, &packed, (2, 10), 3, &params, &scheme).expect("runs");
    let changed = |change: &dyn Fn(&mut KeptCodes)| {
        let mut kept = good.clone();
        change(&mut kept);
        kept
    };
    let bad = [
        (65, changed(&|kept| kept.words.truncate(1))),
        (65, changed(&|kept| kept.words.push(0))),
        (65, changed(&|kept| kept.row_offsets[1] = 3)),
        (65, changed(&|kept| kept.bitmask[1] |= 0b100)),
        (65, changed(&|kept| kept.bitmask[0] = 0)),
        (65, changed(&|kept| _ = kept.bitmask.pop())),
        (2, changed(&|kept| kept.lead = 8)),
        (2, changed(&|kept| kept.row_offsets.push(6))),
    ];
    let beyond = QuantParams { zero_point: vec![0, -8, 8, 1], ..params.clone() };
    for backend in both() {
        for (code, kept) in &bad {
            let error = decode(&backend, kept, 10, &params, &scheme).expect_err("broken");
            assert_eq!(error.exit_code(), *code, "{kept:?}: {error}");
            let error = dense(&backend, FloatType::F32, kept, 10, &params, &scheme);
            assert_eq!(error.expect_err("broken").exit_code(), *code, "{kept:?}");
        }
        for (lead, params) in [(8, &params), (0, &beyond)] {
            let error = encode(&backend, &packed, (2, 10), lead, params, &scheme);
            assert_eq!(error.expect_err("out of range").exit_code(), 2);
        }
        let error = encode(&backend, &packed[1..], (2, 10), 0, &params, &scheme);
        assert_eq!(error.expect_err("too few words").exit_code(), 65);
        let error = decode(&backend, &good, 10, &beyond, &scheme);
        assert_eq!(error.expect_err("a zero point that is no code").exit_code(), 2);
    }
}

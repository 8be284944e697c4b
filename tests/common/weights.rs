//! Matrices and schemes that break kernels, as proptest strategies.
#![allow(dead_code, reason = "each test uses a part")]

use proptest::prelude::*;
use std::ops::Range as Span;
use tensorpress::scheme::{Arithmetic, Bits, Granularity, QuantScheme, Range};
use tensorpress::tensor::{FloatType, Matrix};

/// An owned matrix.
#[derive(Clone, Debug)]
pub struct Weights {
    pub float: FloatType,
    pub rows: usize,
    pub cols: usize,
    pub data: Vec<u8>,
}

impl Weights {
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.float, self.rows, self.cols, &self.data).expect("a matrix")
    }

    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub fn values(&self) -> Vec<f32> {
        (0..self.len()).map(|i| self.float.load(&self.data, i)).collect()
    }

    pub fn bytes_of(&self, index: usize) -> Span<usize> {
        index * self.float.size()..(index + 1) * self.float.size()
    }
}

/// The magnitude key.
pub fn key(value: f32) -> u32 {
    value.to_bits() & 0x7fff_ffff
}

/// Raw bits of one element: mostly ordinary weights, the rest from every corner of the type.
fn element() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1.0..1.0_f32,
        4 => (-40..40_i32).prop_map(|i| i as f32 * 0.5),
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, 7.5, -7.5, 127.5, -128.5, 65504.0]),
        1 => any::<u32>().prop_map(f32::from_bits),
        1 => (0..0x0080_0000_u32).prop_map(f32::from_bits),
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-45]),
        1 => -6e-5..6e-5_f32,
    ]
}

/// Steps from subnormal to huge.
pub fn scale() -> impl Strategy<Value = f32> {
    prop_oneof![
        prop::sample::select(vec![1.0, 0.5, 2.0, 1.0 / 7.5, 1e-40, 1e-30, 1e30, 3e38, 6e-8]),
        1e-4..0.1_f32,
    ]
}

/// Shapes with 0, 1, primes and multiples of what kernels work by.
pub fn weights() -> impl Strategy<Value = Weights> {
    let extent = || prop::sample::select(vec![0_usize, 1, 2, 3, 7, 8, 13, 16, 31, 32, 64, 97, 128]);
    let shape = prop_oneof![
        6 => (extent(), extent()),
        1 => Just((1, 5003)),
        1 => Just((5003, 1)),
        1 => Just((3, 4096)),
    ];
    let finite = prop::bool::weighted(0.5);
    (prop::sample::select(FloatType::ALL.to_vec()), shape, finite).prop_flat_map(
        |(float, (rows, cols), finite)| {
            prop::collection::vec(element(), rows * cols).prop_map(move |mut values| {
                if finite {
                    values.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = 0.25);
                }
                let mut data = Vec::new();
                float.encode(&values, &mut data);
                Weights { float, rows, cols, data }
            })
        },
    )
}

/// All schemes that are valid.
pub fn quant_schemes() -> impl Strategy<Value = QuantScheme> {
    let granularity = prop_oneof![
        Just(Granularity::Tensor),
        Just(Granularity::Channel),
        prop::sample::select(vec![1, 2, 5, 16, 32, 128, 100_000]).prop_map(Granularity::Group),
    ];
    let range = prop_oneof![
        4 => Just((true, Range::Full)),
        4 => Just((false, Range::Full)),
        1 => Just((true, Range::Narrow)),
        1 => (1..=1_u32 << 24).prop_map(|n| (true, Range::Multiplier(n))),
        1 => (1..=300_u32).prop_map(|n| (true, Range::Multiplier(n))),
    ];
    let bits = prop::sample::select(vec![Bits::Two, Bits::Four, Bits::Eight]);
    let arithmetic = prop::sample::select(vec![Arithmetic::F32, Arithmetic::WeightType]);
    (bits, range, granularity, arithmetic).prop_map(
        |(bits, (symmetric, range), granularity, arithmetic)| QuantScheme {
            bits,
            symmetric,
            granularity,
            range,
            // A multiplier is no form of compressed-tensors.
            arithmetic: match range {
                Range::Multiplier(_) => Arithmetic::F32,
                Range::Full | Range::Narrow => arithmetic,
            },
        },
    )
}

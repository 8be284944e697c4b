//! THE TABLE: every operation with its cases and its error bound. The tests compare each case on
//! the CPU and on the GPU; `tensorpress bench` and the benchmarks measure the same functions.

mod compare;
mod data;
mod gradients;
mod layers;
mod magnitude;
mod quant;
mod rows;
mod traced;
mod training;

pub use compare::{Expected, Reference};
use data::{gaussian, scheme};
use gradients::{Activated, activation_case, activation_cases, dense_grad_case, dense_grad_cases};
use layers::Weights;
use magnitude::{
    FIRST_DIGIT, bitmask_case, bitmask_cases, histogram_case, histogram_cases, prune_case,
    prune_cases, prune_exact_case, prune_exact_cases, prune_nm_case, prune_nm_cases, stats_case,
    stats_cases,
};
use quant::{
    bitmask_codes_case, bitmask_codes_cases, dequantize_case, dequantize_cases, pack_case,
    pack_cases, quant_params_case, quant_params_cases, quantize_case, quantize_cases,
};
use rows::{f32_gaussian, softmax_case, softmax_cases, top_k_case, top_k_cases};
use training::{
    Kind, gather_case, gather_cases, loss_case, loss_cases, optimizer_case, optimizer_cases,
};

use super::{Backend, Optimizer, Step};
use crate::cpu;
use crate::error::Result;
use crate::scheme::{Activation, Bits, Cut, Granularity, NmPattern};
use crate::tensor::FloatType;

/// How far a result may lie from the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Not at all: the same bytes.
    Exact,
    /// As far as each case's [`Reference`] allows, on the CPU as on every adapter.
    Float,
}

/// One operation.
pub struct Operation {
    /// Stem of the shader, the reference, the public operation and the test.
    pub stem: &'static str,
    /// One line for `bench --help` and the report.
    pub summary: &'static str,
    /// Bound of results against the reference.
    pub bound: Bound,
    /// Cases for the tests: every type and the shapes where kernels go wrong.
    pub cases: fn() -> Vec<Case>,
    /// One case of about so many weights for measurements.
    pub bench: fn(usize) -> Case,
}

/// Runs an operation on some data. What is not covered by a [`Reference`] must be the same bytes
/// on every backend.
pub type Run = Box<dyn Fn(&Backend) -> Result<Output> + Send + Sync>;

/// Computes in `f64` what the parts of `f32` values must be, and how far they may lie from it.
pub type ReferenceFn = Box<dyn Fn() -> Vec<Reference> + Send + Sync>;

/// An operation on given data.
pub struct Case {
    /// What it shows, for messages.
    pub name: String,
    /// What the kernel must at least do.
    pub work: Work,
    /// Runs it.
    pub run: Run,
    /// For operations of [`Bound::Float`].
    pub reference: Option<ReferenceFn>,
}

/// The least that a kernel must do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read once.
    pub read: u64,
    /// Bytes written once.
    pub written: u64,
    /// Floating-point operations, a multiply-add counting as two; 0 where moving bytes is the
    /// work.
    pub flops: u64,
}

/// A result as bytes, in parts.
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
        stem: "prune_exact",
        summary: "magnitude pruning to exactly 90 %, selected on the device",
        bound: Bound::Exact,
        cases: prune_exact_cases,
        bench: |n| {
            let data = f32_gaussian(n & !4095, 1.0, 25);
            prune_exact_case(vec![(data, 4096)], 0.9, "bench")
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
        stem: "dense",
        summary: "a layer of f32 weights, one row of input",
        bound: Bound::Float,
        cases: layers::dense_cases,
        bench: |n| layers::bench(n, |rows, cols| Weights::dense(FloatType::F32, rows, cols)),
    },
    Operation {
        stem: "dense_packed",
        summary: "a layer of int4 codes, group 128, one row of input",
        bound: Bound::Float,
        cases: layers::packed_cases,
        bench: |n| {
            layers::bench(n, |rows, cols| {
                Weights::packed(scheme(Bits::Four, Granularity::Group(128)), rows, cols)
            })
        },
    },
    Operation {
        stem: "dense_masked",
        summary: "a layer with half of its f32 weights pruned, one row of input",
        bound: Bound::Float,
        cases: layers::masked_cases,
        bench: |n| layers::bench(n, |rows, cols| Weights::masked(FloatType::F32, rows, cols)),
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
    Operation {
        stem: "bitmask_codes",
        summary: "int4 codes, group 128, without their zeros and back at 90 %",
        bound: Bound::Exact,
        cases: bitmask_codes_cases,
        bench: |n| {
            let scheme = scheme(Bits::Four, Granularity::Group(128));
            bitmask_codes_case((n / 4096, 4096), scheme, 0.9, 0)
        },
    },
    Operation {
        stem: "softmax",
        summary: "softmax along rows of 4096",
        bound: Bound::Float,
        cases: softmax_cases,
        bench: |n| softmax_case(f32_gaussian(n & !4095, 4.0, 9), 4096, 1.0, false, "bench"),
    },
    Operation {
        stem: "top_k",
        summary: "the 5 largest a row of 4096",
        bound: Bound::Exact,
        cases: top_k_cases,
        bench: |n| top_k_case(f32_gaussian(n & !4095, 4.0, 10), 4096, 5, "bench"),
    },
    Operation {
        stem: "dense_grad",
        summary: "gradients of a square layer, batch of 256",
        bound: Bound::Float,
        cases: dense_grad_cases,
        bench: |n| {
            let side = (n.isqrt() / 64).max(1) * 64;
            dense_grad_case((256, side, side), None)
        },
    },
    Operation {
        stem: "activation",
        summary: "relu with dropout and its gradient, rows of 1024",
        bound: Bound::Float,
        cases: activation_cases,
        bench: |n| {
            let (rows, activation) = (n / 1024, Activation::Relu);
            activation_case(Activated { rows, cols: 1024, activation, rate: 0.1 })
        },
    },
    Operation {
        stem: "gather",
        summary: "rows of 784 bytes in the order of a batch, to f32",
        bound: Bound::Exact,
        cases: gather_cases,
        bench: |n| gather_case(n / 784, 784, n / 784, true),
    },
    Operation {
        stem: "loss",
        summary: "cross-entropy and its gradient, 10 classes",
        bound: Bound::Float,
        cases: loss_cases,
        bench: |n| loss_case(n / 10, 10, 3.0, Kind::CrossEntropy),
    },
    Operation {
        stem: "optimizer",
        summary: "a step of Adam",
        bound: Bound::Float,
        cases: optimizer_cases,
        bench: |n| {
            let step = Step { number: 10, learning_rate: 1e-3, l2: 0.0, hold_zeros: false };
            optimizer_case(n, Optimizer::ADAM, step)
        },
    },
];

//! The CPU reference on one core: 64 MiB of f32 weights in slabs of 4 MiB, GB/s of input.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tensorpress::cpu::slab::{self, Prune, SlabStep};
use tensorpress::cpu::{bitmask, histogram, prune, stats};
use tensorpress::scheme::{Arithmetic, Bits, Cut, Granularity, NmPattern, QuantScheme};
use tensorpress::scheme::{RadixDigit, Range};
use tensorpress::tensor::{FloatType, Matrix};

const COLS: usize = 4096;
const SLAB: usize = 4 << 20;
const TOTAL: usize = 64 << 20;

/// About Gaussian weights: sums of four uniform numbers from a 64-bit congruential generator.
fn weights(float: FloatType) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = |shift: u32| (state >> shift & 0xffff) as f32 / 65536.0 - 0.5;
        (part(48) + part(40) + part(32) + part(24)) * 0.1
    };
    let mut data = Vec::with_capacity(TOTAL);
    let values: Vec<f32> = (0..TOTAL / float.size()).map(|_| next()).collect();
    float.encode(&values, &mut data);
    data
}

fn int4() -> QuantScheme {
    QuantScheme {
        bits: Bits::Four,
        symmetric: true,
        granularity: Granularity::Group(128),
        range: Range::Full,
        arithmetic: Arithmetic::F32,
    }
}

fn slabs(c: &mut Criterion) {
    let cut = Some(Prune::Cut { cut: Cut::above(0.03), first_index: 0 });
    let pattern = Some(Prune::Nm(NmPattern { keep: 2, of: 4 }));
    let plain = int4();
    let asymmetric = QuantScheme { symmetric: false, ..plain };
    let int8 = QuantScheme { bits: Bits::Eight, granularity: Granularity::Channel, ..plain };
    let narrow = QuantScheme { arithmetic: Arithmetic::WeightType, ..plain };
    let cases = [
        ("int4", None, Some(&plain), false),
        ("int4_dense", None, Some(&plain), true),
        ("int4_asymmetric", None, Some(&asymmetric), false),
        ("int4_weight_type", None, Some(&narrow), false),
        ("int8_channel", None, Some(&int8), false),
        ("cut", cut, None, true),
        ("cut_int4", cut, Some(&plain), false),
        ("2of4", pattern, None, true),
        ("2of4_int4", pattern, Some(&plain), false),
    ];
    for float in FloatType::ALL {
        let data = weights(float);
        let mut group = c.benchmark_group(format!("slab/{}", float.dtype()));
        group.throughput(Throughput::Bytes(TOTAL as u64));
        for (name, prune, scheme, dense) in cases {
            let step = SlabStep { prune, quantize: scheme.map(|s| (s, None)), dense };
            group.bench_function(name, |b| {
                b.iter(|| {
                    for slab in data.chunks(SLAB) {
                        let rows = slab.len() / float.size() / COLS;
                        let matrix = Matrix { float, rows, cols: COLS, data: slab };
                        black_box(slab::run(matrix, &step));
                    }
                });
            });
        }
        group.finish();
    }
}

fn operations(c: &mut Criterion) {
    for float in FloatType::ALL {
        let mut data = weights(float);
        let mut group = c.benchmark_group(format!("operation/{}", float.dtype()));
        group.throughput(Throughput::Bytes(TOTAL as u64));
        let prefix = 0.03_f32.to_bits() >> 20;
        for (name, shift, bits, prefix) in
            [("histogram_first", 20, 11, 0), ("histogram_second", 10, 10, prefix)]
        {
            let digit = RadixDigit { shift, bits, prefix };
            group.bench_function(name, |b| {
                b.iter(|| {
                    for slab in data.chunks(SLAB) {
                        black_box(histogram::count(float, slab, digit));
                    }
                });
            });
        }
        group.bench_function("statistics", |b| {
            b.iter(|| black_box(stats::segments(float, &data, 128)));
        });
        group.bench_function("report_sums", |b| {
            b.iter(|| {
                for slab in data.chunks(SLAB) {
                    let cols = slab.len() / float.size();
                    let matrix = Matrix { float, rows: 1, cols, data: slab };
                    black_box(slab::report_sums(matrix, slab));
                }
            });
        });
        group.bench_function("cut", |b| {
            b.iter(|| prune::apply(float, black_box(&mut data), Cut::above(0.03), 0));
        });
        group.bench_function("bitmask", |b| {
            b.iter(|| {
                for slab in data.chunks(SLAB) {
                    black_box(bitmask::encode(float, slab, COLS));
                }
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1000));
    targets = slabs, operations
}
criterion_main!(benches);

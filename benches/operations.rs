//! Every operation of the table on the CPU backend and on a GPU (a software adapter included),
//! transfers and all. `tensorpress bench` measures the kernels alone, against the roofline.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::ops::{Backend, TABLE};

const WEIGHTS: usize = 1 << 20;

fn operations(criterion: &mut Criterion) {
    let mut backends = vec![("cpu", Backend::Cpu)];
    match Backend::open(&DeviceChoice::Gpu, GpuOptions::default()) {
        Ok(gpu) => backends.push(("gpu", gpu)),
        Err(error) => eprintln!("no GPU figures: {error}"),
    }
    for operation in TABLE {
        let case = (operation.bench)(WEIGHTS);
        let mut group = criterion.benchmark_group(operation.stem);
        group.sample_size(10);
        group.throughput(Throughput::Bytes(case.work.read + case.work.written));
        for (name, backend) in &backends {
            group.bench_function(*name, |bencher| {
                bencher.iter(|| (case.run)(backend).expect("the case runs"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);

//! What compare and inspect tell, and progress.

use crate::*;
use files::{find, floats, tensor, write};
use std::sync::atomic::{AtomicU64, Ordering};
use tensorpress::compress::{
    Advance, Difference, Execution, Pruning, Recipe, compare, decompress, inspect,
};
use tensorpress::ops::Backend;
use tensorpress::scheme::QuantScheme;
use tensorpress::tensor::{DType, FloatType};

/// What is announced is read, no more and no less, so that a bar ends at 100 %.
#[test]
fn progress_adds_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let [packed, dense] = ["packed", "dense"].map(|name| folder.path().join(name));
    let (announced, read) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |step| match step {
        Advance::Begin { bytes } => _ = announced.fetch_add(bytes, Ordering::Relaxed),
        Advance::Read { bytes } => _ = read.fetch_add(bytes, Ordering::Relaxed),
    };
    let execution = Execution { progress: &progress, ..Execution::new(&Backend::Cpu) };
    let check = |what: &str| {
        let [announced, read] = [&announced, &read].map(|n| n.swap(0, Ordering::Relaxed));
        assert_eq!(read, announced, "{what}");
        assert!(announced > 0, "{what}");
    };
    let ratio = Recipe::new().prune(Pruning::ThresholdRatio(0.1)).force(true);
    for path in models(folder.path()) {
        let model = open(&path);
        for recipe in recipes().into_iter().chain([ratio.clone()]) {
            recipe.compress_with(&model, &packed, &execution).expect("compressed");
            check("compress");
            let compressed = open(&packed);
            inspect(&compressed, true, &execution).expect("inspected");
            check("inspect");
            compare(&model, &compressed, &execution).expect("compared");
            check("compare");
            if inspect(&compressed, false, &execution).expect("inspected").format.is_some() {
                decompress(&compressed, &dense, true, &execution).expect("decompressed");
                check("decompress");
            }
        }
    }
}

#[test]
fn comparison_agrees_with_a_naive_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
    let (rows, cols) = (1500, 1000);
    let a = files::noise(7, rows * cols);
    let b: Vec<f32> = a.iter().enumerate().map(|(i, v)| v + (i % 7) as f32 * 0.01).collect();
    let odd = |dtype| tensor("ids", dtype, &[2], &[1, 2]);
    write(
        &first,
        &[],
        &[
            floats("w", &[rows, cols], &a),
            floats("same", &[3], &[1.0, f32::NAN, -0.0]),
            floats("nan", &[2], &[1.0, 2.0]),
            floats("only", &[1], &[1.0]),
            floats("shape", &[2, 3], &[0.0; 6]),
            odd(DType::U8),
        ],
    );
    write(
        &second,
        &[],
        &[
            floats("w", &[rows, cols], &b),
            floats("same", &[3], &[1.0, f32::NAN, 0.0]),
            floats("nan", &[2], &[1.0, f32::NAN]),
            floats("extra", &[1], &[1.0]),
            floats("shape", &[3, 2], &[0.0; 6]),
            odd(DType::I8),
        ],
    );
    let (signal, error, product, other) =
        a.iter().zip(&b).fold((0.0, 0.0, 0.0, 0.0), |s, (a, b)| {
            let (a, b) = (f64::from(*a), f64::from(*b));
            (s.0 + a * a, s.1 + (a - b) * (a - b), s.2 + a * b, s.3 + b * b)
        });
    let max = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    for backend in backends() {
        let result =
            compare(&open(&first), &open(&second), &Execution::new(backend)).expect("compared");
        let of =
            |name: &str| &result.tensors.iter().find(|t| t.name == name).expect(name).difference;
        let Difference::Different(figures) = of("w") else { panic!("{:?}", of("w")) };
        let sqnr = 10.0 * (signal / error).log10();
        assert!((figures.sqnr_db.expect("a ratio") - sqnr).abs() < 1e-9);
        assert!(
            (figures.cosine.expect("a cosine") - product / (signal * other).sqrt()).abs() < 1e-12
        );
        assert_eq!(figures.max_error, max);
        assert_eq!(figures.non_finite, 0);
        assert_eq!(of("same"), &Difference::Equal);
        assert!(
            matches!(of("nan"), Difference::Different(f) if f.non_finite == 1 && f.max_error == 0.0)
        );
        assert_eq!(of("only"), &Difference::Missing { from: 2 });
        assert_eq!(of("extra"), &Difference::Missing { from: 1 });
        assert_eq!(of("shape"), &Difference::Shape { second: vec![3, 2] });
        assert_eq!(of("ids"), &Difference::Bytes);
    }
}

#[test]
fn inspection_tells_statistics_of_any_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = folder.path().join("packed");
    for path in models(folder.path()) {
        let model = open(&path);
        let recipe = Recipe::new()
            .sparsity(0.25)
            .quantize(QuantScheme { symmetric: false, ..QuantScheme::int8() })
            .force(true);
        let report = recipe.compress(&model, &packed, &Backend::Cpu).expect("compressed");
        let dense = unpack(&packed, &folder.path().join("dense"), &Backend::Cpu);
        let result = inspect(&open(&packed), true, &Execution::new(&Backend::Cpu)).expect("read");
        assert_eq!(result.format.as_deref(), Some("pack-quantized"));
        let elements: usize = dense.iter().map(|t| t.shape.iter().product::<usize>()).sum();
        assert_eq!(result.parameters, elements as u64);
        for tensor in &result.tensors {
            let expected = find(&dense, &tensor.name);
            let float = FloatType::from_dtype(expected.dtype).expect("floats");
            let count = expected.data.len() / float.size();
            if count == 0 {
                continue;
            }
            let values: Vec<f32> = (0..count).map(|i| float.load(&expected.data, i)).collect();
            let statistics = tensor.statistics.as_ref().expect("statistics");
            let zeros = values.iter().filter(|v| **v == 0.0).count();
            assert_eq!(statistics.sparsity, zeros as f64 / count as f64);
            assert_eq!(statistics.min, values.iter().copied().fold(f32::INFINITY, f32::min));
            assert_eq!(statistics.max, values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            assert_eq!(statistics.abs_max, statistics.max.max(-statistics.min));
            assert_eq!(statistics.non_finite, 0);
            assert_eq!(tensor.shape, expected.shape);
            let weight = tensor.shape.len() == 2;
            assert_eq!(tensor.stored, if weight { "int8 asymmetric channel" } else { "dense" });
            let row = report.tensors.iter().find(|t| t.name == tensor.name).expect("a row");
            assert_eq!(row.sparsity, weight.then_some(statistics.sparsity));
        }
        let headers = inspect(&open(&packed), false, &Execution::new(&Backend::Cpu)).expect("read");
        assert!(headers.tensors.iter().all(|t| t.statistics.is_none()));
    }
}

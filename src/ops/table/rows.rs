//! Cases of the operations along rows of floats.

use super::data::{gaussian, random, words_bytes};
use super::{Case, Output, Reference, Work};
use crate::ops::{softmax, top_k};
use crate::tensor::FloatType;

/// Around the numbers of columns where a row takes more invocations, and beyond what a workgroup
/// reads at once.
const COLS: [usize; 15] = [1, 2, 3, 4, 5, 31, 32, 33, 129, 256, 512, 513, 1021, 1025, 4099];

pub(super) fn f32_gaussian(count: usize, spread: f32, seed: u64) -> Vec<f32> {
    let bytes = gaussian(FloatType::F32, count, seed);
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b) * spread).collect()
}

/// Rows of `cols` with everything that goes wrong: ties, zeros of both signs, subnormals, the ends
/// of the range, and -inf, though never in the first column.
fn f32_edges(count: usize, cols: usize, seed: u64) -> Vec<f32> {
    let mut values = f32_gaussian(count, 3.0, seed);
    for (i, value) in values.iter_mut().enumerate() {
        let r = random(seed + 91, i as u64);
        *value = match r % 24 {
            0 => 0.0,
            1 => -0.0,
            2..=4 => ((r >> 8) % 5) as f32,
            5 => f32::from_bits(((r >> 8) as u32) & 0x800f_ffff),
            6 | 7 if i % cols > 0 => f32::NEG_INFINITY,
            8 if (r >> 8).is_multiple_of(40) => f32::MAX,
            9 if (r >> 8).is_multiple_of(40) => f32::MIN,
            10 => -90.0 - ((r >> 8) % 1000) as f32 / 50.0,
            _ => continue,
        };
    }
    values
}

/// One unit in the last place, at most, relative to a value. WGSL lets a device round either way.
const EPS: f64 = 1.0 / (1 << 23) as f64;

/// Softmax or its logarithm in `f64`, and how far `f32` may lie from it.
///
/// With z = (x - max) / T, computed in two roundings from a rounded 2 / T, z errs by 2.5 EPS |z|.
/// WGSL's exp errs by 3 + 2|z| ULP, so each power errs by (3 + 4.5|z|) EPS, the sum of the powers by
/// the mean of that, weighted with the powers, and by EPS for each addition on the way from an
/// element to the sum: one for each step of a lane, and eight for the tree. A division errs by 2.5
/// ULP. Powers and shares below 2^-126 may be flushed to 0. The logarithm errs by 2^-21 below 2 and
/// by 3 ULP above; what is lost in the sum is the same relatively there and absolutely after it.
fn softmax_reference(logits: &[f32], cols: usize, temperature: f32, log: bool) -> Reference {
    let lost_in_sum = cols.min(cols.div_ceil(256) + 12) as f64;
    let (mut values, mut bounds) = (vec![], vec![]);
    for row in logits.chunks_exact(cols) {
        let top = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exponent = |x: &f32| (f64::from(*x) - top) / f64::from(temperature);
        let power_error = |z: f64| 3.0 + 4.5 * z.abs();
        let (mut sum, mut lost) = (0.0, 0.0);
        for z in row.iter().map(exponent).filter(|z| z.is_finite()) {
            sum += z.exp();
            lost += z.exp() * power_error(z);
        }
        let sum_error = lost / sum + lost_in_sum;
        for z in row.iter().map(exponent) {
            let (value, bound) = if z == f64::NEG_INFINITY {
                (if log { z } else { 0.0 }, 0.0)
            } else if log {
                // Where f32 ends, the logarithm saturates.
                let value = (z - sum.ln()).max(-3.4e38);
                let logarithm = f64::max(4.0, 3.0 * sum.ln());
                (value, EPS * (2.5 * z.abs() + sum_error + logarithm + value.abs()))
            } else {
                let value = z.exp() / sum;
                (value, EPS * value * (power_error(z) + sum_error + 2.5) + 2_f64.powi(-125))
            };
            values.push(value);
            // What is left out above is of second order.
            bounds.push(bound * 1.001);
        }
    }
    Reference { part: if log { "logarithms" } else { "shares" }, values, bounds }
}

pub(super) fn softmax_case(
    logits: Vec<f32>,
    cols: usize,
    temperature: f32,
    log: bool,
    what: &str,
) -> Case {
    let bytes = logits.len() as u64 * 4;
    let (part, function): (_, fn(&_, &_, _, _) -> _) = match log {
        false => ("shares", softmax::softmax),
        true => ("logarithms", softmax::log_softmax),
    };
    let copy = logits.clone();
    Case {
        name: format!("[{}, {cols}] at {temperature}, {part}, {what}", logits.len() / cols),
        work: Work { read: bytes, written: bytes, ..Work::default() },
        run: Box::new(move |backend| {
            let result = function(backend, &copy, cols, temperature)?;
            Ok(Output { parts: vec![(part, bytemuck::cast_slice(&result).to_vec())] })
        }),
        reference: Some(Box::new(move || vec![softmax_reference(&logits, cols, temperature, log)])),
    }
}

pub(super) fn softmax_cases() -> Vec<Case> {
    let mut cases = vec![];
    for log in [false, true] {
        for (i, cols) in COLS.into_iter().enumerate() {
            for (rows, temperature) in [(0, 1.0), (1, 4.0), (3, 0.05), (67, 1.0)] {
                let logits = f32_gaussian(rows * cols, 5.0, i as u64);
                cases.push(softmax_case(logits, cols, temperature, log, "gaussian"));
                let logits = f32_edges(rows * cols, cols, i as u64);
                cases.push(softmax_case(logits, cols, temperature, log, "edges"));
            }
        }
        let logits = f32_gaussian(2 * 50_257, 4.0, 20);
        cases.push(softmax_case(logits, 50_257, 1.0, log, "a vocabulary"));
        cases.push(softmax_case(vec![-7.0; 3 * 1000], 1000, 1.0, log, "all alike"));
        for temperature in [2_f32.powi(-64), 2_f32.powi(64)] {
            let logits = f32_edges(5 * 300, 300, 21);
            cases.push(softmax_case(logits, 300, temperature, log, "the ends of temperature"));
        }
        let logits = f32_gaussian(70_001 * 3, 2.0, 22);
        cases.push(softmax_case(logits, 3, 2.0, log, "many rows"));
    }
    cases
}

pub(super) fn top_k_case(values: Vec<f32>, cols: usize, k: usize, what: &str) -> Case {
    let rows = values.len() / cols;
    Case {
        name: format!("[{rows}, {cols}], k = {k}, {what}"),
        work: Work {
            read: values.len() as u64 * 4,
            written: (rows * k) as u64 * 8,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let (indices, largest) = top_k::top_k(backend, &values, cols, k)?;
            let largest = bytemuck::cast_slice(&largest).to_vec();
            Ok(Output { parts: vec![("columns", words_bytes(&indices)), ("values", largest)] })
        }),
        reference: None,
    }
}

pub(super) fn top_k_cases() -> Vec<Case> {
    let mut cases = vec![];
    for (i, cols) in COLS.into_iter().enumerate() {
        for k in [1, 2, 5, 64, cols].into_iter().filter(|k| *k <= cols.min(64)) {
            for rows in [0, 1, 3, 67] {
                let values = f32_edges(rows * cols, cols, i as u64);
                cases.push(top_k_case(values, cols, k, "edges"));
            }
        }
        let values = f32_gaussian(19 * cols, 1.0, i as u64);
        cases.push(top_k_case(values, cols, cols.min(3), "gaussian"));
        let one = cols.min(10);
        cases.push(top_k_case(vec![f32::NEG_INFINITY; 2 * cols], cols, one, "all -inf"));
    }
    cases.push(top_k_case(f32_gaussian(70_001 * 3, 1.0, 23), 3, 2, "many rows"));
    cases.push(top_k_case(f32_gaussian(2 * 50_257, 1.0, 24), 50_257, 40, "a vocabulary"));
    cases
}

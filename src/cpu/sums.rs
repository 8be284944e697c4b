//! Sums for the report, in an order that depends on the slab alone.
use super::convert::{INFINITE_KEY, KEY_MASK};
use super::slab::ReportSums;
use multiversion::multiversion;

const LANES: usize = 16;

/// Running sums. Element i of the flattened slab goes to lane i % 16, so the sums do not depend
/// on where the slab is cut into calls of [`Sums::add`].
#[derive(Default)]
pub(super) struct Sums {
    signal: [f64; LANES],
    error: [f64; LANES],
    max_error: [f32; LANES],
    zeros: u64,
    /// Elements so far, modulo the number of lanes.
    phase: usize,
}

impl Sums {
    /// Adds the next elements of the slab: originals and what became of them.
    pub(super) fn add(&mut self, original: &[f32], result: &[f32]) {
        assert_eq!(original.len(), result.len());
        let head = ((LANES - self.phase) % LANES).min(original.len());
        let (head, original) = original.split_at(head);
        let (head_result, result) = result.split_at(head.len());
        self.add_few(head, head_result);
        let whole = original.len() / LANES * LANES;
        add_chunks(self, &original[..whole], &result[..whole]);
        self.add_few(&original[whole..], &result[whole..]);
    }

    /// Adds elements up to the end of the lanes, one by one.
    fn add_few(&mut self, original: &[f32], result: &[f32]) {
        for (w, r) in original.iter().zip(result) {
            let lane = self.phase;
            let (w, r, zero) = terms(*w, *r);
            self.signal[lane] += f64::from(w) * f64::from(w);
            let error = f64::from(w) - f64::from(r);
            self.error[lane] += error * error;
            self.max_error[lane] = larger(self.max_error[lane], (w - r).abs());
            self.zeros += u64::from(zero);
            self.phase = (lane + 1) % LANES;
        }
    }

    pub(super) fn finish(&self) -> ReportSums {
        ReportSums {
            signal: self.signal.iter().sum(),
            error: self.error.iter().sum(),
            max_error: self.max_error.iter().copied().fold(0.0, larger),
            zeros: self.zeros,
            saturated: 0,
        }
    }
}

/// What an element adds: a non-finite original counts as 0 that stayed 0.
#[inline(always)]
fn terms(original: f32, result: f32) -> (f32, f32, bool) {
    let zero = result.to_bits() & KEY_MASK == 0;
    let finite = original.to_bits() & KEY_MASK < INFINITE_KEY;
    (if finite { original } else { 0.0 }, if finite { result } else { 0.0 }, zero)
}

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Adds whole runs of lanes, from lane 0 on.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
fn add_chunks(sums: &mut Sums, original: &[f32], result: &[f32]) {
    let (mut signal, mut error) = (sums.signal, sums.error);
    let mut max_error = sums.max_error;
    let mut zeros = [0_u64; LANES];
    for (original, result) in original.chunks_exact(LANES).zip(result.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let (w, r, zero) = terms(original[lane], result[lane]);
            signal[lane] += f64::from(w) * f64::from(w);
            let difference = f64::from(w) - f64::from(r);
            error[lane] += difference * difference;
            max_error[lane] = larger(max_error[lane], (w - r).abs());
            zeros[lane] += u64::from(zero);
        }
    }
    (sums.signal, sums.error, sums.max_error) = (signal, error, max_error);
    sums.zeros += zeros.iter().sum::<u64>();
}

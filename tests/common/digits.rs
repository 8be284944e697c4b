//! A network that is good enough to be told from a bad one, made in a moment.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};

use tensorpress::io::{DataSet, Split};

use super::files::{floats, own, write};

/// Digits of 8 × 8 pixels.
pub fn data() -> PathBuf {
    own("examples/digits.npz")
}

/// Writes a network 64 → 10 that takes a digit for the class whose mean is nearest: of
/// |x − m|² = |x|² − 2·x·m + |m|² the first term is the same for all.
pub fn nearest_mean(path: &Path) {
    let data = DataSet::open(&data(), Split::Train).expect("digits");
    let x = data.inputs.scaled();
    let (mut sums, mut counts) = (vec![0.0; 640], [0.0; 10]);
    for (row, label) in x.chunks(64).zip(&data.labels) {
        let class = *label as usize;
        counts[class] += 1.0;
        sums[class * 64..][..64].iter_mut().zip(row).for_each(|(sum, x)| *sum += *x);
    }
    let means: Vec<f32> = sums.iter().enumerate().map(|(i, sum)| sum / counts[i / 64]).collect();
    let bias: Vec<f32> =
        means.chunks(64).map(|mean| -0.5 * mean.iter().map(|m| m * m).sum::<f32>()).collect();
    let tensors = [floats("fc.weight", &[10, 64], &means), floats("fc.bias", &[10], &bias)];
    write(path, &[], &tensors);
}

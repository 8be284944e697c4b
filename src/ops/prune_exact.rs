//! Magnitude pruning to an exact sparsity, and to a pattern, while a network is trained.

use super::linear::stride;
use super::stream::Target;
use super::{Backend, Stream, Values, prune_nm};
use crate::cpu;
use crate::cpu::prune_exact::DIGITS;
use crate::error::{Result, UsageError};
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::scheme::NmPattern;
use crate::tensor::FloatType;

const COUNT: Kernel = Kernel {
    file: "prune_exact.wgsl",
    entry: "prune_exact_count",
    constants: &[],
    estimates: false,
};
const DIGIT: Kernel = Kernel { entry: "prune_exact_digit", ..COUNT };
const APPLY: Kernel = Kernel { entry: "prune_exact", ..COUNT };

/// Weights a workgroup counts before it adds its bins to the result.
const CHUNK: u64 = 1 << 14;
/// Bits of a digit of the places.
const PLACE_BITS: u32 = 11;

impl Stream {
    /// Zeroes the share `sparsity` of the weights of all `tensors` together that have the smallest
    /// magnitudes, so that exactly round(count · sparsity) are zero (half to even), or more where
    /// there were more. Of equal magnitudes those that come first stay, in the order of the tensors
    /// and row by row. The same weights on every device; nothing is read back.
    ///
    /// Weights that were pruned before are the smallest, so a growing sparsity only adds to them.
    ///
    /// # Errors
    /// [`UsageError::OutOfRange`] for a sparsity outside 0 … 1, or a device error.
    pub fn prune(&mut self, tensors: &mut [&mut Values], sparsity: f64) -> Result<()> {
        if !(0.0..=1.0).contains(&sparsity) {
            return Err(UsageError::OutOfRange {
                what: "the sparsity",
                value: sparsity.to_string(),
                expected: "from 0 to 1",
            }
            .into());
        }
        let count: usize = tensors.iter().map(|tensor| tensor.len()).sum();
        let rank = (count as f64 * sparsity).round_ties_even() as u64;
        match self.target() {
            Target::Cpu => {
                let tensors = tensors.iter_mut().map(|tensor| tensor.cpu_mut());
                cpu::prune_exact::prune_exact(&mut tensors.collect::<Result<Vec<_>>>()?, rank);
                Ok(())
            }
            Target::Gpu(_) if rank == 0 => Ok(()),
            Target::Gpu(recorder) => record(recorder, tensors, rank),
        }
    }

    /// Zeroes all but the `pattern.keep` largest of every `pattern.of` consecutive weights of a
    /// row, as [`prune_nm::apply`].
    ///
    /// # Errors
    /// [`UsageError::OutOfRange`] for a pattern that keeps none, more than there are, or spans more
    /// than 32; a device error.
    pub fn prune_nm(&mut self, weights: &mut Values, pattern: NmPattern) -> Result<()> {
        prune_nm::check(pattern)?;
        let (rows, cols) = (weights.rows(), weights.cols());
        match self.target() {
            Target::Cpu => {
                let data = bytemuck::cast_slice_mut(weights.cpu_mut()?);
                cpu::prune_nm::apply(FloatType::F32, data, cols, pattern);
                Ok(())
            }
            Target::Gpu(_) if weights.is_empty() => Ok(()),
            Target::Gpu(recorder) => {
                // Padding comes last in its block and is zero, so it displaces nothing.
                let (float, count) = (FloatType::F32, rows * stride(cols));
                let buffer = weights.gpu()?;
                let result =
                    prune_nm::record(recorder, float, buffer, count, stride(cols), pattern)?;
                weights.replace(result, rows, cols)
            }
        }
    }
}

/// What the kernels know of a matrix.
struct Part<'a> {
    weights: &'a Buffer,
    count: usize,
    /// Place of its first weight.
    first: usize,
}

/// A digit of the words that are selected by.
#[derive(Clone, Copy, Default)]
struct Digit {
    shift: u32,
    bits: u32,
    by_place: bool,
}

fn record(recorder: &mut Recorder, tensors: &[&mut Values], rank: u64) -> Result<()> {
    let (mut parts, mut places, mut padding) = (vec![], 0, 0);
    for tensor in tensors.iter().filter(|tensor| !tensor.is_empty()) {
        let count = tensor.rows() * stride(tensor.cols());
        parts.push(Part { weights: tensor.gpu()?, count, first: places });
        places += count;
        padding += count - tensor.len();
    }
    let counts = recorder.zeros(4 << PLACE_BITS)?;
    // The padding is zero, so it counts among what is pruned.
    let found =
        recorder.upload(bytemuck::cast_slice(&[(rank + padding as u64) as u32, 0, 0, 0]))?;
    let params = |part: &Part<'_>, digit: Digit| {
        [
            ("count", part.count as u32),
            ("first", part.first as u32),
            ("places", places as u32),
            ("shift", digit.shift),
            ("mask", (1 << digit.bits) - 1),
            ("upper_shift", digit.shift + digit.bits),
            ("by_place", u32::from(digit.by_place)),
            ("chunk", CHUNK as u32),
        ]
    };
    for digit in digits(places) {
        for part in &parts {
            let buffers = [part.weights, &counts, &found];
            let params = params(part, digit);
            recorder.dispatch(&COUNT, &buffers, &params, part.count as u64, CHUNK)?;
        }
        let params = recorder.params(&DIGIT, &params(&parts[0], digit))?;
        recorder.dispatch_at(&DIGIT, &[(1, &counts), (2, &found), (3, &params)], 1, 1)?;
    }
    for part in &parts {
        let params = recorder.params(&APPLY, &params(part, Digit::default()))?;
        let bindings = [(0, part.weights), (2, &found), (3, &params)];
        recorder.dispatch_at(&APPLY, &bindings, part.count as u64, 256)?;
    }
    Ok(())
}

/// Those of the magnitude keys, then those that so many places have.
fn digits(places: usize) -> Vec<Digit> {
    let keys = DIGITS.map(|(shift, bits)| Digit { shift, bits, by_place: false });
    let place_digits = (usize::BITS - places.leading_zeros()).div_ceil(PLACE_BITS);
    let by_place = (0..place_digits).rev().map(|digit| Digit {
        shift: digit * PLACE_BITS,
        bits: PLACE_BITS,
        by_place: true,
    });
    keys.into_iter().chain(by_place).collect()
}

/// Zeroes the share `sparsity` of the weights of all `tensors` (each with its number of columns)
/// that have the smallest magnitudes.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] for a part of a row; as [`Stream::prune`].
pub fn prune_exact(
    backend: &Backend,
    tensors: &mut [(&mut [f32], usize)],
    sparsity: f64,
) -> Result<()> {
    let upload = |(weights, cols): &(&mut [f32], usize)| {
        Values::new(backend, weights, (weights.len().checked_div(*cols).unwrap_or(0), *cols))
    };
    let mut values = tensors.iter().map(upload).collect::<Result<Vec<_>>>()?;
    let mut stream = Stream::new(backend);
    stream.prune(&mut values.iter_mut().collect::<Vec<_>>(), sparsity)?;
    stream.finish()?;
    for ((weights, _), values) in tensors.iter_mut().zip(values) {
        weights.copy_from_slice(&values.read()?);
    }
    Ok(())
}

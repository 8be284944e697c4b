//! Weights as they will be once they are quantized, for training that knows of it.

use super::linear::stride;
use super::stream::Target;
use super::{Backend, Stream, Values, dequantize, quant_params, quantize, segment_count, stats};
use crate::cpu;
use crate::error::Result;
use crate::gpu::{Buffer, Recorder};
use crate::scheme::{Granularity, QuantScheme};
use crate::tensor::FloatType;

impl Stream {
    /// `quantized` becomes what quantizing `weights` `[outputs, inputs]` with `scheme` and
    /// dequantizing them gives: bit for bit what compression will write for the same weights, on
    /// every device. Zeros stay zeros.
    ///
    /// A layer that is trained for it computes forward, and the gradient of its inputs, with the
    /// result, and applies the gradient of the weights to `weights` as it is (the straight-through
    /// estimator of Bengio, Léonard and Courville 2013).
    ///
    /// # Errors
    /// [`crate::error::UsageError`] for a scheme that contradicts itself, or a device error.
    pub fn fake_quantize(
        &mut self,
        weights: &Values,
        scheme: &QuantScheme,
        quantized: &mut Values,
    ) -> Result<()> {
        scheme.validate()?;
        let (rows, cols) = (weights.rows(), weights.cols());
        match self.target() {
            Target::Cpu => {
                quantized.reshape(None, rows, cols)?;
                let (weights, result) = (weights.cpu()?, quantized.cpu_mut()?);
                cpu::fake_quantize::fake_quantize(weights, cols, scheme, result);
                Ok(())
            }
            Target::Gpu(recorder) if weights.is_empty() => {
                quantized.reshape(Some(recorder), rows, cols)
            }
            Target::Gpu(recorder) => {
                let result = record(recorder, weights.gpu()?, (rows, cols), scheme)?;
                quantized.replace(result, rows, cols)
            }
        }
    }
}

/// The padding of rows is quantized with them: its zeros change no scale and give zeros, and groups
/// begin where they would without it.
fn record(
    recorder: &mut Recorder,
    weights: &Buffer,
    (rows, cols): (usize, usize),
    scheme: &QuantScheme,
) -> Result<Buffer> {
    let (float, cols) = (FloatType::F32, stride(cols));
    let count = rows * cols;
    let row_len = if scheme.granularity == Granularity::Tensor { count } else { cols };
    let layout = stats::Layout { count, row_len, segment_len: scheme.segment_len(rows, cols) };
    let stats = stats::record(recorder, float, weights, layout)?;
    let segments = segment_count(scheme, rows, cols);
    let params = quant_params::record(recorder, float, &stats, segments, scheme)?;
    let codes = quantize::record(recorder, float, weights, (rows, cols), &params, scheme)?;
    dequantize::record(recorder, float, &codes.packed, (rows, cols), &params, scheme)
}

/// What quantizing `weights` `[rows, cols]` with `scheme` and dequantizing them gives.
///
/// # Errors
/// [`crate::error::FormatProblem::ShapeSize`] where they are not so many; as
/// [`Stream::fake_quantize`].
pub fn fake_quantize(
    backend: &Backend,
    weights: &[f32],
    shape: (usize, usize),
    scheme: &QuantScheme,
) -> Result<Vec<f32>> {
    let weights = Values::new(backend, weights, shape)?;
    let mut quantized = Values::empty(backend)?;
    let mut stream = Stream::new(backend);
    stream.fake_quantize(&weights, scheme, &mut quantized)?;
    stream.finish()?;
    quantized.read()
}

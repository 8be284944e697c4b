//! Cases of the dense layers, with their references in f64.

use std::sync::Arc;

use super::data::{gaussian, scheme};
use super::{Case, Output, Reference, Work};
use crate::cpu;
use crate::cpu::bitmask::Bitmask;
use crate::cpu::dense_masked::MaskedWeights;
use crate::cpu::dense_packed::PackedWeights;
use crate::error::Result;
use crate::gpu::Gpu;
use crate::ops::dense::{self, bound};
use crate::ops::linear::{self, LayerWeights, Linear, Variant};
use crate::ops::{Backend, segment_count, words};
use crate::scheme::{Activation, Bits, Cut, Granularity, QuantParams, QuantScheme};
use crate::tensor::{FloatType, Matrix};

/// Weights in one of the forms.
pub(super) enum Weights {
    Dense(FloatType, Vec<u8>),
    /// `f32` that a GPU reads as they are, row after row.
    RowMajor(Vec<u8>),
    Packed(QuantScheme, QuantParams, Vec<u32>),
    Masked(FloatType, Bitmask),
}

/// A layer and its input.
pub(super) struct Layer {
    pub weights: Weights,
    pub batch: usize,
    pub rows: usize,
    pub cols: usize,
    pub activation: Activation,
    pub variant: Option<Variant>,
    pub bias: bool,
}

impl Weights {
    /// Seeded weights `[rows, cols]`.
    pub(super) fn dense(float: FloatType, rows: usize, cols: usize) -> Self {
        Self::Dense(float, gaussian(float, rows * cols, 11))
    }

    pub(super) fn packed(scheme: QuantScheme, rows: usize, cols: usize) -> Self {
        let data = gaussian(FloatType::F32, rows * cols, 12);
        let weights = Matrix { float: FloatType::F32, rows, cols, data: &data };
        let stats = cpu::stats::matrix(weights, scheme.granularity);
        let mut params = cpu::quant_params::compute(FloatType::F32, &stats, &scheme);
        if rows * cols == 0 {
            // Nothing has no statistics, but rows have scales even where they are empty.
            let segments = segment_count(&scheme, rows, cols);
            params.scale.resize(segments, 1.0);
            params.zero_point.resize(if scheme.symmetric { 0 } else { segments }, 0);
        }
        let (words, _) = cpu::quantize::packed(weights, &params, &scheme);
        Self::Packed(scheme, params, words)
    }

    /// With about half of the weights pruned.
    pub(super) fn masked(float: FloatType, rows: usize, cols: usize) -> Self {
        let mut data = gaussian(float, rows * cols, 13);
        cpu::prune::apply(float, &mut data, Cut::above(0.674), 0);
        let mut mask = cpu::bitmask::encode(float, &data, cols);
        // Encoding cannot tell how many rows there are of nothing.
        mask.row_offsets.resize(rows, 0);
        Self::Masked(float, mask)
    }

    fn as_layer(&self, rows: usize, cols: usize) -> LayerWeights<'_> {
        match self {
            Self::Dense(float, data) => {
                LayerWeights::Dense(Matrix { float: *float, rows, cols, data })
            }
            Self::RowMajor(data) => {
                LayerWeights::Dense(Matrix { float: FloatType::F32, rows, cols, data })
            }
            Self::Packed(scheme, params, words) => {
                LayerWeights::Packed(PackedWeights { words, rows, cols, params, scheme })
            }
            Self::Masked(float, mask) => {
                LayerWeights::Masked(MaskedWeights { float: *float, mask, cols })
            }
        }
    }

    /// The exact weights.
    fn exact(&self, rows: usize, cols: usize) -> Vec<f64> {
        let floats = |float: FloatType, data: &[u8]| -> Vec<f64> {
            (0..rows * cols).map(|i| f64::from(float.load(data, i))).collect()
        };
        match self {
            Self::Dense(float, data) => floats(*float, data),
            Self::RowMajor(data) => floats(FloatType::F32, data),
            Self::Masked(float, mask) => floats(*float, &cpu::bitmask::decode(*float, mask, cols)),
            Self::Packed(scheme, params, words) => {
                let codes = cpu::pack::unpack(words, cols, scheme.bits);
                let len = scheme.segment_len(rows, cols).max(1);
                let per_row = cols.div_ceil(len);
                let exact = codes.iter().enumerate().map(|(i, code)| {
                    let segment = match scheme.granularity {
                        Granularity::Tensor => 0,
                        _ => i / cols * per_row + i % cols / len,
                    };
                    let zero = params.zero_point.get(segment).map_or(0, |zp| i64::from(*zp));
                    (i64::from(*code) - zero) as f64 * f64::from(params.scale[segment])
                });
                exact.collect()
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Dense(_, data) | Self::RowMajor(data) => data.len() as u64,
            Self::Packed(_, params, words) => 4 * (words.len() + params.scale.len()) as u64,
            Self::Masked(_, mask) => (mask.compressed.len() + mask.bitmask.len()) as u64,
        }
    }
}

pub(super) fn case(layer: Layer, name: &str) -> Case {
    let Layer { batch, rows, cols, activation, variant, bias, weights } = layer;
    let form = match &weights {
        Weights::Dense(float, _) => format!("{float:?}"),
        Weights::RowMajor(_) => "F32".to_owned(),
        Weights::Packed(scheme, ..) => format!("{scheme:?}"),
        Weights::Masked(float, _) => format!("masked {float:?}"),
    };
    let name = format!("{name} {form} {batch}×{cols}→{rows} {activation} {variant:?} bias {bias}");
    let floats = |count, seed| -> Vec<f32> {
        let data = gaussian(FloatType::F32, count, seed);
        (0..count).map(|i| FloatType::F32.load(&data, i)).collect()
    };
    let (x, b) = (floats(batch * cols, 21), floats(rows, 22));
    let work = Work {
        read: weights.bytes() + 4 * (x.len() + if bias { rows } else { 0 }) as u64,
        written: 4 * (batch * rows) as u64,
        flops: 2 * (batch * rows * cols) as u64,
    };
    let shared = Arc::new((weights, x, b));
    let for_reference = Arc::clone(&shared);
    Case {
        name,
        work,
        run: Box::new(move |backend| {
            let (weights, x, b) = &*shared;
            let y = match (weights, backend, variant) {
                (Weights::RowMajor(w), Backend::Gpu(gpu), Some(variant)) => {
                    row_major(gpu, [bytemuck::cast_slice(w), b, x], (batch, cols, rows), variant)?
                }
                _ => {
                    let b = bias.then_some(&b[..]);
                    let layer = Linear::new(backend, weights.as_layer(rows, cols), b, activation)?;
                    layer.run(backend, x, batch, variant)?
                }
            };
            Ok(Output { parts: vec![("y", bytemuck::cast_slice(&y).to_vec())] })
        }),
        reference: Some(Box::new(move || {
            let (weights, x, b) = &*for_reference;
            let exact = weights.exact(rows, cols);
            let (mut values, mut bounds) = (vec![], vec![]);
            for x in (0..batch).map(|number| &x[number * cols..][..cols]) {
                for row in 0..rows {
                    let w = &exact[row * cols..][..cols];
                    let terms = w.iter().zip(x).map(|(w, x)| w * f64::from(*x));
                    let (mut sum, mut magnitudes) =
                        terms.fold((0.0, 0.0), |(s, m), term| (s + term, m + f64::abs(term)));
                    if bias {
                        sum += f64::from(b[row]);
                        magnitudes += f64::abs(f64::from(b[row]));
                    }
                    let error = bound(cols + usize::from(bias), magnitudes);
                    values.push(exactly(activation, sum));
                    bounds.push(activation_bound(activation, sum, error));
                }
            }
            vec![Reference { part: "y", values, bounds }]
        })),
    }
}

/// X · Wᵀ + b from buffers, as training records it: weights `[outputs, inputs]`, bias, X.
fn row_major(
    gpu: &Gpu,
    [weights, bias, x]: [&[f32]; 3],
    (batch, inputs, outputs): (usize, usize, usize),
    variant: Variant,
) -> Result<Vec<f32>> {
    let stride = linear::stride(outputs);
    let mut recorder = gpu.recorder();
    let mut upload = |values: &[f32]| recorder.upload(bytemuck::cast_slice(values));
    let weights = upload(&linear::pad(weights, outputs, inputs))?;
    let (bias, x) = (upload(bias)?, upload(&linear::pad(x, batch, inputs))?);
    let results = recorder.storage((batch * stride * 4) as u64)?;
    let product = dense::row_major([&weights, &bias, &x, &results], (batch, inputs, outputs));
    product.record(&mut recorder, variant)?;
    recorder.download(&results, batch * stride * 4)?;
    let padded = words(&recorder.run()?.downloads[0]);
    let rows = padded.chunks(stride).flat_map(|row| &row[..outputs]);
    Ok(rows.map(|bits| f32::from_bits(*bits)).collect())
}

/// The activation in f64.
fn exactly(activation: Activation, z: f64) -> f64 {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    match activation {
        Activation::Identity => z,
        Activation::Relu => z.max(0.0),
        Activation::LeakyRelu(slope) => {
            if z > 0.0 {
                z
            } else {
                z * f64::from(slope)
            }
        }
        Activation::Sigmoid => sigmoid(z),
        Activation::Tanh => z.tanh(),
        Activation::Silu => z * sigmoid(z),
        Activation::Gelu => 0.5 * z * (1.0 + libm::erf(z / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044_715 * z.powi(3));
            0.5 * z * (1.0 + u.tanh())
        }
    }
}

/// How far act(z ± error) may lie from act(z).
///
/// No activation here is steeper than 1.13 (gelu at √2; a leaky relu at most 1 or its slope). To
/// that comes the error of evaluating it: WGSL's exp is good to 3 + 2·|x| units in the last place
/// (WGSL, "Accuracy of concrete floating point expressions") and division to 2.5, so that a
/// sigmoid and what is made of it err by less than (12 + 2·|x|)·2⁻²³ of 1 or of |z|; x is 2u for
/// the tanh form of gelu. The error function adds its own 1.5e-7.
fn activation_bound(activation: Activation, z: f64, error: f64) -> f64 {
    let ulp = 2.0_f64.powi(-23);
    let scale = z.abs().max(1.0);
    let argument = z.abs().min(80.0);
    match activation {
        Activation::Identity | Activation::Relu => error,
        Activation::LeakyRelu(slope) => error * f64::from(slope).abs().max(1.0) + ulp * z.abs(),
        Activation::Sigmoid => 0.25 * error + (12.0 + 2.0 * argument) * ulp,
        Activation::Tanh => error + (12.0 + 4.0 * argument) * ulp,
        Activation::Silu => 1.1 * error + (12.0 + 2.0 * argument) * ulp * scale,
        Activation::Gelu => 1.13 * error + (1.5e-7 + (12.0 + argument) * ulp) * scale,
        Activation::GeluTanh => {
            let u = 1.6 * (z.abs() + 0.044_715 * z.abs().powi(3));
            1.13 * error + (12.0 + 4.0 * u.min(80.0)) * ulp * scale
        }
    }
}

/// Shapes where kernels go wrong: nothing, one, around the tiles, not multiples of eight, primes,
/// several tiles of 128, few outputs of many inputs.
const SHAPES: [(usize, usize, usize); 17] = [
    (0, 3, 5),
    (1, 0, 5),
    (1, 5, 0),
    (1, 1, 1),
    (1, 10, 100),
    (2, 7, 63),
    (3, 64, 64),
    (4, 65, 129),
    (5, 63, 16),
    (8, 8, 8),
    (9, 17, 31),
    (33, 5, 130),
    (63, 65, 40),
    (65, 129, 137),
    (70, 9, 257),
    (131, 130, 23),
    (6, 35, 1100),
];

pub(super) const ACTIVATIONS: [Activation; 8] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::LeakyRelu(0.2),
];

/// Every shape with the variants, each with the next activation. How weights are read and how the
/// work is shared are apart in the shaders, so kinds of weights that are `full` meet every variant,
/// and the others one of each entry point.
fn all(
    weights: impl Fn(usize, usize, usize) -> Weights,
    kinds: usize,
    full: impl Fn(usize) -> bool,
) -> Vec<Case> {
    let mut cases = vec![];
    for kind in 0..kinds {
        let variants = if full(kind) { &Variant::ALL[..] } else { &EACH_ENTRY[..] };
        for (number, (batch, rows, cols)) in SHAPES.into_iter().enumerate() {
            for (place, variant) in variants.iter().enumerate() {
                let at = number + place * 3 + kind * 5;
                let layer = Layer {
                    weights: weights(kind, rows, cols),
                    batch,
                    rows,
                    cols,
                    activation: ACTIVATIONS[at % ACTIVATIONS.len()],
                    variant: Some(*variant),
                    bias: at % 3 != 0,
                };
                cases.push(case(layer, "layer"));
            }
        }
    }
    cases
}

const EACH_ENTRY: [Variant; 3] = [Variant::Tile32, Variant::Direct, Variant::Vector];

pub(super) fn dense_cases() -> Vec<Case> {
    let weights = |kind: usize, rows, cols| Weights::dense(FloatType::ALL[kind], rows, cols);
    let mut cases = all(weights, 3, |kind| kind == 0);
    for (number, (batch, rows, cols)) in SHAPES.into_iter().enumerate().skip(3) {
        let variant = Variant::ALL[number % Variant::ALL.len()];
        let weights = Weights::RowMajor(gaussian(FloatType::F32, rows * cols, 14));
        let activation = Activation::Identity;
        let (variant, bias) = (Some(variant), true);
        let layer = Layer { weights, batch, rows, cols, activation, variant, bias };
        cases.push(case(layer, "row major"));
    }
    // More than 65 535 workgroups.
    let (rows, cols) = (262_149, 1);
    let layer = Layer {
        weights: Weights::dense(FloatType::F32, rows, cols),
        batch: 1,
        rows,
        cols,
        activation: Activation::Identity,
        variant: Some(Variant::Vector),
        bias: true,
    };
    cases.push(case(layer, "fold"));
    cases
}

pub(super) fn masked_cases() -> Vec<Case> {
    let weights = |kind: usize, rows, cols| Weights::masked(FloatType::ALL[kind], rows, cols);
    all(weights, 3, |kind| kind == 0)
}

fn schemes() -> Vec<QuantScheme> {
    use {Bits::*, Granularity::*};
    let asymmetric = |s: QuantScheme| QuantScheme { symmetric: false, ..s };
    vec![
        scheme(Eight, Channel),
        asymmetric(scheme(Eight, Tensor)),
        scheme(Four, Group(32)),
        asymmetric(scheme(Four, Group(8))),
        scheme(Four, Group(128)),
        asymmetric(scheme(Four, Channel)),
        scheme(Two, Group(7)),
        asymmetric(scheme(Two, Group(16))),
        scheme(Eight, Group(4)),
    ]
}

pub(super) fn packed_cases() -> Vec<Case> {
    let schemes = schemes();
    let full = |kind: usize| schemes[kind] == scheme(Bits::Four, Granularity::Group(32));
    all(|kind, rows, cols| Weights::packed(schemes[kind], rows, cols), schemes.len(), full)
}

/// A square layer of about `weights` weights, for one row of input.
pub(super) fn bench(weights: usize, form: fn(usize, usize) -> Weights) -> Case {
    let side = (weights.isqrt() / 256).max(1) * 256;
    let layer = Layer {
        weights: form(side, side),
        batch: 1,
        rows: side,
        cols: side,
        activation: Activation::Relu,
        variant: None,
        bias: true,
    };
    case(layer, "bench")
}

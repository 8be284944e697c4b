//! Layers on the CPU at every level of vector instructions, with one thread and with several,
//! against `f64`; and what rounding inputs to 8 bits costs.

use tensorpress::cpu::bitmask;
use tensorpress::cpu::dense::{DensePanels, dense};
use tensorpress::cpu::dense_masked::{MaskedPanels, MaskedWeights};
use tensorpress::cpu::dense_packed::{PackedPanels, PackedWeights};
use tensorpress::cpu::int8_inputs::quantize_row;
use tensorpress::cpu::simd::Level;
use tensorpress::cpu::{pack, quantize, stats};
use tensorpress::ops::dense::bound;
use tensorpress::scheme::{Activation, Bits, Granularity, QuantParams, QuantScheme};
use tensorpress::tensor::{FloatType, Matrix};

#[path = "common/files.rs"]
mod files;

/// A layer in one form.
enum Form {
    Plain(FloatType, Vec<u8>),
    Dense(DensePanels),
    Packed(PackedPanels),
    Int8(PackedPanels),
    Masked(MaskedPanels),
}

struct Layer {
    name: String,
    form: Form,
    outputs: usize,
    inputs: usize,
    /// What the weights are, exactly.
    weights: Vec<f64>,
}

impl Layer {
    fn run(&self, level: Level, x: &[f32], bias: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / self.inputs * self.outputs];
        let (bias, none) = (Some(bias), Activation::Identity);
        match &self.form {
            Form::Plain(float, data) => {
                let (rows, cols) = (self.outputs, self.inputs);
                dense(x, Matrix { float: *float, rows, cols, data }, bias, none, &mut out);
            }
            Form::Dense(panels) => panels.forward(level, x, bias, none, &mut out),
            Form::Packed(panels) => panels.forward(level, x, bias, none, &mut out),
            Form::Int8(panels) => panels.forward_int8(level, x, bias, none, &mut out),
            Form::Masked(panels) => panels.forward(level, x, bias, none, &mut out),
        }
        out
    }

    fn rounds_inputs(&self) -> bool {
        matches!(self.form, Form::Int8(_))
    }

    /// Fails where a result is farther from `f64` than its bound.
    fn check(&self, level: Level, x: &[f32], bias: &[f32]) {
        let found = self.run(level, x, bias);
        for (row, x) in x.chunks_exact(self.inputs).enumerate() {
            let mut codes = vec![0; self.inputs];
            let scale = f64::from(quantize_row(x, &mut codes));
            let x: Vec<f64> = match self.rounds_inputs() {
                true => codes.iter().map(|code| f64::from(*code) * scale).collect(),
                false => x.iter().map(|x| f64::from(*x)).collect(),
            };
            for output in 0..self.outputs {
                let weights = &self.weights[output * self.inputs..][..self.inputs];
                let bias = f64::from(bias[output]);
                let products = || weights.iter().zip(&x).map(|(w, x)| w * x);
                let expected = products().sum::<f64>() + bias;
                let magnitudes = products().map(f64::abs).sum::<f64>() + bias.abs();
                let error = (f64::from(found[row * self.outputs + output]) - expected).abs();
                let allowed = bound(self.inputs + 1, magnitudes);
                assert!(error <= allowed, "{} {level:?} {row} {output}: {error:e}", self.name);
            }
        }
    }
}

/// Weights `[outputs, inputs]` in every form.
fn layers(outputs: usize, inputs: usize) -> Vec<Layer> {
    let values = files::noise(3, outputs * inputs);
    let mut layers = vec![];
    let mut add = |name: String, form, weights| {
        layers.push(Layer { name, form, outputs, inputs, weights });
    };
    for float in FloatType::ALL {
        let mut data = vec![];
        float.encode(&values, &mut data);
        let exact = |data: &[u8]| -> Vec<f64> {
            (0..outputs * inputs).map(|i| f64::from(float.load(data, i))).collect()
        };
        let matrix = Matrix { float, rows: outputs, cols: inputs, data: &data };
        let panels = DensePanels::new(matrix);
        add(format!("dense {float:?}"), Form::Dense(panels), exact(&data));
        add(format!("plain {float:?}"), Form::Plain(float, data.clone()), exact(&data));
        let mut pruned = data;
        for (i, weight) in pruned.chunks_exact_mut(float.size()).enumerate() {
            if i * 7919 % 10 < 6 {
                weight.fill(0);
            }
        }
        let mask = bitmask::encode(float, &pruned, inputs);
        let panels = MaskedPanels::new(&MaskedWeights { float, mask: &mask, cols: inputs });
        add(format!("masked {float:?}"), Form::Masked(panels), exact(&pruned));
    }
    for (bits, granularity, symmetric) in [
        (Bits::Eight, Granularity::Group(128), true),
        (Bits::Eight, Granularity::Channel, false),
        (Bits::Eight, Granularity::Group(3), false),
        (Bits::Four, Granularity::Group(32), true),
        (Bits::Four, Granularity::Group(20), false),
        (Bits::Four, Granularity::Tensor, false),
        (Bits::Two, Granularity::Channel, true),
        (Bits::Two, Granularity::Group(7), false),
    ] {
        let scheme = QuantScheme { symmetric, ..QuantScheme::new(bits, granularity) };
        let name = format!("{bits:?} {granularity:?} symmetric {symmetric}");
        let (panels, exact) = packed(&values, inputs, &scheme);
        add(format!("int8 {name}"), Form::Int8(panels), exact);
        let (panels, exact) = packed(&values, inputs, &scheme);
        add(name, Form::Packed(panels), exact);
    }
    layers
}

/// `values` as codes, and what these are exactly.
fn packed(values: &[f32], cols: usize, scheme: &QuantScheme) -> (PackedPanels, Vec<f64>) {
    let (float, rows) = (FloatType::F32, values.len() / cols);
    let mut data = vec![];
    float.encode(values, &mut data);
    let matrix = Matrix { float, rows, cols, data: &data };
    let stats = stats::matrix(matrix, scheme.granularity);
    let params = tensorpress::cpu::quant_params::compute(float, &stats, scheme);
    let (words, _) = quantize::packed(matrix, &params, scheme);
    let exact = dequantized(&words, &params, scheme, cols);
    let weights = PackedWeights { words: &words, rows, cols, params: &params, scheme };
    (PackedPanels::new(&weights), exact)
}

fn dequantized(
    words: &[u32],
    params: &QuantParams,
    scheme: &QuantScheme,
    inputs: usize,
) -> Vec<f64> {
    let codes = pack::unpack(words, inputs, scheme.bits);
    let value = |(at, code): (usize, &i8)| {
        let (row, col) = (at / inputs, at % inputs);
        let segment = match scheme.granularity {
            Granularity::Tensor => 0,
            Granularity::Channel => row,
            Granularity::Group(size) => row * inputs.div_ceil(size) + col / size,
        };
        let zero_point = params.zero_point.get(segment).map_or(0, |zero| i64::from(*zero));
        (i64::from(*code) - zero_point) as f64 * f64::from(params.scale[segment])
    };
    codes.iter().enumerate().map(value).collect()
}

fn inputs(rows: usize, inputs: usize) -> Vec<f32> {
    files::noise(4, rows * inputs)
}

#[test]
fn every_form_keeps_its_bound_at_every_level() {
    // 24 and 5 end in half a panel, 25 in more than that.
    let shapes = [(1, 1), (5, 3), (16, 64), (24, 21), (25, 22), (37, 130), (150, 300), (33, 1100)];
    for (outputs, width) in shapes {
        let bias = files::noise(5, outputs);
        for layer in layers(outputs, width) {
            for rows in [1, 2, 7, 13] {
                let x = inputs(rows, width);
                for level in Level::available() {
                    layer.check(level, &x, &bias);
                }
            }
        }
    }
}

/// Products with codes, in whatever units, overflow before those with weights.
#[test]
fn inputs_of_any_magnitude_keep_the_bound() {
    let (outputs, width) = (37, 130);
    for layer in layers(outputs, width) {
        for magnitude in [1e-30, 1e29, 1e33, 3e35, 1e37] {
            for rows in [1, 5] {
                let x: Vec<f32> = inputs(rows, width).iter().map(|x| x * magnitude).collect();
                for level in Level::available() {
                    layer.check(level, &x, &vec![0.0; outputs]);
                }
            }
        }
    }
}

#[test]
fn rounded_inputs_give_the_same_bytes_at_every_level() {
    for (outputs, width) in [(5, 3), (16, 64), (37, 130), (150, 300)] {
        let bias = files::noise(5, outputs);
        for layer in layers(outputs, width).iter().filter(|layer| layer.rounds_inputs()) {
            for rows in [1, 3, 13] {
                let x = inputs(rows, width);
                let expected = layer.run(Level::PORTABLE, &x, &bias);
                for level in Level::available() {
                    assert_eq!(layer.run(level, &x, &bias), expected, "{} {level:?}", layer.name);
                }
            }
        }
    }
}

/// Large enough to be shared out. Threads of a pool work in it, others share the helpers.
#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let pool =
        |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let pools = [pool(1), pool(2), pool(5)];
    // Weights that every part may read, and weights that are too many for that.
    for (outputs, width) in [(300, 300), (500, 700)] {
        let bias = files::noise(5, outputs);
        for layer in layers(outputs, width) {
            for rows in [1, 20, 65, 141] {
                let x = inputs(rows, width);
                let run = || layer.run(Level::best(), &x, &bias);
                let expected = run();
                for pool in &pools {
                    assert!(pool.install(run) == expected, "{} {rows}", layer.name);
                }
            }
        }
    }
}

/// A segment of codes holds at most 2^15, and groups need not be multiples of that.
#[test]
fn groups_longer_than_a_segment_keep_their_scales() {
    let (outputs, inputs) = (3, 80_000);
    let mut values = files::noise(3, outputs * inputs);
    // Scales that differ from one group to the next.
    values.iter_mut().enumerate().filter(|(i, _)| i % inputs < 40_000).for_each(|(_, v)| *v *= 9.0);
    for (bits, group, symmetric) in
        [(Bits::Eight, 40_000, true), (Bits::Four, 40_000, false), (Bits::Two, 32_771, true)]
    {
        let granularity = Granularity::Group(group);
        let scheme = QuantScheme { symmetric, ..QuantScheme::new(bits, granularity) };
        for int8 in [false, true] {
            let (panels, weights) = packed(&values, inputs, &scheme);
            let form = if int8 { Form::Int8(panels) } else { Form::Packed(panels) };
            let layer = Layer { name: format!("{scheme:?}"), form, outputs, inputs, weights };
            for rows in [1, 3] {
                let x = files::noise(4, rows * inputs);
                layer.check(Level::best(), &x, &vec![0.0; outputs]);
            }
        }
    }
}

#[test]
fn inputs_are_rounded_to_the_nearest_of_255_values() {
    let mut rows = vec![
        vec![0.0; 5],
        vec![1.0, -1.0, 0.5 / 127.0, 1.5 / 127.0, -2.5 / 127.0],
        vec![f32::MAX, f32::MIN, 1.0],
        vec![1e-45, -1e-40, f32::MIN_POSITIVE],
        vec![f32::MIN_POSITIVE * 100.0, f32::MIN_POSITIVE],
        vec![127.0, 0.5, 1.5, 2.5, -126.5, -0.0],
    ];
    rows.extend((0..50).map(|seed| {
        let scale = 10.0_f32.powi(seed as i32 - 25);
        files::noise(seed, 333).iter().map(|x| x * scale).collect()
    }));
    for row in rows {
        let mut codes = vec![1; row.len()];
        let scale = quantize_row(&row, &mut codes);
        let largest = row.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert_eq!(scale, (largest / 127.0).max(f32::MIN_POSITIVE));
        for (x, code) in row.iter().zip(&codes) {
            let error = (f64::from(*x) - f64::from(scale) * f64::from(*code)).abs();
            assert!(*code >= -127);
            assert!(error <= (0.5 + 2.0_f64.powi(-16)) * f64::from(scale), "{x:e}: {code}");
        }
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
        let mut codes = [1; 3];
        assert!(quantize_row(&[1.0, bad, 2.0], &mut codes).is_nan(), "{bad}");
    }
}

/// The documented bound against the inputs as they were.
#[test]
fn rounding_inputs_costs_at_most_half_a_step_a_weight() {
    let (outputs, width) = (40, 256);
    for layer in layers(outputs, width).iter().filter(|layer| layer.rounds_inputs()) {
        let x = inputs(1, width);
        let found = layer.run(Level::best(), &x, &vec![0.0; outputs]);
        let scale = f64::from(quantize_row(&x, &mut vec![0; width]));
        let mut errors = 0.0;
        for (weights, found) in layer.weights.chunks_exact(width).zip(found) {
            let products = || weights.iter().zip(&x).map(|(w, x)| w * f64::from(*x));
            let error = (f64::from(found) - products().sum::<f64>()).abs();
            let step = (0.5 + 2.0_f64.powi(-16)) * scale;
            let rounding = step * weights.iter().map(|w| w.abs()).sum::<f64>();
            let magnitudes = products().map(f64::abs).sum::<f64>() + rounding;
            assert!(error <= rounding + bound(width, magnitudes), "{}", layer.name);
            errors += error;
        }
        assert!(errors > 0.0, "{}: nothing was rounded", layer.name);
    }
}

#[test]
fn a_row_with_nan_gives_no_finite_outputs() {
    let layers = layers(20, 64);
    let layer = layers.iter().find(|layer| layer.rounds_inputs()).expect("one");
    let mut x = inputs(2, 64);
    x[70] = f32::NAN;
    let found = layer.run(Level::best(), &x, &[0.0; 20]);
    assert!(found[..20].iter().all(|y| y.is_finite()) && found[20..].iter().all(|y| y.is_nan()));
}

//! Cases of the operations that training needs, with their references in f64.

use std::sync::Arc;

use super::layers::ACTIVATIONS;
use super::rows::f32_gaussian;
use super::traced::{Bounded, Traced, constant, exact};
use super::{Case, Output, Reference, Work};
use crate::cpu::random::threefry;
use crate::ops::activation::{self, Dropout};
use crate::ops::dense::bound;
use crate::ops::dense_grad::{self, Variant};
use crate::scheme::Activation;

pub(super) fn floats_bytes(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

/// `left[rows, terms] · right[terms, cols]` in f64, with the bound of so many f32 terms; `at` give
/// the elements.
fn product(
    part: &'static str,
    (rows, cols, terms): (usize, usize, usize),
    left: impl Fn(usize, usize) -> f32,
    right: impl Fn(usize, usize) -> f32,
) -> Reference {
    let (mut values, mut bounds) = (vec![], vec![]);
    for row in 0..rows {
        for col in 0..cols {
            let products = (0..terms).map(|k| f64::from(left(row, k)) * f64::from(right(k, col)));
            let (sum, magnitudes) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + p.abs()));
            values.push(sum);
            bounds.push(bound(terms, magnitudes));
        }
    }
    Reference { part, values, bounds }
}

pub(super) fn dense_grad_case(
    (batch, inputs, outputs): (usize, usize, usize),
    variant: Option<Variant>,
) -> Case {
    let x = f32_gaussian(batch * inputs, 1.0, 31);
    let weights = f32_gaussian(outputs * inputs, 0.3, 32);
    let dz = f32_gaussian(batch * outputs, 0.1, 33);
    let shared = Arc::new((x, weights, dz));
    let for_reference = Arc::clone(&shared);
    let floats = |n: usize| 4 * n as u64;
    Case {
        name: format!("{batch}×{inputs}→{outputs} {variant:?}"),
        work: Work {
            read: floats(batch * (inputs + outputs) + outputs * inputs),
            written: floats(batch * inputs + outputs * (inputs + 1)),
            flops: 4 * (batch * inputs * outputs) as u64,
        },
        run: Box::new(move |backend| {
            let (x, weights, dz) = &*shared;
            let shape = (batch, inputs, outputs);
            let found = dense_grad::dense_grad_with(backend, x, weights, dz, shape, variant)?;
            let parts = vec![
                ("dX", floats_bytes(&found.inputs)),
                ("dW", floats_bytes(&found.weights)),
                ("db", floats_bytes(&found.bias)),
            ];
            Ok(Output { parts })
        }),
        reference: Some(Box::new(move || {
            let (x, weights, dz) = &*for_reference;
            let dz = |row: usize, output: usize| dz[row * outputs + output];
            vec![
                product("dX", (batch, inputs, outputs), dz, |o, i| weights[o * inputs + i]),
                product("dW", (outputs, inputs, batch), |o, b| dz(b, o), |b, i| x[b * inputs + i]),
                product("db", (1, outputs, batch), |_, _| 1.0, dz),
            ]
        })),
    }
}

pub(super) fn dense_grad_cases() -> Vec<Case> {
    let mut cases = vec![];
    // Nothing, one, around the tiles and the vectors, primes, and many rows for few outputs.
    let shapes = [
        (0, 3, 5),
        (1, 0, 5),
        (1, 5, 0),
        (1, 1, 1),
        (2, 7, 9),
        (7, 64, 64),
        (8, 65, 63),
        (17, 129, 31),
        (65, 130, 67),
        (300, 33, 10),
    ];
    for shape in shapes {
        for variant in [Variant::Tiled { splits: 1 }, Variant::Tiled { splits: 3 }, Variant::Direct]
        {
            cases.push(dense_grad_case(shape, Some(variant)));
        }
    }
    cases
}

/// What happens to the elements of a matrix `[rows, cols]`.
#[derive(Clone, Copy)]
pub(super) struct Activated {
    pub rows: usize,
    pub cols: usize,
    pub activation: Activation,
    pub rate: f32,
}

pub(super) fn activation_case(what: Activated) -> Case {
    let Activated { rows, cols, activation, rate } = what;
    let mut z = f32_gaussian(rows * cols, 3.0, 51);
    let far = [0.0, -0.0, 0.1, -0.1, 30.0, -30.0, 100.0, -100.0, 1e4, -1e4];
    z.iter_mut().step_by(13).zip(far.into_iter().cycle()).for_each(|(z, far)| *z = far);
    let dy = f32_gaussian(rows * cols, 1.0, 52);
    let dropout = Dropout { rate, seed: 5 << 40, step: 7, layer: 1 };
    let shared = Arc::new((z, dy));
    let for_reference = Arc::clone(&shared);
    let bytes = 4 * (rows * cols) as u64;
    Case {
        name: format!("[{rows}, {cols}] {activation}, dropout {rate}"),
        work: Work { read: 3 * bytes, written: 2 * bytes, ..Work::default() },
        run: Box::new(move |backend| {
            let (z, dy) = &*shared;
            let y = activation::activation(backend, activation, &dropout, z, cols)?;
            let dz = activation::activation_grad(backend, activation, &dropout, z, dy, cols)?;
            Ok(Output { parts: vec![("y", floats_bytes(&y)), ("dz", floats_bytes(&dz))] })
        }),
        reference: Some(Box::new(move || {
            let (z, dy) = &*for_reference;
            let device = dropout.on_device().expect("a rate in range");
            let (mut y, mut dz) = (Bounded::new("y"), Bounded::new("dz"));
            for (i, (z, dy)) in z.iter().zip(dy).enumerate() {
                let place = (i / cols * cols.next_multiple_of(8) + i % cols) as u32;
                let word = threefry(device.key, [place / 2, 0])[place as usize % 2];
                let kept = rate == 0.0 || word >= device.dropped_below;
                let factor = if kept { exact(device.scale) } else { exact(0.0) };
                let (value, slope) = traced_activation(activation, exact(*z));
                y.push(value * factor);
                dz.push(exact(*dy) * slope * factor);
            }
            vec![y.reference(), dz.reference()]
        })),
    }
}

/// The activation and its derivative as shaders/common/activation.wgsl has them.
fn traced_activation(activation: Activation, z: Traced) -> (Traced, Traced) {
    let (zero, one) = (exact(0.0), exact(1.0));
    let near = z.clamp(-80.0, 80.0);
    // The clamp leaves e^-80 where there is less.
    let sigmoid = |z: Traced| {
        let share = one / (one + (-z).clamp(-80.0, 80.0).exp());
        Traced { error: share.error + 2e-35, ..share }
    };
    // Abramowitz and Stegun's formula is off by 1.5e-7. Its terms stay below 1 together, and its
    // exponential and its quotient err by less than 12 units, each a share of what is left to 1.
    let erf = |z: Traced| {
        let value = libm::erf(z.value);
        Traced { value, error: 1.2 * z.error + 1.5e-7 + 13.0 * f64::from(f32::EPSILON) }
    };
    let half = exact(0.5);
    let root = constant(std::f64::consts::FRAC_1_SQRT_2);
    let two_root = constant(2.0 * (2.0 / std::f64::consts::PI).sqrt());
    let cubic = constant(0.044_715);
    match activation {
        Activation::Identity => (z, one),
        Activation::Relu if z.value > 0.0 => (z, one),
        Activation::Relu => (zero, zero),
        Activation::LeakyRelu(_) if z.value > 0.0 => (z, one),
        Activation::LeakyRelu(slope) => (z * exact(slope), exact(slope)),
        Activation::Sigmoid => {
            let share = sigmoid(z);
            (share, share * (one - share))
        }
        Activation::Tanh => {
            // The quotient of the shader, whose exponential has −2|z|.
            let small = (-(exact(2.0) * z.abs())).clamp(-80.0, 80.0).exp();
            let value = (one - small) / (one + small);
            let value = Traced { value: z.value.tanh(), ..value };
            (value, (one - value) * (one + value))
        }
        Activation::Silu => {
            let share = sigmoid(near);
            (z * sigmoid(z), share * (one + near * (one - share)))
        }
        Activation::Gelu => {
            let value = half * z * (one + erf(z * root));
            let density =
                constant(0.398_942_280_4) * (exact(-0.5) * near * near).clamp(-80.0, 80.0).exp();
            (value, half * (one + erf(z * root)) + near * density)
        }
        Activation::GeluTanh => {
            let value = z * sigmoid(two_root * (z + cubic * z * z * z));
            let share = sigmoid(two_root * (near + cubic * near * near * near));
            let inner = two_root * (one + constant(0.134_145) * near * near);
            (value, share + near * share * (one - share) * inner)
        }
    }
}

pub(super) fn activation_cases() -> Vec<Case> {
    let mut cases = vec![];
    for activation in ACTIVATIONS {
        for (rows, cols, rate) in
            [(0, 3, 0.0), (1, 1, 0.0), (3, 7, 0.5), (17, 100, 0.25), (40, 65, 0.0)]
        {
            cases.push(activation_case(Activated { rows, cols, activation, rate }));
        }
    }
    let many = Activated { rows: 7001, cols: 10, activation: Activation::Relu, rate: 0.1 };
    cases.push(activation_case(many));
    cases
}

//! Activations of dense layers, with dropout. Twins: shaders/common/activation.wgsl and
//! shaders/activation.wgsl.
use super::exp::exp;
use super::random::threefry;
use crate::scheme::Activation;
use multiversion::multiversion;

/// √(2/π)
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// Applies `activation` to every element.
pub fn apply(activation: Activation, values: &mut [f32]) {
    if activation != Activation::Identity {
        apply_each(activation, values);
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn apply_each(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        // NaN stays NaN: an answer must not be made of it.
        Activation::Relu => each(values, |z| if z < 0.0 { 0.0 } else { z }),
        Activation::LeakyRelu(slope) => each(values, |z| if z > 0.0 { z } else { z * slope }),
        Activation::Sigmoid => each(values, sigmoid),
        Activation::Tanh => each(values, tanh),
        Activation::Silu => each(values, |z| z * sigmoid(z)),
        Activation::Gelu => each(values, |z| z * normal_share(z)),
        Activation::GeluTanh => each(values, |z| z * sigmoid(tanh_argument(z))),
    }
}

/// Multiplies `gradient`, that of activation(z), with the activation's derivative at `z`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub fn gradient(activation: Activation, z: &[f32], gradient: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => with(gradient, z, |z| if z > 0.0 { 1.0 } else { 0.0 }),
        Activation::LeakyRelu(slope) => with(gradient, z, |z| if z > 0.0 { 1.0 } else { slope }),
        Activation::Sigmoid => with(gradient, z, |z| {
            let share = sigmoid(z);
            share * (1.0 - share)
        }),
        Activation::Tanh => with(gradient, z, |z| {
            let value = tanh(z);
            (1.0 - value) * (1.0 + value)
        }),
        Activation::Silu => with(gradient, z, |z| {
            let z = near(z);
            let share = sigmoid(z);
            share * (1.0 + z * (1.0 - share))
        }),
        Activation::Gelu => with(gradient, z, |z| {
            let z = near(z);
            normal_share(z) + z * 0.398_942_3 * exp(-0.5 * z * z)
        }),
        Activation::GeluTanh => with(gradient, z, |z| {
            let z = near(z);
            let share = sigmoid(tanh_argument(z));
            let inner = 2.0 * SQRT_2_OVER_PI * (1.0 + 0.134_145 * z * z);
            share + z * share * (1.0 - share) * inner
        }),
    }
}

#[inline(always)]
fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = f(*value));
}

#[inline(always)]
fn with(gradient: &mut [f32], z: &[f32], slope: impl Fn(f32) -> f32) {
    gradient.iter_mut().zip(z).for_each(|(gradient, z)| *gradient *= slope(*z));
}

/// Derivatives are those of infinity beyond, and no product of huge and vanishing factors arises.
#[inline(always)]
fn near(z: f32) -> f32 {
    z.clamp(-80.0, 80.0)
}

#[inline(always)]
fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + exp(-z))
}

/// Twice the argument of the tanh in the usual approximation of gelu: (1 + tanh(u)) / 2 is
/// sigmoid(2 u).
#[inline(always)]
fn tanh_argument(z: f32) -> f32 {
    2.0 * SQRT_2_OVER_PI * (z + 0.044_715 * z * z * z)
}

/// Near zero the quotient would lose its digits, and the series z − z³/3 + 2z⁵/15 − 17z⁷/315 is
/// shorter than a unit in the last place.
#[inline(always)]
fn tanh(z: f32) -> f32 {
    let small = exp(-2.0 * z.abs());
    let far = ((1.0 - small) / (1.0 + small)).copysign(z);
    let s = z * z;
    let series = z + z * s * (-1.0 / 3.0 + s * (2.0 / 15.0 - s * (17.0 / 315.0)));
    if z.abs() < 0.125 { series } else { far }
}

/// Share of a normal distribution below `z`: (1 + erf(z / √2)) / 2, with the error function of
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by 7.5e-8 at most.
#[inline(always)]
fn normal_share(z: f32) -> f32 {
    let a = z.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * a);
    let polynomial = 1.061_405_4;
    let polynomial = polynomial * t - 1.453_152;
    let polynomial = polynomial * t + 1.421_413_7;
    let polynomial = polynomial * t - 0.284_496_73;
    let polynomial = (polynomial * t + 0.254_829_6) * t;
    let tail = 0.5 * polynomial * exp(-a * a);
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// Which elements of a matrix dropout keeps, as a function of a key and of their places.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Random words below it drop their element; 0 for no dropout.
    pub dropped_below: u32,
    /// 1 / (1 − rate)
    pub scale: f32,
    /// Key of the random words.
    pub key: [u32; 2],
}

/// Words that are made at once.
const BLOCK: usize = 64;

impl Dropout {
    /// Multiplies `values` `[rows, cols]` with 0 or the scale. Element i of the matrix with its rows
    /// padded to multiples of eight has word i % 2 of counter i / 2.
    pub fn apply(&self, values: &mut [f32], cols: usize) {
        if self.dropped_below == 0 {
            return;
        }
        let stride = cols.next_multiple_of(8);
        for (row, values) in values.chunks_exact_mut(cols.max(1)).enumerate() {
            drop_row(self, row * stride, values);
        }
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn drop_row(dropout: &Dropout, first: usize, values: &mut [f32]) {
    for (block, values) in values.chunks_mut(BLOCK).enumerate() {
        let first = ((first + block * BLOCK) / 2) as u32;
        let mut words = [0; BLOCK];
        for i in 0..BLOCK / 2 {
            let pair = threefry(dropout.key, [first.wrapping_add(i as u32), 0]);
            (words[2 * i], words[2 * i + 1]) = (pair[0], pair[1]);
        }
        for (value, word) in values.iter_mut().zip(words) {
            *value *= if word >= dropout.dropped_below { dropout.scale } else { 0.0 };
        }
    }
}

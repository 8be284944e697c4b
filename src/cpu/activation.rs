//! Activations of dense layers. Twin: shaders/common/activation.wgsl.
use super::simd::{Kernel, Level, Simd};
use crate::scheme::Activation;

/// √(2/π)
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// Applies `activation` to every element.
pub fn apply(activation: Activation, values: &mut [f32]) {
    apply_at(Level::best(), activation, values);
}

/// The same with given instructions.
pub(super) fn apply_at(level: Level, activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => level.run(Relu(values)),
        Activation::LeakyRelu(slope) => level.run(LeakyRelu { values, slope }),
        Activation::Sigmoid => each(values, sigmoid),
        Activation::Tanh => each(values, libm::tanhf),
        Activation::Silu => each(values, |z| z * sigmoid(z)),
        Activation::Gelu => {
            each(values, |z| 0.5 * z * (1.0 + libm::erff(z * std::f32::consts::FRAC_1_SQRT_2)))
        }
        Activation::GeluTanh => {
            each(values, |z| z * sigmoid(2.0 * SQRT_2_OVER_PI * (z + 0.044_715 * z * z * z)))
        }
    }
}

fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
    values.iter_mut().for_each(|value| *value = f(*value));
}

fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

struct Relu<'a>(&'a mut [f32]);

impl Kernel for Relu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.0.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { 0.0 });
    }
}

struct LeakyRelu<'a> {
    values: &'a mut [f32],
    slope: f32,
}

impl Kernel for LeakyRelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { *v * self.slope });
    }
}

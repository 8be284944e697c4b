//! Activations of dense layers. Twin: shaders/common/activation.wgsl.
use crate::scheme::Activation;
use multiversion::multiversion;

/// √(2/π)
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// Applies `activation` to every element.
pub fn apply(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => relu(values),
        Activation::LeakyRelu(slope) => leaky_relu(values, slope),
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

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn relu(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { 0.0 });
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn leaky_relu(values: &mut [f32], slope: f32) {
    values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { *v * slope });
}

// Activations of dense layers. Twin: src/cpu/activation.rs. Only exp is used: tanh has no bound
// near zero that all devices keep, and erf does not exist.

const SQRT_2_OVER_PI: f32 = 0.7978845608;

// exp beyond this is of no use, and infinity must not arise.
fn bounded_exp(x: f32) -> f32 {
    return exp(clamp(x, -80.0, 80.0));
}

fn sigmoid(z: f32) -> f32 {
    return 1.0 / (1.0 + bounded_exp(-z));
}

fn hyperbolic_tangent(z: f32) -> f32 {
    let small = bounded_exp(-2.0 * abs(z));
    return select(1.0, -1.0, z < 0.0) * ((1.0 - small) / (1.0 + small));
}

// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by 1.5e-7 at most.
fn error_function(z: f32) -> f32 {
    let a = abs(z);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t
        + 0.254829592) * t;
    let value = 1.0 - polynomial * bounded_exp(-a * a);
    return select(value, -value, z < 0.0);
}

// The numbers are those of Activation::code. NaN stays NaN, by its bits: devices may take for granted
// that there is none, and an answer must not be made of it.
fn activate(kind: u32, slope: f32, z: f32) -> f32 {
    if (bitcast<u32>(z) & 0x7fffffffu) > 0x7f800000u {
        return z;
    }
    switch kind {
        case 1u: { return max(z, 0.0); }
        case 2u: { return 0.5 * z * (1.0 + error_function(z * 0.70710678118)); }
        case 3u: { return z * sigmoid(2.0 * SQRT_2_OVER_PI * (z + 0.044715 * z * z * z)); }
        case 4u: { return z * sigmoid(z); }
        case 5u: { return sigmoid(z); }
        case 6u: { return hyperbolic_tangent(z); }
        case 7u: { return select(z * slope, z, z > 0.0); }
        default: { return z; }
    }
}

// The derivative of activate. Far from zero it is 0 or 1 (or as for identity), and a bounded z keeps
// products of vanishing and of huge factors from arising.
fn activation_slope(kind: u32, slope: f32, z: f32) -> f32 {
    let near = clamp(z, -80.0, 80.0);
    switch kind {
        case 1u: { return select(0.0, 1.0, z > 0.0); }
        case 2u: {
            let density = 0.3989422804 * bounded_exp(-0.5 * near * near);
            return 0.5 * (1.0 + error_function(z * 0.70710678118)) + near * density;
        }
        case 3u: {
            let share = sigmoid(2.0 * SQRT_2_OVER_PI * (near + 0.044715 * near * near * near));
            let inner = 2.0 * SQRT_2_OVER_PI * (1.0 + 0.134145 * near * near);
            return share + near * share * (1.0 - share) * inner;
        }
        case 4u: {
            let share = sigmoid(near);
            return share * (1.0 + near * (1.0 - share));
        }
        case 5u: {
            let share = sigmoid(z);
            return share * (1.0 - share);
        }
        case 6u: {
            let value = hyperbolic_tangent(z);
            return (1.0 - value) * (1.0 + value);
        }
        case 7u: { return select(slope, 1.0, z > 0.0); }
        default: { return 1.0; }
    }
}

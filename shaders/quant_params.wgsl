// Scales and zero points from segment statistics. Twin: src/cpu/quant_params.rs.
// Formulas: compressed-tensors 0.20, calculate_qparams.
//!include common/grid.wgsl
//!include common/float_bits.wgsl

struct Params {
    segments: u32,
    // f32 bits: absmax or (max - min) is divided by it
    divisor: u32,
    // f32 bits of a scale that does not depend on the weights; 0 = none
    fixed_scale: u32,
    // f32 bits of the scale of a segment of zeros
    epsilon: u32,
    // f32 bits of the largest finite number of the weight's type
    largest: u32,
    asymmetric: u32,
    // 1 = round every step to the weight's type
    weight_type: u32,
    qmin: i32,
    qmax: i32,
}

// [segments, 5], as stats.wgsl writes them
@group(0) @binding(0) var<storage, read> stats: array<u32>;
// [segments], f32 bits, already rounded to the weight's type
@group(0) @binding(1) var<storage, read_write> scale: array<u32>;
// [segments]; 0 when symmetric
@group(0) @binding(2) var<storage, read_write> zero_point: array<i32>;
@group(0) @binding(3) var<storage, read> params: Params;

fn step_round(bits: u32) -> u32 {
    if params.weight_type == 0u {
        return bits;
    }
    return round_to_type(bits);
}

@compute @workgroup_size(64)
fn quant_params(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let segment = linear_workgroup(workgroup, workgroups) * 64u + local;
    if segment >= params.segments {
        return;
    }
    // max(0, -min) and max(0, max)
    let low = stats[segment * 5u];
    let high = stats[segment * 5u + 1u];
    let below = select(0u, low & MAGNITUDE, (low & 0x80000000u) != 0u);
    let above = select(high, 0u, (high & 0x80000000u) != 0u);

    var step = params.fixed_scale;
    if step == 0u {
        var extent = max(below, above);
        if params.asymmetric != 0u {
            extent = step_round(add_magnitudes(below, above));
        }
        if extent >= INFINITY {
            step = params.largest;
        } else {
            step = round_to_type(divide_magnitudes(extent, params.divisor));
            if step >= INFINITY {
                step = params.largest;
            }
        }
    }
    scale[segment] = select(step, params.epsilon, step == 0u);

    var zero = 0;
    if params.asymmetric != 0u && step == 0u {
        // compressed-tensors replaces a step of 0 only after it has divided by it: 0 / 0 becomes
        // the zero point 0, and -x / 0 the largest one.
        zero = select(params.qmax, 0, below == 0u);
    } else if params.asymmetric != 0u {
        let quotient = bitcast<f32>(step_round(divide_magnitudes(below, step)));
        let shifted = f32(params.qmin) + quotient;
        let value = bitcast<f32>(step_round(bitcast<u32>(shifted)));
        zero = i32(round(clamp(value, f32(params.qmin), f32(params.qmax))));
    }
    zero_point[segment] = zero;
}

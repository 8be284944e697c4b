// Activations of a layer with dropout, forward and backward, from what the layer gave before its
// activation. Twin: src/cpu/activation.rs.
//!include common/grid.wgsl
//!include common/activation.wgsl
//!include common/random.wgsl

struct Params {
    // of four floats
    vectors: u32,
    // vectors and columns of a row
    quads: u32,
    cols: u32,
    activation: u32,
    slope: f32,
    // dropout: random words below it drop their element; 0 = no dropout
    dropped_below: u32,
    // 1 / (1 - rate)
    scale: f32,
    key_low: u32,
    key_high: u32,
}

// [rows, quads]: before the activation
@group(0) @binding(0) var<storage, read> z: array<vec4<f32>>;
// forward: the result; backward: its gradient, which becomes that of z; [rows, quads]
@group(0) @binding(1) var<storage, read_write> values: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> params: Params;

// What dropout multiplies a vector with, and zero for the padding. Element i of the padded matrix
// has word i % 2 of counter i / 2.
fn factors(at: u32) -> vec4<f32> {
    let column = (at % params.quads) * 4u;
    let columns = vec4(column, column + 1u, column + 2u, column + 3u);
    var kept = columns < vec4(params.cols);
    if params.dropped_below != 0u {
        let key = vec2(params.key_low, params.key_high);
        let words = vec4(threefry(key, vec2(at * 2u, 0u)), threefry(key, vec2(at * 2u + 1u, 0u)));
        kept = kept & (words >= vec4(params.dropped_below));
    }
    return select(vec4<f32>(), vec4(params.scale), kept);
}

fn activate4(z: vec4<f32>) -> vec4<f32> {
    return vec4(
        activate(params.activation, params.slope, z.x),
        activate(params.activation, params.slope, z.y),
        activate(params.activation, params.slope, z.z),
        activate(params.activation, params.slope, z.w),
    );
}

fn slope4(z: vec4<f32>) -> vec4<f32> {
    return vec4(
        activation_slope(params.activation, params.slope, z.x),
        activation_slope(params.activation, params.slope, z.y),
        activation_slope(params.activation, params.slope, z.z),
        activation_slope(params.activation, params.slope, z.w),
    );
}

@compute @workgroup_size(256)
fn activation(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * 256u + local;
    if at < params.vectors {
        values[at] = activate4(z[at]) * factors(at);
    }
}

@compute @workgroup_size(256)
fn activation_grad(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * 256u + local;
    if at < params.vectors {
        values[at] = values[at] * slope4(z[at]) * factors(at);
    }
}

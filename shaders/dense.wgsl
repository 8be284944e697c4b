// A dense layer: act(X · Wᵀ + b). Twin: src/cpu/dense.rs.

struct Params {
    batch: u32,
    // inputs, padded, by eight
    eights: u32,
    // outputs of this chunk of the weights
    outputs: u32,
    // those and, in the last chunk, the padding of the result's rows
    padded_outputs: u32,
    first_output: u32,
    // floats between rows of the result
    stride: u32,
    activation: u32,
    // f32 bits
    slope: u32,
}

// [outputs, eights, 8 elements]
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
// [all outputs]
@group(0) @binding(1) var<storage, read> bias: array<f32>;
// [batch, eights, 2]
@group(0) @binding(2) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]
@group(0) @binding(3) var<storage, read_write> results: array<f32>;
@group(0) @binding(4) var<storage, read> params: Params;

//!include common/float_bits.wgsl
//!include common/product.wgsl

fn low_half(words: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4(
        widen(words.x & 0xffffu),
        widen(words.x >> 16u),
        widen(words.y & 0xffffu),
        widen(words.y >> 16u),
    ));
}

fn weights8(row: u32, k8: u32) -> Eight {
    let at = row * params.eights + k8;
    if DTYPE == 0u {
        return Eight(bitcast<vec4<f32>>(weights[at * 2u]), bitcast<vec4<f32>>(weights[at * 2u + 1u]));
    }
    let words = weights[at];
    return Eight(low_half(words.xy), low_half(words.zw));
}

@compute @workgroup_size(256)
fn dense(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    tiled(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(16)
fn dense_direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    direct(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(64)
fn dense_vector(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    vector(linear_workgroup(workgroup, workgroups), local);
}

// A dense layer straight from a bit mask and the weights that are not zero: act(X · Wᵀ + b).
// Twin: src/cpu/dense_masked.rs.

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
    // words of 32 mask bits a row
    words_per_row: u32,
    // kept weights in this chunk
    kept: u32,
}

// [ceil(kept / elements_per_word)]
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// [outputs, words_per_row]; bit k of word j is input 32j + k; 1 = kept
@group(0) @binding(1) var<storage, read> masks: array<u32>;
// [outputs, words_per_row]: kept weights before each word
@group(0) @binding(2) var<storage, read> before: array<u32>;
// [all outputs]
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// [batch, eights, 2]
@group(0) @binding(4) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]
@group(0) @binding(5) var<storage, read_write> results: array<f32>;
@group(0) @binding(6) var<storage, read> params: Params;

//!include common/element.wgsl
//!include common/product.wgsl

// The weight of bit `bit` of a mask whose first kept weight has index `first`.
fn masked(mask: u32, first: u32, bit: u32) -> f32 {
    if ((mask >> bit) & 1u) == 0u {
        return 0.0;
    }
    let place = first + countOneBits(mask & ((1u << bit) - 1u));
    return bitcast<f32>(element(min(place, params.kept - 1u)));
}

fn weights8(row: u32, k8: u32) -> Eight {
    let word = min(k8 / 4u, params.words_per_row - 1u);
    let at = row * params.words_per_row + word;
    let mask = masks[at];
    let first = before[at];
    let bit = (k8 % 4u) * 8u;
    return Eight(
        vec4(
            masked(mask, first, bit),
            masked(mask, first, bit + 1u),
            masked(mask, first, bit + 2u),
            masked(mask, first, bit + 3u),
        ),
        vec4(
            masked(mask, first, bit + 4u),
            masked(mask, first, bit + 5u),
            masked(mask, first, bit + 6u),
            masked(mask, first, bit + 7u),
        ),
    );
}

@compute @workgroup_size(256)
fn dense_masked(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    tiled(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(16)
fn dense_masked_direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    direct(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(64)
fn dense_masked_vector(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    vector(linear_workgroup(workgroup, workgroups), local);
}

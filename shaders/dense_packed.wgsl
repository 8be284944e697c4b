// A dense layer straight from packed codes: act(X · Wᵀ + b), W = (code - zero point) · scale.
// Twin: src/cpu/dense_packed.rs.

struct Params {
    batch: u32,
    // inputs, padded, by four
    fours: u32,
    // words of a row of codes
    units: u32,
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
    // parts that the inputs are split into, and fours of inputs in each
    splits: u32,
    split_fours: u32,
    // scales of a row, and from one quad of rows to the next: 0 where one serves all
    groups: u32,
    quad_groups: u32,
    // words of a group as a power of two; 31 where a row is one group
    group_shift: u32,
    // inputs of a group
    group_len: u32,
    // 1 = all codes have the same zero point
    symmetric: u32,
}

// [quads of outputs, units, 4 outputs]
@group(0) @binding(0) var<storage, read> codes: array<vec4<u32>>;
// [quads of all outputs, groups, 4 outputs]
@group(0) @binding(1) var<storage, read> scales: array<vec4<f32>>;
// likewise what is taken from an unsigned code; [1, 4 outputs] where symmetric
@group(0) @binding(2) var<storage, read> offsets: array<vec4<u32>>;
// [all outputs]
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// [batch, fours]
@group(0) @binding(4) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]; of parts [splits, batch, padded_outputs]
@group(0) @binding(5) var<storage, read_write> results: array<f32>;
@group(0) @binding(6) var<storage, read> params: Params;

//!include common/product.wgsl

// 8, 4 or 2
override BITS: u32 = 4u;
// 1 = a group may end inside of a word
override UNEVEN: u32 = 0u;
// a word holds 4, 8 or 16 codes
override FOURS: u32 = 8u / BITS;

struct Unit {
    // a row each
    words: vec4<u32>,
}

fn start(quad: u32) -> u32 {
    return quad * params.units;
}

fn unit(start: u32, at: u32) -> Unit {
    return Unit(codes[start + at]);
}

fn group_start(quad: u32) -> u32 {
    return (params.first_output / 4u + quad) * params.quad_groups;
}

fn group_of_unit(at: u32) -> u32 {
    return min(at >> params.group_shift, params.groups - 1u);
}

// The padding of a row belongs to no group; any finite scale will do.
fn group_of_input(input: u32) -> u32 {
    return min(input / params.group_len, params.groups - 1u);
}

fn offset(group: u32) -> vec4<i32> {
    return vec4<i32>(offsets[select(group, 0u, params.symmetric == 1u)]);
}

// The codes of one input.
fn steps(words: vec4<u32>, shift: u32, zero: vec4<i32>) -> vec4<f32> {
    let code = (words >> vec4(shift)) & vec4((1u << BITS) - 1u);
    return vec4<f32>(vec4<i32>(code) - zero);
}

fn own_scale(words: vec4<u32>, shift: u32, group: u32) -> vec4<f32> {
    return steps(words, shift, offset(group)) * scales[group];
}

fn raw(words: Unit, quad: u32, four: u32, part: u32) -> Four {
    let shift = part * 4u * BITS;
    let first = group_start(quad);
    if UNEVEN == 1u {
        return Four(
            own_scale(words.words, shift, first + group_of_input(four * 4u)),
            own_scale(words.words, shift + BITS, first + group_of_input(four * 4u + 1u)),
            own_scale(words.words, shift + 2u * BITS, first + group_of_input(four * 4u + 2u)),
            own_scale(words.words, shift + 3u * BITS, first + group_of_input(four * 4u + 3u)),
        );
    }
    let zero = offset(first + group_of_unit(four / FOURS));
    return Four(
        steps(words.words, shift, zero),
        steps(words.words, shift + BITS, zero),
        steps(words.words, shift + 2u * BITS, zero),
        steps(words.words, shift + 3u * BITS, zero),
    );
}

fn factor(quad: u32, at: u32) -> vec4<f32> {
    if UNEVEN == 1u {
        return vec4(1.0);
    }
    return scales[group_start(quad) + group_of_unit(at)];
}

@compute @workgroup_size(THREADS)
fn dense_packed(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    tiled(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(16)
fn dense_packed_direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    direct(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(64)
fn dense_packed_vector(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    vector(linear_workgroup(workgroup, workgroups), local);
}

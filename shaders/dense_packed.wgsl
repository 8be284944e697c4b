// A dense layer straight from packed codes: act(X · Wᵀ + b), W = (code - zero point) · scale.
// Twin: src/cpu/dense_packed.rs.

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
    bits: u32,
    words_per_row: u32,
    // inputs a scale
    segment_len: u32,
    // 0 where one scale serves all rows
    segments_per_row: u32,
    // segment of this chunk's first row
    first_segment: u32,
}

// [outputs, words_per_row]
@group(0) @binding(0) var<storage, read> codes: array<u32>;
// [all segments, 2]: f32 bits of the scale, and what is taken from an unsigned code
@group(0) @binding(1) var<storage, read> segments: array<vec2<u32>>;
// [all outputs]
@group(0) @binding(2) var<storage, read> bias: array<f32>;
// [batch, eights, 2]
@group(0) @binding(3) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]
@group(0) @binding(4) var<storage, read_write> results: array<f32>;
@group(0) @binding(5) var<storage, read> params: Params;

//!include common/product.wgsl

fn segment_of(row: u32, input: u32) -> vec2<u32> {
    // The padding of a row belongs to no segment; any finite scale will do.
    let group = min(input / params.segment_len, max(params.segments_per_row, 1u) - 1u);
    return segments[params.first_segment + row * params.segments_per_row + group];
}

// Four codes from the lowest bits of a word on.
fn four_codes(word: u32, bits: u32) -> vec4<i32> {
    let mask = (1u << bits) - 1u;
    let shifts = vec4(0u, bits, 2u * bits, 3u * bits);
    return vec4<i32>((vec4(word) >> shifts) & vec4(mask));
}

fn scaled(codes: vec4<i32>, row: u32, input: u32) -> vec4<f32> {
    if params.segment_len % 4u == 0u {
        let segment = segment_of(row, input);
        return vec4<f32>(codes - vec4(i32(segment.y))) * bitcast<f32>(segment.x);
    }
    let a = segment_of(row, input);
    let b = segment_of(row, input + 1u);
    let c = segment_of(row, input + 2u);
    let d = segment_of(row, input + 3u);
    let offsets = vec4<i32>(vec4(a.y, b.y, c.y, d.y));
    return vec4<f32>(codes - offsets) * bitcast<vec4<f32>>(vec4(a.x, b.x, c.x, d.x));
}

// A word of a row; those beyond its end are zero.
fn word_of(row: u32, word: u32) -> u32 {
    if word >= params.words_per_row {
        return 0u;
    }
    return codes[row * params.words_per_row + word];
}

fn weights8(row: u32, k8: u32) -> Eight {
    let input = k8 * 8u;
    var low: u32;
    var high: u32;
    switch params.bits {
        case 8u: {
            low = word_of(row, k8 * 2u);
            high = word_of(row, k8 * 2u + 1u);
        }
        case 4u: {
            low = word_of(row, k8);
            high = low >> 16u;
        }
        default: {
            low = word_of(row, k8 / 2u) >> ((k8 & 1u) * 16u);
            high = low >> 8u;
        }
    }
    return Eight(
        scaled(four_codes(low, params.bits), row, input),
        scaled(four_codes(high, params.bits), row, input + 4u),
    );
}

@compute @workgroup_size(256)
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

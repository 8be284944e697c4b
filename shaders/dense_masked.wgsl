// A dense layer straight from a bit mask and the weights that are not zero: act(X · Wᵀ + b).
// Twin: src/cpu/dense_masked.rs.

struct Params {
    batch: u32,
    // inputs, padded, by four
    fours: u32,
    // the same, what is decoded at once
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
    // words of 32 mask bits a row
    words_per_row: u32,
    // kept weights in this chunk
    kept: u32,
}

// [ceil(kept / elements_per_word)]
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// [quads of outputs, words_per_row, 4 outputs]; bit k of word j is input 32j + k; 1 = kept
@group(0) @binding(1) var<storage, read> masks: array<vec4<u32>>;
// likewise: kept weights before each word
@group(0) @binding(2) var<storage, read> before: array<vec4<u32>>;
// [all outputs]
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// [batch, fours]
@group(0) @binding(4) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]; of parts [splits, batch, padded_outputs]
@group(0) @binding(5) var<storage, read_write> results: array<f32>;
@group(0) @binding(6) var<storage, read> params: Params;

//!include common/element.wgsl
//!include common/product.wgsl

const FOURS: u32 = 1u;

// An output each.
struct Unit {
    // four mask bits
    bits: vec4<u32>,
    // index of the first kept weight from there on
    first: vec4<u32>,
}

fn start(quad: u32) -> u32 {
    return quad * params.words_per_row;
}

fn unit(start: u32, at: u32) -> Unit {
    let word = start + min(at / 8u, params.words_per_row - 1u);
    let shift = (at % 8u) * 4u;
    let mask = masks[word];
    let lower = mask & vec4((1u << shift) - 1u);
    return Unit((mask >> vec4(shift)) & vec4(15u), before[word] + countOneBits(lower));
}

fn kept_weight(index: u32, kept: u32) -> f32 {
    // Read in any case: a branch an element costs more.
    return select(0.0, bitcast<f32>(element(min(index, params.kept - 1u))), kept == 1u);
}

// Four weights of a row.
fn row4(bits: u32, first: u32) -> vec4<f32> {
    let a = bits & 1u;
    let b = (bits >> 1u) & 1u;
    let c = (bits >> 2u) & 1u;
    let d = bits >> 3u;
    return vec4(
        kept_weight(first, a),
        kept_weight(first + a, b),
        kept_weight(first + a + b, c),
        kept_weight(first + a + b + c, d),
    );
}

fn raw(words: Unit, quad: u32, four: u32, part: u32) -> Four {
    return transposed(
        row4(words.bits.x, words.first.x),
        row4(words.bits.y, words.first.y),
        row4(words.bits.z, words.first.z),
        row4(words.bits.w, words.first.w),
    );
}

fn factor(quad: u32, at: u32) -> vec4<f32> {
    return vec4(1.0);
}

@compute @workgroup_size(THREADS)
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

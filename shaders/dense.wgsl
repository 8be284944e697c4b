// A dense layer: act(X · Wᵀ + b). Twin: src/cpu/dense.rs.

struct Params {
    batch: u32,
    // inputs, padded, by four
    fours: u32,
    // units of a row of weights
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
}

// [quads of outputs, units, words of a unit, 4 outputs]: a word is an f32, or two 16-bit floats.
// With ROW_MAJOR [outputs, units] of four f32.
@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>>;
// [all outputs]
@group(0) @binding(1) var<storage, read> bias: array<f32>;
// [batch, fours]; for dense_reduce the sums of parts [splits, batch, padded_outputs]
@group(0) @binding(2) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]; of parts [splits, batch, padded_outputs]
@group(0) @binding(3) var<storage, read_write> results: array<f32>;
@group(0) @binding(4) var<storage, read> params: Params;

//!include common/float_bits.wgsl
//!include common/product.wgsl

// 1 = weights [outputs, inputs] of f32, as training keeps them
override ROW_MAJOR: u32 = 0u;

const FOURS: u32 = 1u;

struct Unit {
    a: vec4<u32>,
    b: vec4<u32>,
    // f32 only
    c: vec4<u32>,
    d: vec4<u32>,
}

fn start(quad: u32) -> u32 {
    return quad * 4u * params.units / select(2u, 1u, DTYPE == 0u);
}

fn unit(start: u32, at: u32) -> Unit {
    if ROW_MAJOR == 1u {
        let last = (params.outputs - 1u) * params.units + at;
        return Unit(
            weights[start + at],
            weights[min(start + params.units + at, last)],
            weights[min(start + params.units * 2u + at, last)],
            weights[min(start + params.units * 3u + at, last)],
        );
    }
    if DTYPE == 0u {
        let first = start + at * 4u;
        return Unit(weights[first], weights[first + 1u], weights[first + 2u], weights[first + 3u]);
    }
    let first = start + at * 2u;
    return Unit(weights[first], weights[first + 1u], vec4<u32>(), vec4<u32>());
}

// Four 16-bit floats.
fn halves(bits: vec4<u32>) -> vec4<f32> {
    if DTYPE == 2u {
        return bitcast<vec4<f32>>(bits << vec4(16u));
    }
    let sign = (bits & vec4(0x8000u)) << vec4(16u);
    let magnitude = (bits & vec4(0x7fffu)) << vec4(13u);
    let normal = magnitude + vec4(112u << 23u);
    // (2⁻¹⁴ + m·2⁻²⁴) - 2⁻¹⁴ is exact, and no subnormal number occurs in it.
    let least = vec4(0x38800000u);
    let subnormal = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude + least) - bitcast<vec4<f32>>(least));
    let finite = select(normal, subnormal, magnitude < vec4(0x00800000u));
    let all = select(finite, magnitude | vec4(INFINITY), magnitude >= vec4(0x0f800000u));
    return bitcast<vec4<f32>>(sign | all);
}

fn raw(words: Unit, quad: u32, four: u32, part: u32) -> Four {
    if DTYPE == 0u {
        let a = bitcast<vec4<f32>>(words.a);
        let b = bitcast<vec4<f32>>(words.b);
        let c = bitcast<vec4<f32>>(words.c);
        let d = bitcast<vec4<f32>>(words.d);
        if ROW_MAJOR == 1u {
            return transposed(a, b, c, d);
        }
        return Four(a, b, c, d);
    }
    return Four(
        halves(words.a & vec4(0xffffu)),
        halves(words.a >> vec4(16u)),
        halves(words.b & vec4(0xffffu)),
        halves(words.b >> vec4(16u)),
    );
}

fn factor(quad: u32, at: u32) -> vec4<f32> {
    return vec4(1.0);
}

@compute @workgroup_size(THREADS)
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

// Adds the sums of the parts up, in order, whatever kernel made them.
@compute @workgroup_size(256)
fn dense_reduce(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 256u + local;
    let count = params.batch * params.padded_outputs;
    if index >= count {
        return;
    }
    var sum = 0.0;
    for (var split = 0u; split < params.splits; split++) {
        let at = split * count + index;
        sum += inputs[at / 4u][at % 4u];
    }
    finish(index / params.padded_outputs, index % params.padded_outputs, sum);
}

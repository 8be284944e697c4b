// Quantization to packed integer codes. Twin: src/cpu/quantize.rs.
//!include common/grid.wgsl

struct Params {
    words: u32,
    words_per_row: u32,
    cols: u32,
    // a segment's weights, and its index = row * segments_per_row + col / segment_len
    segment_len: u32,
    segments_per_row: u32,
    bits: u32,
    qmin: i32,
    qmax: i32,
    asymmetric: u32,
    // 1 = round every step to the weight's type
    weight_type: u32,
    // f32 bits of the textbook multiplier; 0 = divide by the scale
    multiplier: u32,
}

// [rows, cols], packed into words
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// [segments], f32 bits
@group(0) @binding(1) var<storage, read> scale: array<u32>;
// [segments]
@group(0) @binding(2) var<storage, read> zero_point: array<i32>;
// [rows, words_per_row]
@group(0) @binding(3) var<storage, read_write> packed: array<u32>;
// [1], zero before
@group(0) @binding(4) var<storage, read_write> saturated: atomic<u32>;
@group(0) @binding(5) var<storage, read> params: Params;

//!include common/element.wgsl

// Moves the estimate by so many ULP; the codes must not depend on it. Only tests set it.
override PERTURB_ULP: i32 = 0;

// Far outside every range and far inside f32's exact integers.
const FAR: f32 = 2048.0;

// A scale whose reciprocal is a normal number with room to spare.
fn has_safe_reciprocal(bits: u32) -> bool {
    return bits >= (32u << 23u) && bits < (222u << 23u);
}

// (w / s + z) as correctly rounded IEEE operations give it.
fn exact_position(bits: u32, step: u32, zero: f32) -> f32 {
    var quotient = divide_magnitudes(bits & MAGNITUDE, step);
    if params.weight_type != 0u {
        quotient = round_to_type(quotient);
    }
    let y = clamp(bitcast<f32>(quotient | (bits & 0x80000000u)), -FAR, FAR);
    if params.asymmetric == 0u {
        return y;
    }
    // The addition is one correctly rounded operation; where y is subnormal any result rounds
    // to the same code.
    let sum = y + zero;
    if params.weight_type != 0u {
        return bitcast<f32>(round_to_type(bitcast<u32>(sum)));
    }
    return sum;
}

// Position of a finite weight on the axis of the codes.
fn position(bits: u32, step: u32, reciprocal: f32, zero: f32) -> f32 {
    if params.multiplier != 0u {
        return clamp(bitcast<f32>(bits) * bitcast<f32>(params.multiplier), -FAR, FAR);
    }
    if params.weight_type != 0u || !has_safe_reciprocal(step) {
        return exact_position(bits, step, zero);
    }
    // The estimate errs by a few ULP of at most 2^8 steps, well under 2^-10; only next to a
    // rounding midpoint can that change the code.
    let product = bitcast<u32>(bitcast<f32>(bits) * reciprocal);
    let moved = select(product, u32(i32(product) + PERTURB_ULP), (product & MAGNITUDE) > 0x00800000u);
    let estimate = clamp(bitcast<f32>(moved), -FAR, FAR) + zero;
    let fraction = estimate - floor(estimate);
    if abs(fraction - 0.5) < 0.001 {
        return exact_position(bits, step, zero);
    }
    return estimate;
}

@compute @workgroup_size(256)
fn quantize(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    let row = word / params.words_per_row;
    let codes = 32u / params.bits;
    let first = (word % params.words_per_row) * codes;
    let end = min(first + codes, params.cols);
    let low = f32(params.qmin);
    let high = f32(params.qmax);
    let offset = 1 << (params.bits - 1u);

    var segment = 0xffffffffu;
    var step = 0u;
    var reciprocal = 0.0;
    var zero = 0.0;
    var result = 0u;
    var outside = 0u;
    for (var col = first; col < end; col++) {
        let own = row * params.segments_per_row + col / params.segment_len;
        if own != segment {
            segment = own;
            step = scale[segment];
            zero = select(0.0, f32(zero_point[segment]), params.asymmetric != 0u);
            reciprocal = 1.0 / bitcast<f32>(step);
        }
        let bits = element(row * params.cols + col);
        let magnitude = bits & MAGNITUDE;
        var at = zero;
        if magnitude < INFINITY {
            at = position(bits, step, reciprocal, zero);
        } else if magnitude == INFINITY {
            at = select(FAR, -FAR, (bits & 0x80000000u) != 0u);
        }
        outside += select(0u, 1u, at > high + 0.5 || at < low - 0.5);
        let code = i32(round(clamp(at, low, high)));
        result |= u32(code + offset) << ((col - first) * params.bits);
    }
    packed[word] = result;
    if outside != 0u {
        atomicAdd(&saturated, outside);
    }
}

// Packed codes back to weights: (code - zero point) * scale. Twin: src/cpu/dequantize.rs.
//!include common/grid.wgsl
//!include common/float_bits.wgsl

struct Params {
    count: u32,
    // words of the result
    words: u32,
    cols: u32,
    words_per_row: u32,
    segment_len: u32,
    segments_per_row: u32,
    bits: u32,
}

// [rows, words_per_row]
@group(0) @binding(0) var<storage, read> packed: array<u32>;
// [segments], f32 bits
@group(0) @binding(1) var<storage, read> scale: array<u32>;
// [segments]
@group(0) @binding(2) var<storage, read> zero_point: array<i32>;
// [rows, cols], packed into words
@group(0) @binding(3) var<storage, read_write> weights: array<u32>;
@group(0) @binding(4) var<storage, read> params: Params;

fn stored_bits(index: u32) -> u32 {
    if index >= params.count {
        return 0u;
    }
    let row = index / params.cols;
    let col = index % params.cols;
    let codes = 32u / params.bits;
    let word = packed[row * params.words_per_row + col / codes];
    let unsigned = extractBits(word, (col % codes) * params.bits, params.bits);
    let segment = row * params.segments_per_row + col / params.segment_len;
    let steps = i32(unsigned) - (1 << (params.bits - 1u)) - zero_point[segment];
    // Integer arithmetic, because the product may be subnormal. -0 cannot arise: a code equal to
    // the zero point is +0 in every tool.
    let magnitude = multiply_magnitude(u32(abs(steps)), scale[segment]);
    return narrow(magnitude | select(0u, 0x80000000u, steps < 0));
}

@compute @workgroup_size(256)
fn dequantize(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    if DTYPE == 0u {
        weights[word] = stored_bits(word);
    } else {
        weights[word] = stored_bits(word * 2u) | (stored_bits(word * 2u + 1u) << 16u);
    }
}

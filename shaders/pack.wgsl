// Signed codes to little-endian bitstreams and back. Twin: src/cpu/pack.rs.
//!include common/grid.wgsl

struct Params {
    // words of the result
    words: u32,
    cols: u32,
    words_per_row: u32,
    bits: u32,
    count: u32,
}

// pack: i8 codes [rows, cols], four a word; unpack: bitstreams [rows, words_per_row]
@group(0) @binding(0) var<storage, read> source: array<u32>;
// pack: bitstreams; unpack: codes
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;

fn code(index: u32) -> i32 {
    return extractBits(i32(source[index >> 2u]), (index & 3u) * 8u, 8u);
}

@compute @workgroup_size(256)
fn pack(
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
    let mask = 0xffffffffu >> (32u - params.bits);
    var packed = 0u;
    for (var col = first; col < end; col++) {
        let unsigned = u32(code(row * params.cols + col) + (1 << (params.bits - 1u))) & mask;
        packed |= unsigned << ((col - first) * params.bits);
    }
    result[word] = packed;
}

@compute @workgroup_size(256)
fn unpack(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    let codes = 32u / params.bits;
    let end = min(word * 4u + 4u, params.count);
    var bytes = 0u;
    for (var i = word * 4u; i < end; i++) {
        let col = i % params.cols;
        let stream = source[(i / params.cols) * params.words_per_row + col / codes];
        let unsigned = extractBits(stream, (col % codes) * params.bits, params.bits);
        let value = i32(unsigned) - (1 << (params.bits - 1u));
        bytes |= (u32(value) & 0xffu) << ((i & 3u) * 8u);
    }
    result[word] = bytes;
}

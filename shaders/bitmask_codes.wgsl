// Packed codes without those that are their zero point: a bit mask and the others as one bitstream.
// Twin: src/cpu/bitmask_codes.rs. As for bitmask.wgsl, the host sums the mask words.
//!include common/grid.wgsl

struct Params {
    cols: u32,
    // mask words a row
    mask_words: u32,
    // words of packed codes a row
    words_per_row: u32,
    segment_len: u32,
    segments_per_row: u32,
    bits: u32,
    // invocations that have work: mask words, or words of packed codes
    words: u32,
}

// mask, scatter: codes [rows, words_per_row]; gather: the stream of kept codes
@group(0) @binding(0) var<storage, read> packed: array<u32>;
// [segments]
@group(0) @binding(1) var<storage, read> zero_point: array<i32>;
// [rows, mask_words], bit k of word j = column 32 j + k
@group(0) @binding(2) var<storage, read_write> mask: array<u32>;
// [rows, mask_words], places in the stream before each mask word
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
// scatter: the stream of kept codes, zero before; atomic because codes share a word
@group(0) @binding(4) var<storage, read_write> kept: array<atomic<u32>>;
// gather: codes [rows, words_per_row]
@group(0) @binding(5) var<storage, read_write> result: array<u32>;
@group(0) @binding(6) var<storage, read> params: Params;

// The unsigned code at a place of a bitstream that begins with word `first`.
fn code(first: u32, place: u32) -> u32 {
    let codes = 32u / params.bits;
    return extractBits(packed[first + place / codes], (place % codes) * params.bits, params.bits);
}

// The unsigned code of the zero point.
fn zero_code(row: u32, col: u32) -> u32 {
    let segment = row * params.segments_per_row + col / params.segment_len;
    return u32(zero_point[segment] + (1 << (params.bits - 1u)));
}

@compute @workgroup_size(256)
fn bitmask_codes_mask(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    let row = word / params.mask_words;
    let start = (word % params.mask_words) * 32u;
    let end = min(start + 32u, params.cols);
    var bits = 0u;
    for (var col = start; col < end; col++) {
        let kept = code(row * params.words_per_row, col) != zero_code(row, col);
        bits |= select(0u, 1u, kept) << (col - start);
    }
    mask[word] = bits;
}

@compute @workgroup_size(256)
fn bitmask_codes_scatter(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    let first = (word / params.mask_words) * params.words_per_row;
    let start = (word % params.mask_words) * 32u;
    let codes = 32u / params.bits;
    var bits = mask[word];
    var at = offsets[word];
    while bits != 0u {
        let value = code(first, start + countTrailingZeros(bits));
        atomicOr(&kept[at / codes], value << ((at % codes) * params.bits));
        bits &= bits - 1u;
        at += 1u;
    }
}

@compute @workgroup_size(256)
fn bitmask_codes_gather(
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
    let start = (word % params.words_per_row) * codes;
    let end = min(start + codes, params.cols);
    var filled = 0u;
    for (var col = start; col < end; col++) {
        let at = row * params.mask_words + col / 32u;
        let bit = 1u << (col % 32u);
        var value = zero_code(row, col);
        if (mask[at] & bit) != 0u {
            value = code(0u, offsets[at] + countOneBits(mask[at] & (bit - 1u)));
        }
        filled |= value << ((col - start) * params.bits);
    }
    result[word] = filled;
}

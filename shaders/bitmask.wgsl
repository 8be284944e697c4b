// The sparse-bitmask form: which weights are not zero, and those alone. Twin: src/cpu/bitmask.rs.
// The host turns mask words into row offsets and bytes; a prefix sum over 1/32 of the weights is
// not worth a kernel.
//!include common/grid.wgsl

struct Params {
    count: u32,
    cols: u32,
    // mask words a row
    words_per_row: u32,
    // invocations that have work: mask words, or words of the dense result
    words: u32,
}

// mask, scatter: dense weights [rows, cols]; gather: kept weights [kept]; packed into words
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// [rows, words_per_row], bit k of word j = column 32 j + k
@group(0) @binding(1) var<storage, read_write> mask: array<u32>;
// [rows, words_per_row], kept weights before each mask word
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
// scatter: kept weights [kept], zero before; atomic because two 16-bit floats share a word
@group(0) @binding(3) var<storage, read_write> kept: array<atomic<u32>>;
// gather: dense weights [rows, cols]
@group(0) @binding(4) var<storage, read_write> dense: array<u32>;
@group(0) @binding(5) var<storage, read> params: Params;

//!include common/element.wgsl

@compute @workgroup_size(256)
fn bitmask_mask(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    let start = (word / params.words_per_row) * params.cols;
    let first = (word % params.words_per_row) * 32u;
    let end = min(first + 32u, params.cols);
    var bits = 0u;
    for (var col = first; col < end; col++) {
        bits |= select(0u, 1u, magnitude_key(start + col) != 0u) << (col - first);
    }
    mask[word] = bits;
}

@compute @workgroup_size(256)
fn bitmask_scatter(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    let start = (word / params.words_per_row) * params.cols + (word % params.words_per_row) * 32u;
    var bits = mask[word];
    var at = offsets[word];
    while bits != 0u {
        let value = element_bits(start + countTrailingZeros(bits));
        if DTYPE == 0u {
            atomicStore(&kept[at], value);
        } else {
            atomicOr(&kept[at >> 1u], value << ((at & 1u) * 16u));
        }
        bits &= bits - 1u;
        at += 1u;
    }
}

fn gathered(index: u32) -> u32 {
    if index >= params.count {
        return 0u;
    }
    let col = index % params.cols;
    let word = (index / params.cols) * params.words_per_row + col / 32u;
    let bit = 1u << (col % 32u);
    let bits = mask[word];
    if (bits & bit) == 0u {
        return 0u;
    }
    return element_bits(offsets[word] + countOneBits(bits & (bit - 1u)));
}

@compute @workgroup_size(256)
fn bitmask_gather(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    if DTYPE == 0u {
        dense[word] = gathered(word);
    } else {
        dense[word] = gathered(word * 2u) | (gathered(word * 2u + 1u) << 16u);
    }
}

// N:M pruning along rows. Twin: src/cpu/prune_nm.rs.
//!include common/grid.wgsl

struct Params {
    count: u32,
    cols: u32,
    // kept weights of every `block`
    keep: u32,
    block: u32,
    words: u32,
}

// [rows, cols], packed into words
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// the same; apart from its source because two blocks may share a word
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;

//!include common/element.wgsl

// An element stays when fewer than `keep` of its block come before it: larger ones, and equal ones
// of a lower index.
fn kept_bits(index: u32) -> u32 {
    if index >= params.count {
        return 0u;
    }
    let col = index % params.cols;
    let start = index - col % params.block;
    let end = min(start + params.block, index - col + params.cols);
    let own = magnitude_key(index);
    var before = 0u;
    for (var i = start; i < end; i++) {
        let key = magnitude_key(i);
        before += select(0u, 1u, key > own || (key == own && i < index));
    }
    return select(0u, element_bits(index), before < params.keep);
}

@compute @workgroup_size(256)
fn prune_nm(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * 256u + local;
    if word >= params.words {
        return;
    }
    if DTYPE == 0u {
        result[word] = kept_bits(word);
    } else {
        result[word] = kept_bits(word * 2u) | (kept_bits(word * 2u + 1u) << 16u);
    }
}

// Magnitude pruning by a cut, in place. Twin: src/cpu/prune.rs.
//!include common/grid.wgsl
//!include common/float_bits.wgsl

struct Params {
    // vectors of four words
    vectors: u32,
    // keys above it stay
    key: u32,
    // and keys equal to it where the index in this buffer is below
    ties_below: u32,
}

// [ceil(count / (4 * elements_per_word))], four words each
@group(0) @binding(0) var<storage, read_write> weights: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> params: Params;

fn keeps(bits: u32, index: u32) -> bool {
    let key = widen(bits) & MAGNITUDE;
    return key > params.key || (key == params.key && index < params.ties_below);
}

fn cut_word(word: u32, index: u32) -> u32 {
    if DTYPE == 0u {
        return select(0u, word, keeps(word, index));
    }
    let first = word & 0xffffu;
    let second = word >> 16u;
    return select(0u, first, keeps(first, index * 2u))
        | (select(0u, second, keeps(second, index * 2u + 1u)) << 16u);
}

@compute @workgroup_size(256)
fn prune(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Four vectors an invocation, strided by the workgroup, so that neighbours load neighbours.
    let first = linear_workgroup(workgroup, workgroups) * 1024u + local;
    for (var step = 0u; step < 1024u; step += 256u) {
        let at = first + step;
        if at < params.vectors {
            let v = weights[at];
            let index = at * 4u;
            weights[at] = vec4(
                cut_word(v.x, index),
                cut_word(v.y, index + 1u),
                cut_word(v.z, index + 2u),
                cut_word(v.w, index + 3u),
            );
        }
    }
}

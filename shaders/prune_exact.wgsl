// Magnitude pruning to an exact sparsity, without leaving the device: a radix select over the
// magnitude keys, then over the places of those that are equal to the one found, the last place
// first. Twin: src/cpu/prune_exact.rs.
//!include common/grid.wgsl

// Each pass counts one digit of those words whose upper bits are what was found so far. Padding is
// pruned first, being zero, so the host adds it to the rank and no kernel needs to tell it apart.
struct Params {
    // weights of this matrix, with padding
    count: u32,
    // place of the first among those of all matrices
    first: u32,
    // places of all matrices: the word of a place is what is left to `places - 1`
    places: u32,
    shift: u32,
    // digit values less one
    mask: u32,
    // bits above the digit
    upper_shift: u32,
    // 0 = magnitude keys, 1 = places of those with the key that was found
    by_place: u32,
    // weights a workgroup
    chunk: u32,
}

// [count], f32 bits
@group(0) @binding(0) var<storage, read_write> weights: array<u32>;
// [2^11], zero before and after
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>, 2048>;
@group(0) @binding(2) var<storage, read_write> found: Found;
@group(0) @binding(3) var<storage, read> params: Params;

struct Found {
    // number of the wanted word among those with the current prefix, from 1
    rank: u32,
    // of the current word
    prefix: u32,
    // magnitude key of the last weight that is pruned
    key: u32,
    padding: u32,
}

const MAGNITUDE: u32 = 0x7fffffffu;

fn place_word(index: u32) -> u32 {
    return params.places - 1u - (params.first + index);
}

var<workgroup> bins: array<atomic<u32>, 2048>;

@compute @workgroup_size(256)
fn prune_exact_count(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    for (var bin = local; bin <= params.mask; bin += 256u) {
        atomicStore(&bins[bin], 0u);
    }
    workgroupBarrier();
    let start = linear_workgroup(workgroup, workgroups) * params.chunk;
    let end = min(start + params.chunk, params.count);
    for (var index = start + local; index < end; index += 256u) {
        var word = weights[index] & MAGNITUDE;
        var takes_part = true;
        if params.by_place != 0u {
            takes_part = word == found.key;
            word = place_word(index);
        }
        // Words have 31 bits, so a shift by 31 leaves nothing, as the first digit wants it.
        if takes_part && (word >> params.upper_shift) == found.prefix {
            atomicAdd(&bins[(word >> params.shift) & params.mask], 1u);
        }
    }
    workgroupBarrier();
    for (var bin = local; bin <= params.mask; bin += 256u) {
        let some = atomicLoad(&bins[bin]);
        if some != 0u {
            atomicAdd(&counts[bin], some);
        }
    }
}

var<workgroup> sums: array<u32, 256>;

// One workgroup: finds the digit of the wanted word. Each invocation has eight neighbouring bins.
@compute @workgroup_size(256)
fn prune_exact_digit(@builtin(local_invocation_index) local: u32) {
    var own = 0u;
    for (var bin = local * 8u; bin < local * 8u + 8u; bin++) {
        own += atomicLoad(&counts[bin]);
    }
    sums[local] = own;
    let rank = found.rank;
    let prefix = found.prefix;
    workgroupBarrier();
    for (var distance = 1u; distance < 256u; distance = distance << 1u) {
        var before = 0u;
        if local >= distance {
            before = sums[local - distance];
        }
        workgroupBarrier();
        sums[local] += before;
        workgroupBarrier();
    }
    var before = sums[local] - own;
    // The rank lies in the bins of exactly one invocation.
    let mine = before < rank && rank <= sums[local];
    for (var bin = local * 8u; bin < local * 8u + 8u; bin++) {
        let some = atomicExchange(&counts[bin], 0u);
        if mine && before < rank && rank <= before + some {
            found.rank = rank - before;
            found.prefix = (prefix * (params.mask + 1u)) | bin;
            if params.by_place == 0u && params.shift == 0u {
                found.key = found.prefix;
                found.prefix = 0u;
            }
        }
        before += some;
    }
}

@compute @workgroup_size(256)
fn prune_exact(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 256u + local;
    if index >= params.count {
        return;
    }
    let key = weights[index] & MAGNITUDE;
    // Zeros are pruned whatever their place, since padding is among those that were selected.
    let last = key == found.key && (key == 0u || place_word(index) <= found.prefix);
    if key < found.key || last {
        weights[index] = 0u;
    }
}

// Counts of one radix digit of the magnitude keys. Twin: src/cpu/histogram.rs.
//!include common/grid.wgsl

struct Params {
    count: u32,
    shift: u32,
    // digit values less one
    mask: u32,
    // bits above the digit: those keys count whose upper part is `prefix`
    upper_shift: u32,
    prefix: u32,
    // weights a workgroup
    chunk: u32,
}

// [ceil(count / elements_per_word)]
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// [2^bits], zero before
@group(0) @binding(1) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read> params: Params;

//!include common/element.wgsl

var<workgroup> bins: array<atomic<u32>, 2048>;

@compute @workgroup_size(256)
fn histogram(
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
    for (var i = start + local; i < end; i += 256u) {
        let key = magnitude_key(i);
        // A key has 31 bits, so a shift by 31 leaves nothing, as the first digit wants it.
        if (key >> params.upper_shift) == params.prefix {
            atomicAdd(&bins[(key >> params.shift) & params.mask], 1u);
        }
    }
    workgroupBarrier();
    for (var bin = local; bin <= params.mask; bin += 256u) {
        let found = atomicLoad(&bins[bin]);
        if found != 0u {
            atomicAdd(&counts[bin], found);
        }
    }
}

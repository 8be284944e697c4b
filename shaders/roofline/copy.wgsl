// Copy bandwidth: the most that an elementwise kernel can reach.
//!include common/grid.wgsl

// [vectors]
@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
// [vectors]
@group(0) @binding(1) var<storage, read_write> target_: array<vec4<u32>>;
// [1]: vectors
@group(0) @binding(2) var<storage, read> vectors: array<u32>;

@compute @workgroup_size(256)
fn copy(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first = linear_workgroup(workgroup, workgroups) * 1024u + local;
    for (var step = 0u; step < 1024u; step += 256u) {
        if first + step < vectors[0] {
            target_[first + step] = source[first + step];
        }
    }
}

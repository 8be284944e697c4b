// Arithmetic rate: eight independent chains of fused multiply-adds an invocation.
//!include common/grid.wgsl

// [invocations]
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
// [1]: rounds of 16 fused multiply-adds (two vec4 chains, twice)
@group(0) @binding(1) var<storage, read> rounds: array<u32>;

@compute @workgroup_size(256)
fn fma_rate(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 256u + local;
    var a = vec4(f32(local) * 0.25) + vec4(0.1, 0.2, 0.3, 0.4);
    var b = a + vec4(0.5);
    // Contracting maps: the values stay finite however many rounds run.
    let m = vec4(0.999, 0.998, 0.997, 0.996);
    let c = vec4(0.001);
    let count = rounds[0];
    for (var i = 0u; i < count; i++) {
        a = fma(a, m, c);
        b = fma(b, m, c);
        a = fma(a, m, c);
        b = fma(b, m, c);
    }
    let sum = a + b;
    result[index] = sum.x + sum.y + sum.z + sum.w;
}

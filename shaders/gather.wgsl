// Rows of a data set in the order of a batch, as f32. Twin: src/cpu/gather.rs.
//!include common/grid.wgsl

// Rows are padded with zeros to whole words or vectors, an even number of them.
struct Params {
    // of the batch
    rows: u32,
    // where the batch begins in `order`
    first: u32,
    // vectors of four a row
    quads: u32,
}

// [all rows]: row numbers
@group(0) @binding(0) var<storage, read> order: array<u32>;
// [data rows, quads], four bytes a word
@group(0) @binding(1) var<storage, read> bytes: array<u32>;
// [data rows, quads]
@group(0) @binding(2) var<storage, read> floats: array<vec4<f32>>;
// [256]: byte / 255, divided on the host because a device may round a division either way
@group(0) @binding(3) var<storage, read> shares: array<f32>;
// [rows, quads]
@group(0) @binding(4) var<storage, read_write> result: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> params: Params;

// Where result `index` lies in the data.
fn source(index: u32) -> u32 {
    return order[params.first + index / params.quads] * params.quads + index % params.quads;
}

@compute @workgroup_size(256)
fn gather_bytes(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 256u + local;
    if index >= params.rows * params.quads {
        return;
    }
    let word = bytes[source(index)];
    result[index] = vec4(
        shares[word & 0xffu],
        shares[(word >> 8u) & 0xffu],
        shares[(word >> 16u) & 0xffu],
        shares[word >> 24u],
    );
}

@compute @workgroup_size(256)
fn gather_floats(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 256u + local;
    if index >= params.rows * params.quads {
        return;
    }
    result[index] = floats[source(index)];
}

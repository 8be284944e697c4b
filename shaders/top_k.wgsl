// The k largest values of each row. Twin: src/cpu/top_k.rs.
//!include common/grid.wgsl
//!include common/order.wgsl

struct Params {
    rows: u32,
    cols: u32,
    // at most cols
    k: u32,
    // invocations that share a row: a power of two up to 256
    lanes: u32,
}

// Everything is f32 bits: integers compare alike on every device.
// [rows, cols], row-major
@group(0) @binding(0) var<storage, read> values: array<u32>;
// [rows, k], row-major: columns, largest value first
@group(0) @binding(1) var<storage, read_write> indices: array<u32>;
// [rows, k], row-major: their values
@group(0) @binding(2) var<storage, read_write> largest: array<u32>;
@group(0) @binding(3) var<storage, read> params: Params;

var<workgroup> keys: array<u32, 256>;
var<workgroup> columns: array<u32, 256>;

// -0 equals +0, and a NaN of either sign comes first. No key is 0.
fn rank_key(bits: u32) -> u32 {
    let magnitude = bits & 0x7fffffffu;
    let key = order_key(select(bits, 0u, magnitude == 0u));
    return select(key, 0xffffffffu, magnitude > 0x7f800000u);
}

// Each pass finds what comes next after the last one found, by value, then by column.
@compute @workgroup_size(256)
fn top_k(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lanes = params.lanes;
    let row = linear_workgroup(workgroup, workgroups) * (256u / lanes) + local / lanes;
    let lane = local % lanes;
    let leader = local - lane;
    let start = row * params.cols;
    // Invocations beyond the last row take part in the barriers with no columns.
    let cols = select(0u, params.cols, row < params.rows);

    var last_key = 0u;
    var last_column = 0u;
    for (var place = 0u; place < params.k; place += 1u) {
        var key = 0u;
        var column = 0u;
        for (var i = lane; i < cols; i += lanes) {
            let candidate = rank_key(values[start + i]);
            let after = candidate < last_key || (candidate == last_key && i > last_column);
            if candidate > key && (after || place == 0u) {
                key = candidate;
                column = i;
            }
        }
        keys[local] = key;
        columns[local] = column;
        workgroupBarrier();
        for (var half = lanes >> 1u; half > 0u; half = half >> 1u) {
            if lane < half {
                let other = keys[local + half];
                let other_column = columns[local + half];
                let equal = other == keys[local] && other_column < columns[local];
                if other > keys[local] || equal {
                    keys[local] = other;
                    columns[local] = other_column;
                }
            }
            workgroupBarrier();
        }
        last_key = keys[leader];
        last_column = columns[leader];
        if lane == 0u && cols > 0u {
            indices[row * params.k + place] = last_column;
            largest[row * params.k + place] = values[start + last_column];
        }
        // The next pass writes what has just been read.
        workgroupBarrier();
    }
}

// Magnitude statistics of segments. Twin: src/cpu/stats.rs.
//!include common/grid.wgsl
//!include common/order.wgsl

struct Params {
    // weights in the buffer
    count: u32,
    // weights a row; segments do not cross rows
    row_len: u32,
    // weights a segment; the last one of a row may be short
    segment_len: u32,
    segments_per_row: u32,
    segments: u32,
    // invocations that share a segment: a power of two up to 256
    lanes: u32,
}

// Five words a segment: smallest and largest finite value and largest finite magnitude as f32
// bits, non-finite values, zeros.
// [ceil(count / elements_per_word)]
@group(0) @binding(0) var<storage, read> weights: array<u32>;
// [segments, 5]
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;

//!include common/element.wgsl

var<workgroup> smallest: array<u32, 256>;
var<workgroup> largest: array<u32, 256>;
var<workgroup> magnitude: array<u32, 256>;
var<workgroup> non_finite: array<u32, 256>;
var<workgroup> zeros: array<u32, 256>;

@compute @workgroup_size(256)
fn stats(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lanes = params.lanes;
    let segment = linear_workgroup(workgroup, workgroups) * (256u / lanes) + local / lanes;
    let lane = local % lanes;

    var low = 0xffffffffu;
    var high = 0u;
    var top = 0u;
    var odd = 0u;
    var none = 0u;
    if segment < params.segments {
        let row = segment / params.segments_per_row;
        let offset = (segment % params.segments_per_row) * params.segment_len;
        let start = row * params.row_len + offset;
        let end = min(start + min(params.segment_len, params.row_len - offset), params.count);
        for (var i = start + lane; i < end; i += lanes) {
            let bits = element(i);
            let key = bits & MAGNITUDE;
            if key >= INFINITY {
                odd += 1u;
            } else {
                let order = order_key(bits);
                low = min(low, order);
                high = max(high, order);
                top = max(top, key);
                none += select(0u, 1u, key == 0u);
            }
        }
    }
    smallest[local] = low;
    largest[local] = high;
    magnitude[local] = top;
    non_finite[local] = odd;
    zeros[local] = none;
    workgroupBarrier();
    for (var half = lanes >> 1u; half > 0u; half = half >> 1u) {
        if lane < half {
            smallest[local] = min(smallest[local], smallest[local + half]);
            largest[local] = max(largest[local], largest[local + half]);
            magnitude[local] = max(magnitude[local], magnitude[local + half]);
            non_finite[local] += non_finite[local + half];
            zeros[local] += zeros[local + half];
        }
        workgroupBarrier();
    }
    if lane == 0u && segment < params.segments {
        let any = smallest[local] <= largest[local];
        result[segment * 5u] = select(0u, from_order_key(smallest[local]), any);
        result[segment * 5u + 1u] = select(0u, from_order_key(largest[local]), any);
        result[segment * 5u + 2u] = magnitude[local];
        result[segment * 5u + 3u] = non_finite[local];
        result[segment * 5u + 4u] = zeros[local];
    }
}

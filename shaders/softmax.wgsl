// Softmax and its logarithm along rows. Twin: src/cpu/softmax.rs.
//!include common/grid.wgsl
//!include common/order.wgsl

struct Params {
    rows: u32,
    cols: u32,
    // invocations that share a row: a power of two up to 256
    lanes: u32,
    // 2 / temperature
    factor: f32,
    // the least half difference whose product with the factor f32 holds
    lowest: f32,
}

// f32 bits, because a masked logit is -inf, and devices may assume that floats are finite.
// [rows, cols], row-major
@group(0) @binding(0) var<storage, read> logits: array<u32>;
// [rows, cols], row-major
@group(0) @binding(1) var<storage, read_write> result: array<u32>;
@group(0) @binding(2) var<storage, read> params: Params;

const MASKED: u32 = 0xff800000u;
const NAN: u32 = 0x7fc00000u;
// exp gives 0 below this anyway; far below, a device might overflow on its way.
const LEAST_EXPONENT: f32 = -128.0;

var<workgroup> tops: array<u32, 256>;
var<workgroup> sums: array<f32, 256>;

struct Row {
    // this lane's first element and the row's end in the buffers
    first: u32,
    end: u32,
    // largest logit
    top: f32,
    // sum of exp over the row
    sum: f32,
    // whether the largest logit is finite: no NaN, no +inf, not all masked
    finite: bool,
}

// A NaN of either sign comes last, so that the largest key of a row shows it.
fn logit_key(bits: u32) -> u32 {
    return select(order_key(bits), 0xffffffffu, (bits & 0x7fffffffu) > 0x7f800000u);
}

// (logit - top) / temperature. Halves, because the difference of two floats may overflow.
fn exponent(bits: u32, top: f32) -> f32 {
    let half_difference = bitcast<f32>(bits) * 0.5 - top * 0.5;
    return max(half_difference, params.lowest) * params.factor;
}

fn power(bits: u32, top: f32) -> f32 {
    if bits == MASKED {
        return 0.0;
    }
    return exp(max(exponent(bits, top), LEAST_EXPONENT));
}

// Every invocation must call this: it has barriers.
fn read_row(workgroup: u32, local: u32) -> Row {
    let lanes = params.lanes;
    let lane = local % lanes;
    let leader = local - lane;
    let index = workgroup * (256u / lanes) + local / lanes;
    var row = Row(0u, 0u, 0.0, 0.0, false);
    if index < params.rows {
        row.first = index * params.cols + lane;
        row.end = (index + 1u) * params.cols;
    }

    var top = 0u;
    for (var i = row.first; i < row.end; i += lanes) {
        top = max(top, logit_key(logits[i]));
    }
    tops[local] = top;
    workgroupBarrier();
    for (var half = lanes >> 1u; half > 0u; half = half >> 1u) {
        if lane < half {
            tops[local] = max(tops[local], tops[local + half]);
        }
        workgroupBarrier();
    }
    let top_bits = from_order_key(tops[leader]);
    row.finite = (top_bits & 0x7fffffffu) < 0x7f800000u;
    if row.finite {
        row.top = bitcast<f32>(top_bits);
    }

    var sum = 0.0;
    for (var i = row.first; i < row.end; i += lanes) {
        sum += power(logits[i], row.top);
    }
    sums[local] = sum;
    workgroupBarrier();
    for (var half = lanes >> 1u; half > 0u; half = half >> 1u) {
        if lane < half {
            sums[local] += sums[local + half];
        }
        workgroupBarrier();
    }
    row.sum = sums[leader];
    return row;
}

@compute @workgroup_size(256)
fn softmax(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = read_row(linear_workgroup(workgroup, workgroups), local);
    for (var i = row.first; i < row.end; i += params.lanes) {
        let share = power(logits[i], row.top) / row.sum;
        result[i] = select(NAN, bitcast<u32>(share), row.finite);
    }
}

@compute @workgroup_size(256)
fn log_softmax(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = read_row(linear_workgroup(workgroup, workgroups), local);
    let log_sum = log(row.sum);
    for (var i = row.first; i < row.end; i += params.lanes) {
        let bits = logits[i];
        let share = bitcast<u32>(exponent(bits, row.top) - log_sum);
        result[i] = select(NAN, select(share, MASKED, bits == MASKED), row.finite);
    }
}

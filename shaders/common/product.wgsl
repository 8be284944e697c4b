//!include common/grid.wgsl
//!include common/activation.wgsl

// act(X · Wᵀ + b). The file that includes this says how weights are read: weights8 gives eight of
// a row, from input 8·k8 on. Inputs are padded with zeros to a multiple of eight, so what
// weights8 gives beyond the row does not matter as long as it is finite.

struct Eight {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn times(x: Eight, w: Eight) -> f32 {
    return dot(x.low, w.low) + dot(x.high, w.high);
}

fn inputs8(row: u32, k8: u32) -> Eight {
    let at = (min(row, params.batch - 1u) * params.eights + k8) * 2u;
    return Eight(inputs[at], inputs[at + 1u]);
}

// Row of the weights that is there; what is computed for others is not stored.
fn some_row(output: u32) -> u32 {
    return min(output, params.outputs - 1u);
}

// Stores the result for an output of this chunk; columns of the padding become zero.
fn store(row: u32, output: u32, sum: f32) {
    let column = params.first_output + output;
    if row >= params.batch || output >= params.padded_outputs {
        return;
    }
    var value = 0.0;
    if output < params.outputs {
        value = activate(params.activation, bitcast<f32>(params.slope), sum + bias[column]);
    }
    results[row * params.stride + column] = value;
}

fn store4(row: u32, output: u32, sums: vec4<f32>) {
    store(row, output, sums.x);
    store(row, output + 1u, sums.y);
    store(row, output + 2u, sums.z);
    store(row, output + 3u, sums.w);
}

// Without workgroup memory: 16 invocations, each with 8 rows of X and 4 outputs. All invocations
// of a workgroup have the same rows, so that a CPU's vector units load them once.
fn direct(workgroup: u32, local: u32) {
    let columns = (params.padded_outputs + 63u) / 64u;
    let row = (workgroup / columns) * 8u;
    let output = (workgroup % columns) * 64u + local * 4u;
    if row >= params.batch {
        return;
    }
    let a = some_row(output);
    let b = some_row(output + 1u);
    let c = some_row(output + 2u);
    let d = some_row(output + 3u);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    for (var k = 0u; k < params.eights; k++) {
        let wa = weights8(a, k);
        let wb = weights8(b, k);
        let wc = weights8(c, k);
        let wd = weights8(d, k);
        let x0 = inputs8(row, k);
        s0 += vec4(times(x0, wa), times(x0, wb), times(x0, wc), times(x0, wd));
        let x1 = inputs8(row + 1u, k);
        s1 += vec4(times(x1, wa), times(x1, wb), times(x1, wc), times(x1, wd));
        let x2 = inputs8(row + 2u, k);
        s2 += vec4(times(x2, wa), times(x2, wb), times(x2, wc), times(x2, wd));
        let x3 = inputs8(row + 3u, k);
        s3 += vec4(times(x3, wa), times(x3, wb), times(x3, wc), times(x3, wd));
        let x4 = inputs8(row + 4u, k);
        s4 += vec4(times(x4, wa), times(x4, wb), times(x4, wc), times(x4, wd));
        let x5 = inputs8(row + 5u, k);
        s5 += vec4(times(x5, wa), times(x5, wb), times(x5, wc), times(x5, wd));
        let x6 = inputs8(row + 6u, k);
        s6 += vec4(times(x6, wa), times(x6, wb), times(x6, wc), times(x6, wd));
        let x7 = inputs8(row + 7u, k);
        s7 += vec4(times(x7, wa), times(x7, wb), times(x7, wc), times(x7, wd));
    }
    store4(row, output, s0);
    store4(row + 1u, output, s1);
    store4(row + 2u, output, s2);
    store4(row + 3u, output, s3);
    store4(row + 4u, output, s4);
    store4(row + 5u, output, s5);
    store4(row + 6u, output, s6);
    store4(row + 7u, output, s7);
}

// [16 inputs][64 rows], of X and of the weights: 8 KiB together. Scalars, because a device may
// write a component of a vector by writing the whole vector.
var<workgroup> tile_x: array<f32, 1024>;
var<workgroup> tile_w: array<f32, 1024>;

fn put(is_weights: bool, k: u32, row: u32, value: f32) {
    if is_weights {
        tile_w[k * 64u + row] = value;
    } else {
        tile_x[k * 64u + row] = value;
    }
}

fn quadruple_x(at: u32) -> vec4<f32> {
    return vec4(tile_x[at], tile_x[at + 1u], tile_x[at + 2u], tile_x[at + 3u]);
}

fn quadruple_w(at: u32) -> vec4<f32> {
    return vec4(tile_w[at], tile_w[at + 1u], tile_w[at + 2u], tile_w[at + 3u]);
}

// A 64 × 64 tile of the result: 256 invocations with 4 × 4 each, 16 inputs a round.
fn tiled(workgroup: u32, local: u32) {
    let columns = (params.padded_outputs + 63u) / 64u;
    let first_row = (workgroup / columns) * 64u;
    let first_output = (workgroup % columns) * 64u;
    let ty = local / 16u;
    let tx = local % 16u;
    // Half of the invocations fetch X, the others the weights; two of each a row.
    let is_weights = local >= 128u;
    let fetched = (local % 128u) / 2u;
    let half = local % 2u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var k = 0u; k < params.eights; k += 2u) {
        var eight = Eight();
        if k + half < params.eights {
            if is_weights {
                eight = weights8(some_row(first_output + fetched), k + half);
            } else {
                eight = inputs8(first_row + fetched, k + half);
            }
        }
        put(is_weights, half * 8u, fetched, eight.low.x);
        put(is_weights, half * 8u + 1u, fetched, eight.low.y);
        put(is_weights, half * 8u + 2u, fetched, eight.low.z);
        put(is_weights, half * 8u + 3u, fetched, eight.low.w);
        put(is_weights, half * 8u + 4u, fetched, eight.high.x);
        put(is_weights, half * 8u + 5u, fetched, eight.high.y);
        put(is_weights, half * 8u + 6u, fetched, eight.high.z);
        put(is_weights, half * 8u + 7u, fetched, eight.high.w);
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let x = quadruple_x(i * 64u + ty * 4u);
            let w = quadruple_w(i * 64u + tx * 4u);
            s0 += x.x * w;
            s1 += x.y * w;
            s2 += x.z * w;
            s3 += x.w * w;
        }
        workgroupBarrier();
    }
    let row = first_row + ty * 4u;
    let output = first_output + tx * 4u;
    store4(row, output, s0);
    store4(row + 1u, output, s1);
    store4(row + 2u, output, s2);
    store4(row + 3u, output, s3);
}

var<workgroup> shares: array<vec4<f32>, 64>;

// For few rows of X: 64 invocations share the inputs of one output, four rows of X at once.
fn vector(workgroup: u32, local: u32) {
    let row = (workgroup / params.padded_outputs) * 4u;
    let output = workgroup % params.padded_outputs;
    var sums = vec4<f32>();
    for (var k = local; k < params.eights; k += 64u) {
        let w = weights8(some_row(output), k);
        sums += vec4(
            times(inputs8(row, k), w),
            times(inputs8(row + 1u, k), w),
            times(inputs8(row + 2u, k), w),
            times(inputs8(row + 3u, k), w),
        );
    }
    shares[local] = sums;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half = half >> 1u) {
        if local < half {
            shares[local] += shares[local + half];
        }
        workgroupBarrier();
    }
    if local < 4u {
        store(row + local, output, shares[0][local]);
    }
}

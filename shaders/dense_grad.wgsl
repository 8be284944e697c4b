// Gradients of a dense layer Z = X · Wᵀ + b, from dZ: dW = dZᵀ · X with db = column sums of dZ, and
// dX = dZ · W. Twin: src/cpu/dense_grad.rs.
//!include common/grid.wgsl

// Rows are padded with zeros to whole vectors of four, an even number of them.
struct Params {
    batch: u32,
    outputs: u32,
    // vectors of a row of dZ
    output_quads: u32,
    // vectors of a row of X, W, dW and dX
    input_quads: u32,
    // rows of the batch that one split sums up; the whole batch where there is one split
    split_rows: u32,
}

// dZ [batch, output_quads]; sum: parts of db [splits, output_quads]
@group(0) @binding(0) var<storage, read> gradient: array<vec4<f32>>;
// weights: X [batch, input_quads]; inputs: W [outputs, input_quads]; sum: parts
// of dW [splits, outputs, input_quads]
@group(0) @binding(1) var<storage, read> factor: array<vec4<f32>>;
// weights: dW [splits, outputs, input_quads]; inputs: dX [batch, input_quads]; sum: dW
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;
// weights: db [splits, output_quads]; sum: db
@group(0) @binding(3) var<storage, read_write> bias_gradient: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> params: Params;

// Where a workgroup of the weights' gradient is: tiles of so many outputs and vectors of inputs.
struct Tile {
    output: u32,
    quad: u32,
    split: u32,
    // rows of the batch
    start: u32,
    end: u32,
}

fn tile_of(workgroup: u32, outputs: u32, quads: u32) -> Tile {
    let across = (params.input_quads + quads - 1u) / quads;
    let down = (params.outputs + outputs - 1u) / outputs;
    let split = workgroup / (across * down);
    let start = split * params.split_rows;
    let end = min(start + params.split_rows, params.batch);
    return Tile(((workgroup / across) % down) * outputs, (workgroup % across) * quads, split, start, end);
}

fn store_weights(split: u32, output: u32, quad: u32, sum: vec4<f32>) {
    if output < params.outputs && quad < params.input_quads {
        result[(split * params.outputs + output) * params.input_quads + quad] = sum;
    }
}

// Without workgroup memory: 16 invocations, each with 8 outputs and 2 vectors of inputs. All
// invocations of a workgroup have the same outputs, so that a CPU's vector units load dZ once.
@compute @workgroup_size(16)
fn dense_grad_weights_direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_of(linear_workgroup(workgroup, workgroups), 8u, 32u);
    // The fold of a dispatch may start workgroups beyond the last tile.
    if tile.start >= tile.end {
        return;
    }
    let last = params.input_quads - 1u;
    let left = min(tile.quad + local, last);
    let right = min(tile.quad + 16u + local, last);
    let output_quad = tile.output / 4u;
    var low = vec4<f32>();
    var high = vec4<f32>();
    var a0 = vec4<f32>();
    var a1 = vec4<f32>();
    var a2 = vec4<f32>();
    var a3 = vec4<f32>();
    var a4 = vec4<f32>();
    var a5 = vec4<f32>();
    var a6 = vec4<f32>();
    var a7 = vec4<f32>();
    var b0 = vec4<f32>();
    var b1 = vec4<f32>();
    var b2 = vec4<f32>();
    var b3 = vec4<f32>();
    var b4 = vec4<f32>();
    var b5 = vec4<f32>();
    var b6 = vec4<f32>();
    var b7 = vec4<f32>();
    for (var row = tile.start; row < tile.end; row++) {
        let c = gradient[row * params.output_quads + output_quad];
        let d = gradient[row * params.output_quads + output_quad + 1u];
        let x = factor[row * params.input_quads + left];
        let y = factor[row * params.input_quads + right];
        low += c;
        high += d;
        a0 += c.x * x;
        a1 += c.y * x;
        a2 += c.z * x;
        a3 += c.w * x;
        a4 += d.x * x;
        a5 += d.y * x;
        a6 += d.z * x;
        a7 += d.w * x;
        b0 += c.x * y;
        b1 += c.y * y;
        b2 += c.z * y;
        b3 += c.w * y;
        b4 += d.x * y;
        b5 += d.y * y;
        b6 += d.z * y;
        b7 += d.w * y;
    }
    store_pair(tile, 0u, local, a0, b0);
    store_pair(tile, 1u, local, a1, b1);
    store_pair(tile, 2u, local, a2, b2);
    store_pair(tile, 3u, local, a3, b3);
    store_pair(tile, 4u, local, a4, b4);
    store_pair(tile, 5u, local, a5, b5);
    store_pair(tile, 6u, local, a6, b6);
    store_pair(tile, 7u, local, a7, b7);
    if tile.quad == 0u && local == 0u {
        let at = tile.split * params.output_quads + output_quad;
        bias_gradient[at] = low;
        bias_gradient[at + 1u] = high;
    }
}

fn store_pair(tile: Tile, output: u32, local: u32, left: vec4<f32>, right: vec4<f32>) {
    store_weights(tile.split, tile.output + output, tile.quad + local, left);
    store_weights(tile.split, tile.output + output, tile.quad + 16u + local, right);
}

// Likewise: 16 invocations, each with 8 rows of the batch and one vector of inputs.
@compute @workgroup_size(16)
fn dense_grad_inputs_direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups);
    let across = (params.input_quads + 15u) / 16u;
    let row = (index / across) * 8u;
    let quad = (index % across) * 16u + local;
    if row >= params.batch || quad >= params.input_quads {
        return;
    }
    let last = params.batch - 1u;
    let r0 = row * params.output_quads;
    let r1 = min(row + 1u, last) * params.output_quads;
    let r2 = min(row + 2u, last) * params.output_quads;
    let r3 = min(row + 3u, last) * params.output_quads;
    let r4 = min(row + 4u, last) * params.output_quads;
    let r5 = min(row + 5u, last) * params.output_quads;
    let r6 = min(row + 6u, last) * params.output_quads;
    let r7 = min(row + 7u, last) * params.output_quads;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    var s4 = vec4<f32>();
    var s5 = vec4<f32>();
    var s6 = vec4<f32>();
    var s7 = vec4<f32>();
    let quads = (params.outputs + 3u) / 4u;
    for (var k = 0u; k < quads; k++) {
        // Beyond the last output dZ is zero, and so is what any row of W adds.
        let w0 = weights_at(k * 4u, quad);
        let w1 = weights_at(k * 4u + 1u, quad);
        let w2 = weights_at(k * 4u + 2u, quad);
        let w3 = weights_at(k * 4u + 3u, quad);
        let w = mat4x4<f32>(w0, w1, w2, w3);
        s0 += w * gradient[r0 + k];
        s1 += w * gradient[r1 + k];
        s2 += w * gradient[r2 + k];
        s3 += w * gradient[r3 + k];
        s4 += w * gradient[r4 + k];
        s5 += w * gradient[r5 + k];
        s6 += w * gradient[r6 + k];
        s7 += w * gradient[r7 + k];
    }
    store_inputs(row, quad, s0);
    store_inputs(row + 1u, quad, s1);
    store_inputs(row + 2u, quad, s2);
    store_inputs(row + 3u, quad, s3);
    store_inputs(row + 4u, quad, s4);
    store_inputs(row + 5u, quad, s5);
    store_inputs(row + 6u, quad, s6);
    store_inputs(row + 7u, quad, s7);
}

fn weights_at(output: u32, quad: u32) -> vec4<f32> {
    return factor[min(output, params.outputs - 1u) * params.input_quads + quad];
}

fn store_inputs(row: u32, quad: u32, sum: vec4<f32>) {
    if row < params.batch && quad < params.input_quads {
        result[row * params.input_quads + quad] = sum;
    }
}

// [16 terms][64 rows of the result] and [16 terms][64 columns]: 8 KiB together. Scalars, because a
// device may write a component of a vector by writing the whole vector.
var<workgroup> tile_rows: array<f32, 1024>;
var<workgroup> tile_columns: array<f32, 1024>;

fn row_quad(at: u32) -> vec4<f32> {
    return vec4(tile_rows[at], tile_rows[at + 1u], tile_rows[at + 2u], tile_rows[at + 3u]);
}

fn column_quad(at: u32) -> vec4<f32> {
    return vec4(tile_columns[at], tile_columns[at + 1u], tile_columns[at + 2u], tile_columns[at + 3u]);
}

fn put_columns(at: u32, value: vec4<f32>) {
    tile_columns[at] = value.x;
    tile_columns[at + 1u] = value.y;
    tile_columns[at + 2u] = value.z;
    tile_columns[at + 3u] = value.w;
}

// A 64 × 64 tile of dW: 256 invocations with 4 × 4 each, 16 rows of the batch a round.
@compute @workgroup_size(256)
fn dense_grad_weights(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tile = tile_of(linear_workgroup(workgroup, workgroups), 64u, 16u);
    let ty = local / 16u;
    let tx = local % 16u;
    let output_quad = tile.output / 4u + tx;
    let input_quad = tile.quad + tx;
    var sums = vec4<f32>();
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var first = tile.start; first < tile.end; first += 16u) {
        let row = first + ty;
        var rows = vec4<f32>();
        var columns = vec4<f32>();
        if row < tile.end && output_quad < params.output_quads {
            rows = gradient[row * params.output_quads + output_quad];
        }
        if row < tile.end && input_quad < params.input_quads {
            columns = factor[row * params.input_quads + input_quad];
        }
        let at = ty * 64u + tx * 4u;
        tile_rows[at] = rows.x;
        tile_rows[at + 1u] = rows.y;
        tile_rows[at + 2u] = rows.z;
        tile_rows[at + 3u] = rows.w;
        put_columns(at, columns);
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let d = row_quad(i * 64u + ty * 4u);
            let x = column_quad(i * 64u + tx * 4u);
            sums += d;
            s0 += d.x * x;
            s1 += d.y * x;
            s2 += d.z * x;
            s3 += d.w * x;
        }
        workgroupBarrier();
    }
    if tile.start >= tile.end {
        return;
    }
    let output = tile.output + ty * 4u;
    store_weights(tile.split, output, input_quad, s0);
    store_weights(tile.split, output + 1u, input_quad, s1);
    store_weights(tile.split, output + 2u, input_quad, s2);
    store_weights(tile.split, output + 3u, input_quad, s3);
    if tile.quad == 0u && tx == 0u && output / 4u < params.output_quads {
        bias_gradient[tile.split * params.output_quads + output / 4u] = sums;
    }
}

// A 64 × 64 tile of dX: 256 invocations with 4 × 4 each, 16 outputs a round.
@compute @workgroup_size(256)
fn dense_grad_inputs(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups);
    let across = (params.input_quads + 15u) / 16u;
    let first_row = (index / across) * 64u;
    let first_quad = (index % across) * 16u;
    let ty = local / 16u;
    let tx = local % 16u;
    // Each fetches four outputs of a row of dZ and four inputs of a row of W.
    let fetched_row = first_row + local / 4u;
    let fetched_quad = local % 4u;
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var first = 0u; first < params.outputs; first += 16u) {
        var rows = vec4<f32>();
        var columns = vec4<f32>();
        let k = first / 4u + fetched_quad;
        if fetched_row < params.batch && k < params.output_quads {
            rows = gradient[fetched_row * params.output_quads + k];
        }
        if first + ty < params.outputs && first_quad + tx < params.input_quads {
            columns = factor[(first + ty) * params.input_quads + first_quad + tx];
        }
        let at = fetched_quad * 256u + local / 4u;
        tile_rows[at] = rows.x;
        tile_rows[at + 64u] = rows.y;
        tile_rows[at + 128u] = rows.z;
        tile_rows[at + 192u] = rows.w;
        put_columns(ty * 64u + tx * 4u, columns);
        workgroupBarrier();
        for (var i = 0u; i < 16u; i++) {
            let d = row_quad(i * 64u + ty * 4u);
            let w = column_quad(i * 64u + tx * 4u);
            s0 += d.x * w;
            s1 += d.y * w;
            s2 += d.z * w;
            s3 += d.w * w;
        }
        workgroupBarrier();
    }
    let row = first_row + ty * 4u;
    store_inputs(row, first_quad + tx, s0);
    store_inputs(row + 1u, first_quad + tx, s1);
    store_inputs(row + 2u, first_quad + tx, s2);
    store_inputs(row + 3u, first_quad + tx, s3);
}

// dW and db as the sums of their parts, which the splits of the batch gave.
@compute @workgroup_size(256)
fn dense_grad_sum(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 256u + local;
    let splits = (params.batch + params.split_rows - 1u) / params.split_rows;
    let vectors = params.outputs * params.input_quads;
    var sum = vec4<f32>();
    if index < vectors {
        for (var split = 0u; split < splits; split++) {
            sum += factor[split * vectors + index];
        }
        result[index] = sum;
    } else if index < vectors + params.output_quads {
        for (var split = 0u; split < splits; split++) {
            sum += gradient[split * params.output_quads + index - vectors];
        }
        bias_gradient[index - vectors] = sum;
    }
}

//!include common/grid.wgsl
//!include common/activation.wgsl

// act(X · Wᵀ + b). The file that includes this says how weights are read, by quads: four outputs,
// whose words for the same inputs lie side by side. It has
//   FOURS                                 fours of inputs in a unit, the least that it decodes
//   start(quad) -> u32                    where the words of a quad begin
//   unit(start, at) -> Unit               the words of unit `at` of a quad
//   raw(unit, quad, four, part) -> Four   the weights of part `part` of a unit, which is `four` of
//                                         the row, but for a factor
//   factor(quad, at) -> vec4<f32>         that factor, an output each
// Inputs are padded with zeros, so what weights lie beyond a row does not matter as long as they
// are finite.

// Weights of four inputs, each of four outputs.
struct Four {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

fn transposed(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Four {
    return Four(
        vec4(a.x, b.x, c.x, d.x),
        vec4(a.y, b.y, c.y, d.y),
        vec4(a.z, b.z, c.z, d.z),
        vec4(a.w, b.w, c.w, d.w),
    );
}

fn times(x: vec4<f32>, w: Four) -> vec4<f32> {
    return x.x * w.a + x.y * w.b + x.z * w.c + x.w * w.d;
}

// Where a row of X begins; one that is there: what is computed for others is not stored.
fn row_start(row: u32) -> u32 {
    return min(row, params.batch - 1u) * params.fours;
}

// A quad that is there.
fn some_quad(quad: u32) -> u32 {
    return min(quad, (params.outputs + 3u) / 4u - 1u);
}

fn scaled(w: Four, s: vec4<f32>) -> Four {
    return Four(w.a * s, w.b * s, w.c * s, w.d * s);
}

fn weights4(quad: u32, start: u32, four: u32) -> Four {
    let at = four / FOURS;
    return scaled(raw(unit(start, at), quad, four, four % FOURS), factor(quad, at));
}

// Stores results for four outputs of this chunk; columns of the padding become zero. Sums of a
// part of the inputs are stored as they are, [splits, batch, padded_outputs].
fn store4(split: u32, row: u32, output: u32, sums: vec4<f32>) {
    if row >= params.batch {
        return;
    }
    let end = min(output + 4u, params.padded_outputs);
    for (var o = output; o < end; o++) {
        let sum = sums[o - output];
        if params.splits > 1u {
            results[(split * params.batch + row) * params.padded_outputs + o] = sum;
        } else {
            finish(row, o, sum);
        }
    }
}

fn finish(row: u32, output: u32, sum: f32) {
    let column = params.first_output + output;
    var value = 0.0;
    if output < params.outputs {
        value = activate(params.activation, bitcast<f32>(params.slope), sum + bias[column]);
    }
    results[row * params.stride + column] = value;
}

// Without workgroup memory: 16 invocations, each with ROWS rows of X and 8 outputs. LANES of them
// lie along the outputs; where all do, a CPU's vector units load X once for all of them.
override LANES: u32 = 16u;
// 8 or 1
override ROWS: u32 = 8u;

struct Pair {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn more(sums: Pair, x: vec4<f32>, low: Four, high: Four) -> Pair {
    return Pair(sums.low + times(x, low), sums.high + times(x, high));
}

fn direct(workgroup: u32, local: u32) {
    let across = LANES * 8u;
    let columns = (params.padded_outputs + across - 1u) / across;
    let band = workgroup / columns * (16u / LANES) + select(local / LANES, 0u, LANES == 16u);
    let row = band * ROWS;
    let output = (workgroup % columns * LANES + local % LANES) * 8u;
    let low_quad = some_quad(output / 4u);
    let high_quad = some_quad(output / 4u + 1u);
    let low_start = start(low_quad);
    let high_start = start(high_quad);
    let r0 = row_start(row);
    let r1 = row_start(row + 1u);
    let r2 = row_start(row + 2u);
    let r3 = row_start(row + 3u);
    let r4 = row_start(row + 4u);
    let r5 = row_start(row + 5u);
    let r6 = row_start(row + 6u);
    let r7 = row_start(row + 7u);
    var s0 = Pair();
    var s1 = Pair();
    var s2 = Pair();
    var s3 = Pair();
    var s4 = Pair();
    var s5 = Pair();
    var s6 = Pair();
    var s7 = Pair();
    for (var four = 0u; four < params.fours; four++) {
        let low = weights4(low_quad, low_start, four);
        let high = weights4(high_quad, high_start, four);
        s0 = more(s0, inputs[r0 + four], low, high);
        if ROWS > 1u {
            s1 = more(s1, inputs[r1 + four], low, high);
            s2 = more(s2, inputs[r2 + four], low, high);
            s3 = more(s3, inputs[r3 + four], low, high);
            s4 = more(s4, inputs[r4 + four], low, high);
            s5 = more(s5, inputs[r5 + four], low, high);
            s6 = more(s6, inputs[r6 + four], low, high);
            s7 = more(s7, inputs[r7 + four], low, high);
        }
    }
    var sums = array<Pair, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
    // A bound that compilers do not know: the activations need not be there eight times.
    let end = min(row + ROWS, params.batch);
    for (var i = row; i < end; i++) {
        store4(0u, i, output, sums[i - row].low);
        store4(0u, i, output + 4u, sums[i - row].high);
    }
}

// A tile of TILE rows and TILE outputs in workgroup memory, SIDE × SIDE an invocation, DEPTH
// inputs a round.
override TILE: u32 = 64u;
// 4 or 8
override SIDE: u32 = 8u;
// a multiple of 4 · FOURS
override DEPTH: u32 = 16u;
override THREADS: u32 = (TILE / SIDE) * (TILE / SIDE);
override TILE_VECTORS: u32 = DEPTH * TILE / 4u;

// [DEPTH inputs][TILE / 4 quads of rows], of X and of the weights. Whole vectors are written,
// because a device may write a component by writing the whole vector.
var<workgroup> tile_x: array<vec4<f32>, TILE_VECTORS>;
var<workgroup> tile_w: array<vec4<f32>, TILE_VECTORS>;

struct Block {
    a: vec4<f32>,
    b: vec4<f32>,
    c: vec4<f32>,
    d: vec4<f32>,
}

fn outer(sums: Block, x: vec4<f32>, w: vec4<f32>) -> Block {
    return Block(sums.a + x.x * w, sums.b + x.y * w, sums.c + x.z * w, sums.d + x.w * w);
}

fn put_x(at: u32, four: Four) {
    tile_x[at] = four.a;
    tile_x[at + TILE / 4u] = four.b;
    tile_x[at + TILE / 2u] = four.c;
    tile_x[at + TILE / 4u * 3u] = four.d;
}

fn put_w(at: u32, four: Four) {
    tile_w[at] = four.a;
    tile_w[at + TILE / 4u] = four.b;
    tile_w[at + TILE / 2u] = four.c;
    tile_w[at + TILE / 4u * 3u] = four.d;
}

fn tiled(workgroup: u32, local: u32) {
    let quads = TILE / 4u;
    let columns = (params.padded_outputs + TILE - 1u) / TILE;
    let bands = (params.batch + TILE - 1u) / TILE;
    // Beyond the last split nothing is computed and nothing stored.
    let split = workgroup / (columns * bands);
    let first_row = workgroup / columns % bands * TILE;
    let first_quad = workgroup % columns * quads;
    let begin = split * params.split_fours;
    let end = select(min(begin + params.split_fours, params.fours), 0u, split >= params.splits);
    let ty = local / (TILE / SIDE);
    let tx = local % (TILE / SIDE);
    var s00 = Block();
    var s01 = Block();
    var s10 = Block();
    var s11 = Block();
    for (var round = begin; round < end; round += DEPTH / 4u) {
        // Neighbours fetch what follows in a row.
        for (var i = local; i < quads * (DEPTH / 4u); i += THREADS) {
            let four = round + i % (DEPTH / 4u);
            let row = first_row + i / (DEPTH / 4u) * 4u;
            var x = Four();
            if four < end {
                x = transposed(
                    inputs[row_start(row) + four],
                    inputs[row_start(row + 1u) + four],
                    inputs[row_start(row + 2u) + four],
                    inputs[row_start(row + 3u) + four],
                );
            }
            put_x(i % (DEPTH / 4u) * TILE + i / (DEPTH / 4u), x);
        }
        let units = DEPTH / 4u / FOURS;
        for (var i = local; i < quads * units; i += THREADS) {
            let quad = some_quad(first_quad + i / units);
            let at = round / FOURS + i % units;
            let words = unit(start(quad), min(at, params.units - 1u));
            let s = factor(quad, min(at, params.units - 1u));
            for (var part = 0u; part < FOURS; part++) {
                let four = at * FOURS + part;
                var w = Four();
                if four < end {
                    w = raw(words, quad, four, part);
                }
                let to = (i % units * FOURS + part) * TILE + i / units;
                put_w(to, scaled(w, s));
            }
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let x0 = tile_x[i * quads + ty];
            let w0 = tile_w[i * quads + tx];
            s00 = outer(s00, x0, w0);
            if SIDE == 8u {
                let x1 = tile_x[i * quads + ty + quads / 2u];
                let w1 = tile_w[i * quads + tx + quads / 2u];
                s01 = outer(s01, x0, w1);
                s10 = outer(s10, x1, w0);
                s11 = outer(s11, x1, w1);
            }
        }
        workgroupBarrier();
    }
    if split >= params.splits {
        return;
    }
    var sums = array<Block, 4>(s00, s01, s10, s11);
    for (var i = 0u; i < (SIDE / 4u) * (SIDE / 4u); i++) {
        let row = first_row + (ty + i / 2u * (quads / 2u)) * 4u;
        let output = (first_quad + tx + i % 2u * (quads / 2u)) * 4u;
        store4(split, row, output, sums[i].a);
        store4(split, row + 1u, output, sums[i].b);
        store4(split, row + 2u, output, sums[i].c);
        store4(split, row + 3u, output, sums[i].d);
    }
}

// For few rows of X: SHARE of 64 invocations share the inputs of a quad, for VECTORS rows at once.
override SHARE: u32 = 64u;
// 4 or 1
override VECTORS: u32 = 4u;

override SHARES: u32 = 64u * VECTORS;

var<workgroup> shares: array<vec4<f32>, SHARES>;

fn vector(workgroup: u32, local: u32) {
    let lane = local % SHARE;
    let quads = (params.padded_outputs + 3u) / 4u;
    let groups = (quads + 64u / SHARE - 1u) / (64u / SHARE);
    let row = workgroup / groups * VECTORS;
    let quad = workgroup % groups * (64u / SHARE) + local / SHARE;
    let there = some_quad(quad);
    let words_start = start(there);
    let r0 = row_start(row);
    let r1 = row_start(row + 1u);
    let r2 = row_start(row + 2u);
    let r3 = row_start(row + 3u);
    var s0 = vec4<f32>();
    var s1 = vec4<f32>();
    var s2 = vec4<f32>();
    var s3 = vec4<f32>();
    for (var at = lane; at < params.units; at += SHARE) {
        let words = unit(words_start, at);
        let s = factor(there, at);
        for (var part = 0u; part < FOURS; part++) {
            let four = at * FOURS + part;
            if four < params.fours {
                let w = raw(words, there, four, part);
                s0 += s * times(inputs[r0 + four], w);
                if VECTORS > 1u {
                    s1 += s * times(inputs[r1 + four], w);
                    s2 += s * times(inputs[r2 + four], w);
                    s3 += s * times(inputs[r3 + four], w);
                }
            }
        }
    }
    shares[local] = s0;
    if VECTORS > 1u {
        shares[64u + local] = s1;
        shares[128u + local] = s2;
        shares[192u + local] = s3;
    }
    workgroupBarrier();
    for (var half = SHARE / 2u; half > 0u; half = half >> 1u) {
        if lane < half {
            for (var i = local; i < SHARES; i += 64u) {
                shares[i] += shares[i + half];
            }
        }
        workgroupBarrier();
    }
    if lane < VECTORS {
        store4(0u, row + lane, quad * 4u, shares[lane * 64u + local - lane]);
    }
}

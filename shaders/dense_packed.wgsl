// A dense layer straight from packed codes: act(X · Wᵀ + b), W = (code - zero point) · scale.
// Twin: src/cpu/dense_packed.rs.

struct Params {
    batch: u32,
    // inputs, padded, by four
    fours: u32,
    // words of a row of codes
    units: u32,
    // outputs of this chunk of the weights
    outputs: u32,
    // those and, in the last chunk, the padding of the result's rows
    padded_outputs: u32,
    first_output: u32,
    // floats between rows of the result
    stride: u32,
    activation: u32,
    // f32 bits
    slope: u32,
    // parts that the inputs are split into, and fours of inputs in each
    splits: u32,
    split_fours: u32,
    // scales of a row, and from one quad of rows to the next: 0 where one serves all
    groups: u32,
    quad_groups: u32,
    // words of a group as a power of two; 31 where a row is one group
    group_shift: u32,
    // inputs of a group
    group_len: u32,
    // 1 = all codes have the same zero point
    symmetric: u32,
}

// [quads of outputs, units, 4 outputs]
@group(0) @binding(0) var<storage, read> codes: array<vec4<u32>>;
// [quads of all outputs, groups, 4 outputs]
@group(0) @binding(1) var<storage, read> scales: array<vec4<f32>>;
// likewise what is taken from an unsigned code; [1, 4 outputs] where symmetric
@group(0) @binding(2) var<storage, read> offsets: array<vec4<u32>>;
// [all outputs]
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// [batch, fours]
@group(0) @binding(4) var<storage, read> inputs: array<vec4<f32>>;
// [batch, stride]; of parts [splits, batch, padded_outputs]
@group(0) @binding(5) var<storage, read_write> results: array<f32>;
@group(0) @binding(6) var<storage, read> params: Params;

//!include common/product.wgsl

// 8, 4 or 2
override BITS: u32 = 4u;
// 1 = a group may end inside of a word
override UNEVEN: u32 = 0u;
// a word holds 4, 8 or 16 codes
override FOURS: u32 = 8u / BITS;

struct Unit {
    // a row each
    words: vec4<u32>,
}

fn start(quad: u32) -> u32 {
    return quad * params.units;
}

fn unit(start: u32, at: u32) -> Unit {
    return Unit(codes[start + at]);
}

fn group_start(quad: u32) -> u32 {
    return (params.first_output / 4u + quad) * params.quad_groups;
}

fn group_of_unit(at: u32) -> u32 {
    return min(at >> params.group_shift, params.groups - 1u);
}

// The padding of a row belongs to no group; any finite scale will do.
fn group_of_input(input: u32) -> u32 {
    return min(input / params.group_len, params.groups - 1u);
}

fn offset(group: u32) -> vec4<i32> {
    return vec4<i32>(offsets[select(group, 0u, params.symmetric == 1u)]);
}

// The codes of one input.
fn steps(words: vec4<u32>, shift: u32, zero: vec4<i32>) -> vec4<f32> {
    let code = (words >> vec4(shift)) & vec4((1u << BITS) - 1u);
    return vec4<f32>(vec4<i32>(code) - zero);
}

fn own_scale(words: vec4<u32>, shift: u32, group: u32) -> vec4<f32> {
    return steps(words, shift, offset(group)) * scales[group];
}

fn raw(words: Unit, quad: u32, four: u32, part: u32) -> Four {
    let shift = part * 4u * BITS;
    let first = group_start(quad);
    if UNEVEN == 1u {
        return Four(
            own_scale(words.words, shift, first + group_of_input(four * 4u)),
            own_scale(words.words, shift + BITS, first + group_of_input(four * 4u + 1u)),
            own_scale(words.words, shift + 2u * BITS, first + group_of_input(four * 4u + 2u)),
            own_scale(words.words, shift + 3u * BITS, first + group_of_input(four * 4u + 3u)),
        );
    }
    let zero = offset(first + group_of_unit(four / FOURS));
    return Four(
        steps(words.words, shift, zero),
        steps(words.words, shift + BITS, zero),
        steps(words.words, shift + 2u * BITS, zero),
        steps(words.words, shift + 3u * BITS, zero),
    );
}

fn factor(quad: u32, at: u32) -> vec4<f32> {
    if UNEVEN == 1u {
        return vec4(1.0);
    }
    return scales[group_start(quad) + group_of_unit(at)];
}

@compute @workgroup_size(THREADS)
fn dense_packed(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    tiled(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(16)
fn dense_packed_direct(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    direct(linear_workgroup(workgroup, workgroups), local);
}

@compute @workgroup_size(64)
fn dense_packed_vector(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    vector(linear_workgroup(workgroup, workgroups), local);
}

// The same with inputs rounded to 8 bits, x = s · q with one s a row, so that products are integers:
// s · Σ over groups of scale · (Σ code · q - zero · Σ q). Groups are whole words here.

// [batch, units · FOURS + 1]: each word four q, the last one s. A unit's word k holds the inputs
// k, k + FOURS, k + 2 FOURS, k + 3 FOURS of the unit, whose codes one mask takes out of a word.
@group(0) @binding(4) var<storage, read> rounded: array<u32>;
// the same, while it is made
@group(0) @binding(5) var<storage, read_write> rounding: array<u32>;

// The lowest code of each byte.
override MASK: u32 = ((1u << BITS) - 1u) * 0x01010101u;

fn rounded_row(row: u32) -> u32 {
    return min(row, params.batch - 1u) * (params.units * FOURS + 1u);
}

var<workgroup> largest: atomic<u32>;

// One row a workgroup.
@compute @workgroup_size(64)
fn dense_packed_round(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    let start = row_start(row);
    if local == 0u {
        atomicStore(&largest, 0u);
    }
    workgroupBarrier();
    var most = 0u;
    for (var four = local; four < params.fours; four += 64u) {
        // Magnitudes are ordered as integers, NaN last.
        let keys = bitcast<vec4<u32>>(inputs[start + four]) & vec4(0x7fffffffu);
        most = max(most, max(max(keys.x, keys.y), max(keys.z, keys.w)));
    }
    atomicMax(&largest, most);
    workgroupBarrier();
    let bits = atomicLoad(&largest);
    if row >= params.batch {
        return;
    }
    // At least the smallest normal number, so that it has a reciprocal.
    let scale = max(bitcast<f32>(bits) / 127.0, bitcast<f32>(0x00800000u));
    let finite = bits < 0x7f800000u;
    let inverse = select(0.0, 1.0 / scale, finite);
    let end = params.units * FOURS;
    let to = rounded_row(row);
    for (var word = local; word < end; word += 64u) {
        var packed = 0u;
        for (var b = 0u; b < 4u; b++) {
            let input = word / FOURS * FOURS * 4u + word % FOURS + FOURS * b;
            if input / 4u < params.fours && finite {
                let x = inputs[start + input / 4u][input % 4u];
                let q = i32(clamp(round(x * inverse), -127.0, 127.0));
                packed |= (bitcast<u32>(q) & 255u) << (8u * b);
            }
        }
        rounding[to + word] = packed;
    }
    if local == 0u {
        // A row with a value that is not finite gives no finite output: NaN.
        rounding[to + end] = select(0x7fc00000u, bitcast<u32>(scale), finite);
    }
}

// Codes of part k of a word, as signed bytes.
fn signed(words: vec4<u32>, k: u32) -> vec4<u32> {
    if BITS == 8u {
        return words ^ vec4(0x80808080u);
    }
    return (words >> vec4(k * BITS)) & vec4(MASK);
}

// What is taken from a signed code.
fn signed_offset(group: u32) -> vec4<i32> {
    return offset(group) - vec4(select(0, 128, BITS == 8u));
}

fn dots(codes: vec4<u32>, x: u32) -> vec4<i32> {
    return vec4(
        dot4I8Packed(codes.x, x),
        dot4I8Packed(codes.y, x),
        dot4I8Packed(codes.z, x),
        dot4I8Packed(codes.w, x),
    );
}

// Σ code · q for eight outputs, and Σ q, of a group.
struct Products {
    low: vec4<i32>,
    high: vec4<i32>,
    inputs: i32,
}

fn multiply(sums: Products, x: u32, low: vec4<u32>, high: vec4<u32>) -> Products {
    let all = sums.inputs + dot4I8Packed(0x01010101u, x);
    return Products(sums.low + dots(low, x), sums.high + dots(high, x), all);
}

// Adds a group to the sums of a row.
fn settle(sums: Pair, exact: Products, low: u32, high: u32) -> Pair {
    let all = vec4(exact.inputs);
    return Pair(
        sums.low + scales[low] * vec4<f32>(exact.low - signed_offset(low) * all),
        sums.high + scales[high] * vec4<f32>(exact.high - signed_offset(high) * all),
    );
}

fn store_rounded(row: u32, output: u32, sums: Pair) {
    let scale = bitcast<f32>(rounded[rounded_row(row) + params.units * FOURS]);
    store4(0u, row, output, sums.low * scale);
    store4(0u, row, output + 4u, sums.high * scale);
}

// 16 invocations along the outputs, each with 8 of them and ROWS rows: 1, or else 4.
@compute @workgroup_size(16)
fn dense_packed_int8(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups);
    let columns = (params.padded_outputs + 127u) / 128u;
    let row = index / columns * ROWS;
    let output = (index % columns * 16u + local) * 8u;
    let low_quad = some_quad(output / 4u);
    let high_quad = some_quad(output / 4u + 1u);
    let low_start = start(low_quad);
    let high_start = start(high_quad);
    let r0 = rounded_row(row);
    let r1 = rounded_row(row + 1u);
    let r2 = rounded_row(row + 2u);
    let r3 = rounded_row(row + 3u);
    var s0 = Pair();
    var s1 = Pair();
    var s2 = Pair();
    var s3 = Pair();
    for (var group = 0u; group < params.groups; group++) {
        let last = group + 1u == params.groups;
        let end = select((group + 1u) << params.group_shift, params.units, last);
        var p0 = Products();
        var p1 = Products();
        var p2 = Products();
        var p3 = Products();
        for (var at = group << params.group_shift; at < end; at++) {
            let low = codes[low_start + at];
            let high = codes[high_start + at];
            for (var k = 0u; k < FOURS; k++) {
                let a = signed(low, k);
                let b = signed(high, k);
                let word = at * FOURS + k;
                p0 = multiply(p0, rounded[r0 + word], a, b);
                if ROWS > 1u {
                    p1 = multiply(p1, rounded[r1 + word], a, b);
                    p2 = multiply(p2, rounded[r2 + word], a, b);
                    p3 = multiply(p3, rounded[r3 + word], a, b);
                }
            }
        }
        let low = group_start(low_quad) + group;
        let high = group_start(high_quad) + group;
        s0 = settle(s0, p0, low, high);
        if ROWS > 1u {
            s1 = settle(s1, p1, low, high);
            s2 = settle(s2, p2, low, high);
            s3 = settle(s3, p3, low, high);
        }
    }
    store_rounded(row, output, s0);
    if ROWS > 1u {
        store_rounded(row + 1u, output, s1);
        store_rounded(row + 2u, output, s2);
        store_rounded(row + 3u, output, s3);
    }
}

var<workgroup> parts: array<vec4<f32>, 64>;

// For a row at a time: 64 invocations share the words of a quad.
@compute @workgroup_size(64)
fn dense_packed_int8_vector(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups);
    let quads = (params.padded_outputs + 3u) / 4u;
    let row = index / quads;
    let quad = some_quad(index % quads);
    let words_start = start(quad);
    let row_words = rounded_row(row);
    var sums = vec4<f32>();
    for (var at = local; at < params.units; at += 64u) {
        let words = codes[words_start + at];
        var exact = vec4<i32>();
        var all = 0;
        for (var k = 0u; k < FOURS; k++) {
            let x = rounded[row_words + at * FOURS + k];
            exact += dots(signed(words, k), x);
            all += dot4I8Packed(0x01010101u, x);
        }
        let group = group_start(quad) + group_of_unit(at);
        sums += scales[group] * vec4<f32>(exact - signed_offset(group) * vec4(all));
    }
    parts[local] = sums;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half = half >> 1u) {
        if local < half {
            parts[local] += parts[local + half];
        }
        workgroupBarrier();
    }
    if local == 0u {
        let scale = bitcast<f32>(rounded[row_words + params.units * FOURS]);
        store4(0u, row, index % quads * 4u, parts[0] * scale);
    }
}

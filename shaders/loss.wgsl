// Losses of a batch from the logits of a network, row by row, with their gradients. Twin:
// src/cpu/loss.rs. One invocation has a row: networks that classify have few outputs, and a batch
// has many rows.
//!include common/grid.wgsl
//!include common/order.wgsl

struct Params {
    rows: u32,
    cols: u32,
    // floats between rows of logits, gradient, teacher and targets
    stride: u32,
    // where the batch begins in `order` and in `metrics`
    first: u32,
    // of the gradient: 1 / rows
    scale: f32,
    // distillation: 1 / temperature, and the temperature itself
    sharpness: f32,
    temperature: f32,
    // distillation: share of the teacher's part
    alpha: f32,
    // squared error: 1 = of the softmax of the logits, 0 = of the logits
    softmax: u32,
    // squared error: 1 = the targets are `others`, 0 = they are the labels, one-hot
    dense: u32,
}

// [rows, stride], f32 bits
@group(0) @binding(0) var<storage, read> logits: array<u32>;
// [all rows]: row numbers of labels, teacher and targets
@group(0) @binding(1) var<storage, read> order: array<u32>;
// [data rows]: classes
@group(0) @binding(2) var<storage, read> labels: array<u32>;
// distillation: logits of the teacher; squared error: targets; [data rows, stride], f32 bits
@group(0) @binding(3) var<storage, read> others: array<u32>;
// [rows, stride], f32 bits
@group(0) @binding(4) var<storage, read_write> gradient: array<u32>;
// [all rows, 2], f32 bits: loss, and 1 where the largest logit is the label's
@group(0) @binding(5) var<storage, read_write> metrics: array<u32>;
@group(0) @binding(6) var<storage, read> params: Params;

const MAGNITUDE: u32 = 0x7fffffffu;
const INFINITY: u32 = 0x7f800000u;
const NAN: u32 = 0x7fc00000u;
// exp gives 0 below this anyway; far below, a device might overflow on its way.
const LEAST_EXPONENT: f32 = -128.0;

struct Row {
    // in the buffers of the batch and in those of the data set
    start: u32,
    other: u32,
    label: u32,
}

fn row_of(index: u32) -> Row {
    let source = order[params.first + index];
    return Row(index * params.stride, source * params.stride, source);
}

// The largest of a row, the lower column first among equals, found as integers because devices may
// assume that floats are finite.
struct Top {
    value: f32,
    column: u32,
    finite: bool,
}

fn add_to_top(top: Top, bits: u32, column: u32) -> Top {
    let finite = top.finite && (bits & MAGNITUDE) < INFINITY;
    let key = order_key(select(bits, 0u, (bits & MAGNITUDE) == 0u));
    if column == 0u || key > order_key(bitcast<u32>(top.value)) {
        return Top(bitcast<f32>(from_order_key(key)), column, finite);
    }
    return Top(top.value, top.column, finite);
}

fn top_of_logits(row: Row) -> Top {
    var top = Top(0.0, 0u, true);
    for (var column = 0u; column < params.cols; column++) {
        top = add_to_top(top, logits[row.start + column], column);
    }
    return top;
}

fn top_of_others(row: Row) -> Top {
    var top = Top(0.0, 0u, true);
    for (var column = 0u; column < params.cols; column++) {
        top = add_to_top(top, others[row.other + column], column);
    }
    return top;
}

fn exponent(bits: u32, top: Top, sharpness: f32) -> f32 {
    return (bitcast<f32>(bits) - top.value) * sharpness;
}

fn power(bits: u32, top: Top, sharpness: f32) -> f32 {
    return exp(max(exponent(bits, top, sharpness), LEAST_EXPONENT));
}

fn sum_of_logits(row: Row, top: Top, sharpness: f32) -> f32 {
    var sum = 0.0;
    for (var column = 0u; column < params.cols; column++) {
        sum += power(logits[row.start + column], top, sharpness);
    }
    return sum;
}

// Every column of a row without a loss is NaN, so that the training notices.
fn store(row: Row, column: u32, finite: bool, value: f32) {
    gradient[row.start + column] = select(NAN, bitcast<u32>(value), finite);
}

fn finish(row: Row, index: u32, finite: bool, loss: f32, correct: bool) {
    for (var column = params.cols; column < params.stride; column++) {
        gradient[row.start + column] = 0u;
    }
    let at = (params.first + index) * 2u;
    metrics[at] = select(NAN, bitcast<u32>(loss), finite);
    metrics[at + 1u] = bitcast<u32>(select(0.0, 1.0, finite && correct));
}

fn one_hot(column: u32, label: u32) -> f32 {
    return select(0.0, 1.0, column == label);
}

@compute @workgroup_size(64)
fn cross_entropy(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 64u + local;
    if index >= params.rows {
        return;
    }
    let row = row_of(index);
    let label = labels[row.label];
    let top = top_of_logits(row);
    let sum = sum_of_logits(row, top, 1.0);
    for (var column = 0u; column < params.cols; column++) {
        let share = power(logits[row.start + column], top, 1.0) / sum;
        store(row, column, top.finite, (share - one_hot(column, label)) * params.scale);
    }
    let loss = log(sum) - exponent(logits[row.start + label], top, 1.0);
    finish(row, index, top.finite, loss, top.column == label);
}

// (1 - alpha) * cross-entropy + alpha * T^2 * KL(teacher || student), both softened by T.
@compute @workgroup_size(64)
fn distillation(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 64u + local;
    if index >= params.rows {
        return;
    }
    let row = row_of(index);
    let label = labels[row.label];
    let top = top_of_logits(row);
    let teacher = top_of_others(row);
    let finite = top.finite && teacher.finite;
    let sum = sum_of_logits(row, top, 1.0);
    let soft_sum = sum_of_logits(row, top, params.sharpness);
    var teacher_sum = 0.0;
    for (var column = 0u; column < params.cols; column++) {
        teacher_sum += power(others[row.other + column], teacher, params.sharpness);
    }
    let log_ratio = log(soft_sum) - log(teacher_sum);
    var divergence = 0.0;
    for (var column = 0u; column < params.cols; column++) {
        let own = logits[row.start + column];
        let others_bits = others[row.other + column];
        let hard = power(own, top, 1.0) / sum - one_hot(column, label);
        let soft = power(own, top, params.sharpness) / soft_sum;
        let wanted = power(others_bits, teacher, params.sharpness) / teacher_sum;
        let log_wanted = exponent(others_bits, teacher, params.sharpness);
        let log_soft = exponent(own, top, params.sharpness);
        divergence += wanted * (log_wanted - log_soft + log_ratio);
        let mixed = (1.0 - params.alpha) * hard
            + params.alpha * params.temperature * (soft - wanted);
        store(row, column, finite, mixed * params.scale);
    }
    let hard_loss = log(sum) - exponent(logits[row.start + label], top, 1.0);
    let soft_loss = params.temperature * params.temperature * divergence;
    let loss = (1.0 - params.alpha) * hard_loss + params.alpha * soft_loss;
    finish(row, index, finite, loss, top.column == label);
}

// What the squared error compares: the softmax of the logits, or the logits themselves.
fn output_of(bits: u32, top: Top, sum: f32) -> f32 {
    if params.softmax == 0u {
        return bitcast<f32>(bits);
    }
    return power(bits, top, 1.0) / sum;
}

fn target_of(row: Row, column: u32, label: u32) -> f32 {
    if params.dense == 0u {
        return one_hot(column, label);
    }
    return bitcast<f32>(others[row.other + column]);
}

// Mean over the columns of (output - target)^2. The gradient of a softmax goes through it.
@compute @workgroup_size(64)
fn squared_error(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * 64u + local;
    if index >= params.rows {
        return;
    }
    let row = row_of(index);
    var label = 0u;
    if params.dense == 0u {
        label = labels[row.label];
    }
    let top = top_of_logits(row);
    var sum = 1.0;
    if params.softmax != 0u {
        sum = sum_of_logits(row, top, 1.0);
    }
    var loss = 0.0;
    var inner = 0.0;
    for (var column = 0u; column < params.cols; column++) {
        let output = output_of(logits[row.start + column], top, sum);
        let error = output - target_of(row, column, label);
        loss += error * error;
        inner += error * output;
    }
    let mean = 1.0 / f32(params.cols);
    let factor = 2.0 * mean * params.scale;
    for (var column = 0u; column < params.cols; column++) {
        let output = output_of(logits[row.start + column], top, sum);
        let error = output - target_of(row, column, label);
        let through = select(error, output * (error - inner), params.softmax != 0u);
        store(row, column, top.finite, through * factor);
    }
    finish(row, index, top.finite, loss * mean, params.dense == 0u && top.column == label);
}

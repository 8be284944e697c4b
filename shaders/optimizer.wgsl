// One step of an optimizer: weights and moments, in place. Twin: src/cpu/optimizer.rs. Formulas:
// Keras 3, keras/src/optimizers/adam.py, sgd.py and base_optimizer.py (weight decay).
//!include common/grid.wgsl

struct Params {
    // of four weights; the padding of rows is zero everywhere and stays so
    vectors: u32,
    // adam: learning rate with the corrections of both biases; sgd: learning rate
    rate: f32,
    // gradient of the L2 penalty a weight: twice its factor
    l2: f32,
    // share of each weight that decays, whatever the gradient
    decay: f32,
    // adam: 1 - beta_1; sgd: momentum
    first_share: f32,
    // adam: 1 - beta_2
    second_share: f32,
    epsilon: f32,
    // sgd: 1 = Nesterov's momentum
    nesterov: u32,
    // 1 = weights that are zero stay zero, and so do their moments
    hold_zeros: u32,
}

// [vectors] each
@group(0) @binding(0) var<storage, read_write> weights: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
// adam: mean of the gradients; sgd: velocity
@group(0) @binding(2) var<storage, read_write> first: array<vec4<f32>>;
// adam: mean of their squares
@group(0) @binding(3) var<storage, read_write> second: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> params: Params;

// Which weights take part in the step.
fn moving(w: vec4<f32>) -> vec4<bool> {
    let zero = (bitcast<vec4<u32>>(w) & vec4(0x7fffffffu)) == vec4(0u);
    return !zero | vec4(params.hold_zeros == 0u);
}

@compute @workgroup_size(256)
fn adam(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * 256u + local;
    if at >= params.vectors {
        return;
    }
    let old = weights[at];
    let moves = moving(old);
    let g = gradient[at] + params.l2 * old;
    let m = first[at] + (g - first[at]) * params.first_share;
    let v = second[at] + (g * g - second[at]) * params.second_share;
    let decayed = old - old * params.decay;
    let w = decayed - m * params.rate / (sqrt(v) + params.epsilon);
    weights[at] = select(vec4<f32>(), w, moves);
    first[at] = select(vec4<f32>(), m, moves);
    second[at] = select(vec4<f32>(), v, moves);
}

@compute @workgroup_size(256)
fn sgd(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * 256u + local;
    if at >= params.vectors {
        return;
    }
    let old = weights[at];
    let moves = moving(old);
    let change = (gradient[at] + params.l2 * old) * params.rate;
    let m = first[at] * params.first_share - change;
    let move_by = select(m, m * params.first_share - change, params.nesterov != 0u);
    let w = old - old * params.decay + move_by;
    weights[at] = select(vec4<f32>(), w, moves);
    first[at] = select(vec4<f32>(), m, moves);
}

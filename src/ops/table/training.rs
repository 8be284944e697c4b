//! Cases of a training step: batches, losses, optimizers.

use std::sync::Arc;

use super::data::random;
use super::rows::f32_gaussian;
use super::traced::{Bounded, Traced, exact};
use super::{Case, Output, Work};
use crate::cpu::loss::Targets;
use crate::ops::gather;
use crate::ops::loss::{self, RowLosses};
use crate::ops::optimizer::{Factors, Optimizer, Step, update};

fn floats_bytes(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

pub(super) fn gather_case(rows: usize, cols: usize, batch: usize, bytes: bool) -> Case {
    let order: Vec<u32> =
        (0..batch as u64).map(|i| (random(41, i) % rows.max(1) as u64) as u32).collect();
    let data: Vec<u8> = (0..(rows * cols) as u64).map(|i| random(42, i) as u8).collect();
    let floats = f32_gaussian(rows * cols, 1.0, 43);
    let element = if bytes { 1 } else { 4 };
    Case {
        name: format!("{batch} of [{rows}, {cols}], bytes {bytes}"),
        work: Work {
            read: (batch * (cols * element + 4)) as u64,
            written: (batch * cols * 4) as u64,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let x = if bytes {
                gather::bytes(backend, &data, cols, &order)?
            } else {
                gather::floats(backend, &floats, cols, &order)?
            };
            Ok(Output { parts: vec![("x", floats_bytes(&x))] })
        }),
        reference: None,
    }
}

pub(super) fn gather_cases() -> Vec<Case> {
    let mut cases = vec![];
    for (rows, cols, batch) in [
        (1, 1, 0),
        (1, 1, 1),
        (5, 7, 3),
        (9, 8, 9),
        (20, 65, 33),
        (300, 784, 32),
        (70_001, 3, 70_001),
    ] {
        for bytes in [false, true] {
            cases.push(gather_case(rows, cols, batch, bytes));
        }
    }
    cases
}

pub(super) fn optimizer_case(count: usize, optimizer: Optimizer, step: Step) -> Case {
    let mut weights = f32_gaussian(count, 0.1, 61);
    weights.iter_mut().step_by(5).for_each(|w| *w = if w.is_sign_positive() { 0.0 } else { -0.0 });
    let gradient = f32_gaussian(count, 0.01, 62);
    let first = f32_gaussian(count, 0.01, 63);
    let mut second = f32_gaussian(count, 0.01, 64);
    second.iter_mut().for_each(|v| *v *= *v);
    let shared = Arc::new((weights, gradient, first, second));
    let for_reference = Arc::clone(&shared);
    let adam = matches!(optimizer, Optimizer::Adam { .. });
    let (read, written) = if adam { (4, 3) } else { (3, 2) };
    Case {
        name: format!("{count} weights, {optimizer:?}, {step:?}"),
        work: Work {
            read: (read * count * 4) as u64,
            written: (written * count * 4) as u64,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let (weights, gradient, first, second) = &*shared;
            let (mut w, mut m, mut v) = (weights.clone(), first.clone(), second.clone());
            update(backend, &optimizer, &step, &mut w, gradient, &mut m, &mut v)?;
            let parts = vec![
                ("weights", floats_bytes(&w)),
                ("first", floats_bytes(&m)),
                ("second", floats_bytes(&v)),
            ];
            Ok(Output { parts })
        }),
        reference: Some(Box::new(move || {
            let (weights, gradient, first, second) = &*for_reference;
            let factors = Factors::new(&optimizer, &step);
            let parts = ["weights", "first", "second"].map(Bounded::new);
            let [mut w, mut m, mut v] = parts;
            for i in 0..count {
                let old = [weights[i], gradient[i], first[i], second[i]].map(exact);
                let held = step.hold_zeros && weights[i] == 0.0;
                let new = match &factors {
                    _ if held && adam => [exact(0.0); 3],
                    _ if held => [exact(0.0), exact(0.0), old[3]],
                    Factors::Adam(step) => traced_adam(step, old),
                    Factors::Sgd(step) => traced_sgd(step, old),
                };
                w.push(new[0]);
                m.push(new[1]);
                v.push(new[2]);
            }
            vec![w.reference(), m.reference(), v.reference()]
        })),
    }
}

fn traced_adam(step: &crate::cpu::optimizer::Adam, [w, g, m, v]: [Traced; 4]) -> [Traced; 3] {
    let g = g + exact(step.common.l2) * w;
    let mean = m + (g - m) * exact(step.first_share);
    let square = v + (g * g - v) * exact(step.second_share);
    let by = mean * exact(step.rate) / (square.sqrt() + exact(step.epsilon));
    [w - w * exact(step.common.decay) - by, mean, square]
}

fn traced_sgd(step: &crate::cpu::optimizer::Sgd, [w, g, m, v]: [Traced; 4]) -> [Traced; 3] {
    let change = (g + exact(step.common.l2) * w) * exact(step.rate);
    let velocity = m * exact(step.momentum) - change;
    let by = if step.nesterov { velocity * exact(step.momentum) - change } else { velocity };
    [w - w * exact(step.common.decay) + by, velocity, v]
}

pub(super) fn optimizer_cases() -> Vec<Case> {
    let step = Step { number: 3, learning_rate: 1e-3, l2: 0.0, hold_zeros: false };
    let mut cases = vec![];
    for optimizer in [
        Optimizer::ADAM,
        Optimizer::ADAM_W,
        Optimizer::SGD,
        Optimizer::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 },
        Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
    ] {
        for count in [0, 1, 9, 1021] {
            cases.push(optimizer_case(count, optimizer, step));
            let held = Step { number: 1, l2: 0.01, hold_zeros: true, ..step };
            cases.push(optimizer_case(count, optimizer, held));
        }
    }
    let late = Step { number: 100_000, learning_rate: 0.1, ..step };
    cases.push(optimizer_case(70_001, Optimizer::ADAM, late));
    cases
}

/// Which loss, for a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    CrossEntropy,
    SquaredError { dense: bool, softmax: bool },
    Distillation { temperature: f32, alpha: f32 },
}

struct LossData {
    logits: Vec<f32>,
    labels: Vec<u32>,
    /// Logits of a teacher, or dense targets.
    others: Vec<f32>,
}

pub(super) fn loss_case(rows: usize, cols: usize, spread: f32, kind: Kind) -> Case {
    let shared = Arc::new(LossData {
        logits: f32_gaussian(rows * cols, spread, 71),
        labels: (0..rows as u64).map(|i| (random(72, i) % cols as u64) as u32).collect(),
        others: f32_gaussian(rows * cols, spread, 73),
    });
    let for_reference = Arc::clone(&shared);
    let bytes = (rows * cols * 4) as u64;
    Case {
        name: format!("[{rows}, {cols}] × {spread}, {kind:?}"),
        work: Work { read: bytes, written: bytes, ..Work::default() },
        run: Box::new(move |backend| {
            let LossData { logits, labels, others } = &*shared;
            let RowLosses { metrics, gradient } = match kind {
                Kind::CrossEntropy => loss::cross_entropy(backend, logits, cols, labels)?,
                Kind::SquaredError { dense, softmax } => {
                    let targets =
                        if dense { Targets::Dense(others) } else { Targets::Labels(labels) };
                    loss::squared_error(backend, logits, cols, targets, softmax)?
                }
                Kind::Distillation { temperature, alpha } => {
                    loss::distillation(backend, logits, cols, labels, others, temperature, alpha)?
                }
            };
            let losses: Vec<f32> = metrics.iter().map(|row| row.loss).collect();
            let parts = vec![
                ("losses", floats_bytes(&losses)),
                ("correct", metrics.iter().map(|row| u8::from(row.correct)).collect()),
                ("gradient", floats_bytes(&gradient)),
            ];
            Ok(Output { parts })
        }),
        reference: Some(Box::new(move || {
            let LossData { logits, labels, others } = &*for_reference;
            let (mut losses, mut gradient) = (Bounded::new("losses"), Bounded::new("gradient"));
            let data = logits.chunks_exact(cols).zip(others.chunks_exact(cols)).zip(labels);
            for ((logits, others), label) in data {
                let (loss, slopes) = traced_loss(kind, logits, others, *label as usize);
                losses.push(loss);
                let scale = exact(1.0 / rows as f32);
                slopes.into_iter().for_each(|slope| gradient.push(slope * scale));
            }
            vec![losses.reference(), gradient.reference()]
        })),
    }
}

/// exp((x − top) · sharpness) of a row, and their sum.
fn traced_powers(row: &[f32], sharpness: f32) -> (Vec<Traced>, Vec<Traced>, Traced) {
    let top = exact(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponents: Vec<_> = row.iter().map(|x| (exact(*x) - top) * exact(sharpness)).collect();
    let powers: Vec<_> = exponents.iter().map(|z| z.exp()).collect();
    let sum = powers.iter().fold(exact(0.0), |sum, power| sum + *power);
    (exponents, powers, sum)
}

/// The loss of a row and its gradient, as shaders/loss.wgsl has them.
fn traced_loss(kind: Kind, logits: &[f32], others: &[f32], label: usize) -> (Traced, Vec<Traced>) {
    let (exponents, powers, sum) = traced_powers(logits, 1.0);
    let one_hot = |i: usize| exact(if i == label { 1.0 } else { 0.0 });
    let hard = |i: usize| powers[i] / sum - one_hot(i);
    let columns = 0..logits.len();
    let hard_loss = sum.ln() - exponents[label];
    match kind {
        Kind::CrossEntropy => (hard_loss, columns.map(hard).collect()),
        Kind::SquaredError { dense, softmax } => {
            let output = |i: usize| if softmax { powers[i] / sum } else { exact(logits[i]) };
            let error = |i: usize| output(i) - if dense { exact(others[i]) } else { one_hot(i) };
            let total =
                |f: &dyn Fn(usize) -> Traced| columns.clone().fold(exact(0.0), |sum, i| sum + f(i));
            let inner = total(&|i| error(i) * output(i));
            let mean = exact(1.0) / exact(logits.len() as f32);
            let slope = |i: usize| {
                let through = if softmax { output(i) * (error(i) - inner) } else { error(i) };
                through * (exact(2.0) * mean)
            };
            (total(&|i| error(i) * error(i)) * mean, columns.clone().map(slope).collect())
        }
        Kind::Distillation { temperature, alpha } => {
            let sharpness = 1.0 / temperature;
            let (soft_exponents, soft_powers, soft_sum) = traced_powers(logits, sharpness);
            let (wanted_exponents, wanted_powers, wanted_sum) = traced_powers(others, sharpness);
            let log_ratio = soft_sum.ln() - wanted_sum.ln();
            let (temperature, alpha) = (exact(temperature), exact(alpha));
            let rest = exact(1.0) - alpha;
            let wanted = |i: usize| wanted_powers[i] / wanted_sum;
            let divergence = columns.clone().fold(exact(0.0), |sum, i| {
                sum + wanted(i) * (wanted_exponents[i] - soft_exponents[i] + log_ratio)
            });
            let slope = |i: usize| {
                let soft = soft_powers[i] / soft_sum - wanted(i);
                rest * hard(i) + alpha * temperature * soft
            };
            let soft_loss = temperature * temperature * divergence;
            (rest * hard_loss + alpha * soft_loss, columns.map(slope).collect())
        }
    }
}

pub(super) fn loss_cases() -> Vec<Case> {
    let mut cases = vec![];
    for kind in [
        Kind::CrossEntropy,
        Kind::SquaredError { dense: false, softmax: true },
        Kind::SquaredError { dense: true, softmax: true },
        Kind::SquaredError { dense: false, softmax: false },
        Kind::SquaredError { dense: true, softmax: false },
        Kind::Distillation { temperature: 2.0, alpha: 0.9 },
        Kind::Distillation { temperature: 8.0, alpha: 1.0 },
    ] {
        for (rows, cols) in [(0, 3), (1, 1), (3, 2), (32, 10), (65, 17), (5, 1000)] {
            cases.push(loss_case(rows, cols, 3.0, kind));
        }
        cases.push(loss_case(63, 10, 20.0, kind));
    }
    cases
}

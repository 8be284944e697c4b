//! One step of an optimizer: weights and moments, in place.
use super::threads::worth_sharing;
use multiversion::multiversion;
use rayon::prelude::*;

/// The factors of one step of Adam; see [`crate::ops::Optimizer`].
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// Learning rate with the corrections of both biases.
    pub rate: f32,
    /// 1 - beta_1.
    pub first_share: f32,
    /// 1 - beta_2.
    pub second_share: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// What holds for every optimizer.
    pub common: Common,
}

/// The factors of one step of SGD; see [`crate::ops::Optimizer`].
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Share of the velocity that stays.
    pub momentum: f32,
    /// Looks ahead by one step of the velocity.
    pub nesterov: bool,
    /// What holds for every optimizer.
    pub common: Common,
}

/// Factors of every optimizer.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    /// Gradient of the L2 penalty a weight: twice its factor.
    pub l2: f32,
    /// Share of each weight that decays, whatever the gradient.
    pub decay: f32,
    /// Weights that are zero stay zero, and so do their moments.
    pub hold_zeros: bool,
}

impl Common {
    /// Whether a weight takes part in the step.
    #[inline(always)]
    fn moves(self, weight: f32) -> bool {
        !self.hold_zeros | (weight != 0.0)
    }
}

/// Weights that a thread takes at once, where several share them.
const CHUNK: usize = 1 << 14;

/// Whether several threads should share so many weights, five of which take a nanosecond.
fn is_shared(weights: usize) -> bool {
    worth_sharing(weights as u64 / 5)
}

/// Adam of Keras 3 on `weights` with the mean of the gradients in `first` and of their squares in
/// `second`.
pub fn adam(
    step: Adam,
    weights: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    if !is_shared(weights.len()) {
        return adam_chunk(step, weights, gradient, first, second);
    }
    weights
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
        .for_each(|((w, g), (m, v))| adam_chunk(step, w, g, m, v));
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn adam_chunk(step: Adam, w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    let Adam { rate, first_share, second_share, epsilon, common } = step;
    for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
        let g = g + common.l2 * *w;
        let mean = *m + (g - *m) * first_share;
        let square = *v + (g * g - *v) * second_share;
        let moved = *w - *w * common.decay - mean * rate / (square.sqrt() + epsilon);
        let moves = common.moves(*w);
        *w = if moves { moved } else { 0.0 };
        *m = if moves { mean } else { 0.0 };
        *v = if moves { square } else { 0.0 };
    }
}

/// SGD of Keras 3 on `weights` with the velocity in `first`.
pub fn sgd(step: Sgd, weights: &mut [f32], gradient: &[f32], first: &mut [f32]) {
    if !is_shared(weights.len()) {
        return sgd_chunk(step, weights, gradient, first);
    }
    weights
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK))
        .for_each(|((w, g), m)| sgd_chunk(step, w, g, m));
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn sgd_chunk(step: Sgd, w: &mut [f32], g: &[f32], m: &mut [f32]) {
    let Sgd { rate, momentum, nesterov, common } = step;
    for ((w, g), m) in w.iter_mut().zip(g).zip(m) {
        let change = (g + common.l2 * *w) * rate;
        let velocity = *m * momentum - change;
        let by = if nesterov { velocity * momentum - change } else { velocity };
        let moved = *w - *w * common.decay + by;
        let moves = common.moves(*w);
        *w = if moves { moved } else { 0.0 };
        *m = if moves { velocity } else { 0.0 };
    }
}

//! Softmax and its logarithm along rows.

/// What one temperature makes of differences of logits.
#[derive(Clone, Copy, Debug)]
pub struct Scaling {
    /// 2 / temperature.
    pub factor: f32,
    /// The least half difference whose product with the factor `f32` holds.
    pub lowest: f32,
}

/// Logarithms saturate here: `f32` holds this and what is subtracted from it, in any rounding.
pub const LEAST_LOG: f32 = -3.4e38;

impl Scaling {
    /// That of `temperature`, from 2^-64 to 2^64.
    pub fn new(temperature: f32) -> Self {
        let factor = 2.0 / temperature;
        Self { factor, lowest: (LEAST_LOG / factor).max(f32::MIN) }
    }

    /// `(logit - top) / temperature`. Halves, because the difference of two floats may overflow.
    fn exponent(self, logit: f32, top: f32) -> f32 {
        (logit * 0.5 - top * 0.5).max(self.lowest) * self.factor
    }
}

/// `exp(x_i / temperature) / Σ_j exp(x_j / temperature)` for each row of `logits` `[rows, cols]`.
/// Masked logits (-inf) give 0; a row whose largest logit is not finite gives NaNs.
pub fn softmax(logits: &[f32], cols: usize, scaling: Scaling) -> Vec<f32> {
    let mut result = vec![f32::NAN; logits.len()];
    for (row, out) in rows(logits, &mut result, cols) {
        let Some(top) = top(row) else { continue };
        // In f64, so that a long row loses no more than in the shader's tree of sums.
        let mut sum = 0.0_f64;
        for (logit, share) in row.iter().zip(&mut *out) {
            *share = power(*logit, top, scaling);
            sum += f64::from(*share);
        }
        out.iter_mut().for_each(|share| *share /= sum as f32);
    }
    result
}

/// The natural logarithm of [`softmax`], without its underflow: masked logits give -inf, and what
/// lies below [`LEAST_LOG`] gives that.
pub fn log_softmax(logits: &[f32], cols: usize, scaling: Scaling) -> Vec<f32> {
    let mut result = vec![f32::NAN; logits.len()];
    for (row, out) in rows(logits, &mut result, cols) {
        let Some(top) = top(row) else { continue };
        let sum: f64 = row.iter().map(|logit| f64::from(power(*logit, top, scaling))).sum();
        let log_sum = (sum as f32).ln();
        for (logit, share) in row.iter().zip(out) {
            *share = match *logit {
                f32::NEG_INFINITY => f32::NEG_INFINITY,
                logit => scaling.exponent(logit, top) - log_sum,
            };
        }
    }
    result
}

fn rows<'a>(
    logits: &'a [f32],
    result: &'a mut [f32],
    cols: usize,
) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
    logits.chunks_exact(cols.max(1)).zip(result.chunks_exact_mut(cols.max(1)))
}

/// The largest logit where it is finite: no NaN, no +inf, not all masked.
fn top(row: &[f32]) -> Option<f32> {
    let largest = |a: f32, b: f32| if a.is_nan() || a > b { a } else { b };
    row.iter().copied().reduce(largest).filter(|top| top.is_finite())
}

fn power(logit: f32, top: f32, scaling: Scaling) -> f32 {
    if logit == f32::NEG_INFINITY { 0.0 } else { scaling.exponent(logit, top).exp() }
}

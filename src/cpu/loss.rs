//! Losses of a batch from the logits of a network, row by row, with their gradients.

/// Rows of a batch and where their results go.
#[derive(Debug)]
pub struct Rows<'a> {
    /// `[rows, cols]`
    pub logits: &'a [f32],
    /// Row numbers of labels, teacher and targets: one a row.
    pub order: &'a [u32],
    /// `[rows, cols]`
    pub gradient: &'a mut [f32],
    /// Loss a row, and 1 where the largest logit is the label's, the first among equals.
    pub metrics: &'a mut [[f32; 2]],
}

/// What the squared error is taken from.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One-hot: the class of each row of the data set.
    Labels(&'a [u32]),
    /// `[data rows, cols]`
    Dense(&'a [f32]),
}

/// Cross-entropy of the softmax of the logits with the labels: its gradient is
/// (softmax − one-hot) / rows. A row with a logit that is not finite becomes NaNs.
pub fn cross_entropy(rows: Rows<'_>, labels: &[u32]) {
    rows.each(|row, gradient, number, scale| {
        let label = labels[number] as usize;
        let (top, column) = top(row)?;
        let sum = powers(row, top, 1.0, gradient);
        let loss = sum.ln() - (row[label] - top);
        for value in &mut *gradient {
            *value = *value / sum * scale;
        }
        // (share − 1) · scale, and not share · scale − scale, as the shader has it.
        gradient[label] = ((row[label] - top).exp() / sum - 1.0) * scale;
        Some([loss, one_if(column == label)])
    });
}

/// (1 − alpha) · cross-entropy + alpha · T² · KL(teacher ‖ student), both softened by the
/// temperature T (Hinton, Vinyals and Dean 2015): its gradient is
/// ((1 − alpha)(softmax − one-hot) + alpha · T · (softmax_T − teacher_T)) / rows. `teacher` are its
/// logits `[data rows, cols]`.
pub fn distillation(rows: Rows<'_>, labels: &[u32], teacher: &[f32], temperature: f32, alpha: f32) {
    let sharpness = 1.0 / temperature;
    let cols = rows.cols();
    let (mut soft, mut wanted) = (vec![0.0; cols], vec![0.0; cols]);
    rows.each(|row, gradient, number, scale| {
        let label = labels[number] as usize;
        let teacher = &teacher[number * cols..][..cols];
        let ((top, column), (teacher_top, _)) = (top(row)?, self::top(teacher)?);
        let sum = powers(row, top, 1.0, gradient);
        let soft_sum = powers(row, top, sharpness, &mut soft);
        let teacher_sum = powers(teacher, teacher_top, sharpness, &mut wanted);
        let log_ratio = soft_sum.ln() - teacher_sum.ln();
        let mut divergence = 0.0;
        for i in 0..cols {
            let hard = gradient[i] / sum - one_if(i == label);
            let (soft, wanted) = (soft[i] / soft_sum, wanted[i] / teacher_sum);
            let log_wanted = (teacher[i] - teacher_top) * sharpness;
            let log_soft = (row[i] - top) * sharpness;
            divergence += wanted * (log_wanted - log_soft + log_ratio);
            let mixed = (1.0 - alpha) * hard + alpha * temperature * (soft - wanted);
            gradient[i] = mixed * scale;
        }
        let hard_loss = sum.ln() - (row[label] - top);
        let soft_loss = temperature * temperature * divergence;
        let loss = (1.0 - alpha) * hard_loss + alpha * soft_loss;
        Some([loss, one_if(column == label)])
    });
}

/// Mean over the columns of (output − target)². The outputs are the logits or, with `softmax`,
/// their softmax, and then the gradient goes through it.
pub fn squared_error(rows: Rows<'_>, targets: Targets<'_>, softmax: bool) {
    let cols = rows.cols();
    let mut outputs = vec![0.0; cols];
    rows.each(|row, gradient, number, scale| {
        let (top, column) = top(row)?;
        if softmax {
            let sum = powers(row, top, 1.0, &mut outputs);
            outputs.iter_mut().for_each(|output| *output /= sum);
        } else {
            outputs.copy_from_slice(row);
        }
        let correct = match targets {
            Targets::Labels(labels) => {
                let label = labels[number] as usize;
                gradient.copy_from_slice(&outputs);
                gradient[label] -= 1.0;
                column == label
            }
            Targets::Dense(targets) => {
                let targets = &targets[number * cols..][..cols];
                for ((error, output), target) in gradient.iter_mut().zip(&outputs).zip(targets) {
                    *error = output - target;
                }
                false
            }
        };
        let (mut loss, mut inner) = (0.0, 0.0);
        for (error, output) in gradient.iter().zip(&outputs) {
            loss += error * error;
            inner += error * output;
        }
        let mean = 1.0 / cols as f32;
        let factor = 2.0 * mean * scale;
        for (error, output) in gradient.iter_mut().zip(&outputs) {
            let through = if softmax { output * (*error - inner) } else { *error };
            *error = through * factor;
        }
        Some([loss * mean, one_if(correct)])
    });
}

impl Rows<'_> {
    fn cols(&self) -> usize {
        self.logits.len().checked_div(self.order.len()).unwrap_or(0)
    }

    /// Calls `row` with the logits, the gradient, the row's number in the data set and 1 / rows;
    /// what has no loss becomes NaN.
    fn each(self, mut row: impl FnMut(&[f32], &mut [f32], usize, f32) -> Option<[f32; 2]>) {
        let cols = self.cols().max(1);
        let scale = 1.0 / self.order.len() as f32;
        let Self { logits, order, gradient, metrics } = self;
        let rows = logits.chunks_exact(cols).zip(gradient.chunks_exact_mut(cols));
        for (((logits, gradient), number), metrics) in rows.zip(order).zip(metrics) {
            *metrics = row(logits, gradient, *number as usize, scale).unwrap_or_else(|| {
                gradient.fill(f32::NAN);
                [f32::NAN, 0.0]
            });
        }
    }
}

/// The largest logit and the first column that has it, where all are finite.
fn top(row: &[f32]) -> Option<(f32, usize)> {
    let mut top = (f32::NEG_INFINITY, 0);
    let mut finite = true;
    for (column, value) in row.iter().enumerate() {
        finite &= value.is_finite();
        if *value > top.0 {
            top = (*value, column);
        }
    }
    finite.then_some(top)
}

/// Fills `powers` with exp((logit − top) · sharpness) and gives their sum.
fn powers(row: &[f32], top: f32, sharpness: f32, powers: &mut [f32]) -> f32 {
    let mut sum = 0.0;
    for (power, logit) in powers.iter_mut().zip(row) {
        *power = ((logit - top) * sharpness).exp();
        sum += *power;
    }
    sum
}

fn one_if(condition: bool) -> f32 {
    if condition { 1.0 } else { 0.0 }
}

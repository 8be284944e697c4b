//! How well a network does on labelled data.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::forward::{Loaded, Outputs};
use crate::error::{ArrayProblem, FormatProblem, Result};
use crate::io::{Array, DataSet};
use crate::ops::{Backend, softmax, top_k};

/// Rows that are computed at once where nothing else is asked for.
pub const BATCH: usize = 256;

/// How a class fares.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// Its number.
    pub class: usize,
    /// Rows of it.
    pub rows: u64,
    /// Share of those predicted as it that are of it; `None` where none is.
    pub precision: Option<f64>,
    /// Share of its rows that are predicted as it; `None` where there is none.
    pub recall: Option<f64>,
}

/// How well a network does.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Version of this form.
    pub schema_version: u32,
    /// Rows of the data set.
    pub rows: u64,
    /// Rows that are classified right.
    pub correct: u64,
    /// Their share.
    pub accuracy: f64,
    /// Mean of −ln p(label), natural logarithm.
    pub cross_entropy: f64,
    /// Each class.
    pub classes: Vec<ClassReport>,
    /// `[label][prediction]`: how many rows.
    pub confusion: Vec<Vec<u64>>,
    /// Rows computed at once.
    pub batch_size: usize,
    /// Rows a second, the forward pass alone.
    pub rows_per_second: f64,
    /// Median time of a batch, in seconds.
    pub latency_p50: f64,
    /// Time that 99 % of the batches take at most, in seconds.
    pub latency_p99: f64,
    /// Where it was computed.
    pub device: String,
    /// Layers whose inputs might be rounded to 8 bits: [`Loaded::int8_layers`].
    pub int8_layers: usize,
    /// The class of each row.
    #[serde(skip)]
    pub predictions: Vec<u32>,
}

/// One network's predictions against those of another.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// Share of rows for which both say the same.
    pub agreement: f64,
    /// Accuracy of the first less that of the second.
    pub accuracy_difference: f64,
    /// Ends of the 95 % confidence interval of that difference, for paired predictions: Wald's
    /// after one row more in which only the first is right and one in which only the second is
    /// (Bonett and Price, Journal of Educational and Behavioral Statistics 37, 2012). Without them it
    /// would be a point where the two never differ, however few the rows.
    pub confidence_95: [f64; 2],
}

/// Fails where `inputs` does not fit a network of `width` inputs, or holds NaN or infinity.
///
/// # Errors
/// [`ArrayProblem::Shape`], [`ArrayProblem::Empty`] or [`FormatProblem::Value`].
pub fn check_inputs(inputs: &Array, width: usize) -> Result<()> {
    let (rows, found) = inputs.rows();
    if found != width {
        return Err(ArrayProblem::Shape {
            what: "the input".to_owned(),
            found: inputs.shape.clone(),
            expected: format!("[rows, {width}], because the network has {width} inputs"),
        }
        .into());
    }
    if rows == 0 {
        return Err(ArrayProblem::Empty.into());
    }
    let values = inputs.scaled();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => Err(FormatProblem::Value {
            what: "inputs",
            expected: "finite",
            row: at / width,
            column: at % width,
            value: values[at],
        }
        .into()),
    }
}

/// Runs the network over the data set, `batch` rows at once.
///
/// # Errors
/// As [`check_inputs`]; [`ArrayProblem::Label`] for a label that is no output; a device error.
pub fn evaluate(loaded: &Loaded, data: &DataSet, batch: usize) -> Result<Evaluation> {
    let (inputs, classes) = (loaded.network().inputs(), loaded.network().outputs());
    check_inputs(&data.inputs, inputs)?;
    data.check_labels(classes)?;
    let x = data.inputs.scaled();
    let batch = batch.max(1);
    // A batch of a new size compiles shaders, touches memory and may choose kernels: the first and
    // the last, which may be shorter, are computed twice and timed once.
    let all = data.labels.len();
    let sizes = if all > batch { [batch, all % batch] } else { [all, 0] };
    for rows in sizes.into_iter().filter(|rows| *rows > 0) {
        loaded.forward(&x[..inputs * rows], Outputs::Logits)?;
    }
    let (mut logits, mut times) = (Vec::with_capacity(data.labels.len() * classes), vec![]);
    for x in x.chunks(batch * inputs) {
        let start = Instant::now();
        logits.extend(loaded.forward(x, Outputs::Logits)?);
        times.push(start.elapsed());
    }
    let predictions = top_k::argmax(&Backend::Cpu, &logits, classes)?;
    let logarithms = softmax::log_softmax(&Backend::Cpu, &logits, classes, 1.0)?;
    let mut confusion = vec![vec![0; classes]; classes];
    let mut entropy = 0.0;
    for (row, (label, prediction)) in data.labels.iter().zip(&predictions).enumerate() {
        confusion[*label as usize][*prediction as usize] += 1;
        entropy -= f64::from(logarithms[row * classes + *label as usize]);
    }
    let rows = data.labels.len() as u64;
    let correct = (0..classes).map(|class| confusion[class][class]).sum();
    let total: Duration = times.iter().sum();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share).ceil() as usize].as_secs_f64();
    Ok(Evaluation {
        schema_version: 1,
        rows,
        correct,
        accuracy: correct as f64 / rows as f64,
        cross_entropy: entropy / rows as f64,
        classes: (0..classes).map(|class| report(class, &confusion)).collect(),
        confusion,
        batch_size: batch.min(all),
        rows_per_second: rows as f64 / total.as_secs_f64().max(1e-9),
        latency_p50: at(0.5),
        latency_p99: at(0.99),
        device: loaded.backend().name().to_owned(),
        int8_layers: loaded.int8_layers(),
        predictions,
    })
}

fn report(class: usize, confusion: &[Vec<u64>]) -> ClassReport {
    let right = confusion[class][class] as f64;
    let rows: u64 = confusion[class].iter().sum();
    let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
    let share = |of: u64| (of > 0).then(|| right / of as f64);
    ClassReport { class, rows, precision: share(predicted), recall: share(rows) }
}

/// Compares two evaluations of the same data set.
pub fn agreement(first: &Evaluation, second: &Evaluation, labels: &[u32]) -> Agreement {
    let n = labels.len() as f64;
    let (mut same, mut first_only, mut second_only) = (0.0, 0.0, 0.0);
    for ((a, b), label) in first.predictions.iter().zip(&second.predictions).zip(labels) {
        same += f64::from(a == b);
        first_only += f64::from(a == label && b != label);
        second_only += f64::from(b == label && a != label);
    }
    let (first, second) = ((first_only + 1.0) / (n + 2.0), (second_only + 1.0) / (n + 2.0));
    let center: f64 = first - second;
    let half = 1.96 * ((first + second - center * center) / (n + 2.0)).sqrt();
    Agreement {
        agreement: same / n,
        accuracy_difference: (first_only - second_only) / n,
        confidence_95: [(center - half).max(-1.0), (center + half).min(1.0)],
    }
}

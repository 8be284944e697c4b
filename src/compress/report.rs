//! What a run did, in figures.

use serde::Serialize;

use super::plan::{Form, Plan, TensorPlan, packed_outputs};
use super::recipe::{Format, Pruning};
use crate::cpu::slab::ReportSums;
use crate::error::first_of;
use crate::io::TensorSpec;
use crate::stored::{self, Codes};

/// What was done to one tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its shape as it was stored.
    pub shape: Vec<usize>,
    /// Its shape as a dense tensor of its name is stored now: smaller where neurons went.
    pub shape_after: Vec<usize>,
    /// Its type as it was stored.
    pub dtype: &'static str,
    /// What was done, for example `"50% sparse, int4 group 128"`, or `"copied"`.
    pub action: String,
    /// Share of zeros in the result.
    pub sparsity: Option<f64>,
    /// Bits that a weight that stays takes now, scales and masks included.
    pub bits_per_weight: Option<f64>,
    /// Signal to noise of the weights that stay, in decibels; `None` where none of them changed.
    pub sqnr_db: Option<f64>,
    /// Largest |w − w'|.
    pub max_error: Option<f32>,
    /// Weights that saturated.
    pub saturated: Option<u64>,
    /// Bytes before.
    pub bytes_before: u64,
    /// Bytes after.
    pub bytes_after: u64,
}

/// What a run did, or would do.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this form.
    pub schema_version: u32,
    /// The model.
    pub input: String,
    /// What was written; `None` for a dry run.
    pub output: Option<String>,
    /// The form on disk.
    pub format: &'static str,
    /// Where it was computed.
    pub device: String,
    /// Each tensor, in the order of the model.
    pub tensors: Vec<TensorReport>,
    /// Bytes of all tensors before.
    pub bytes_before: u64,
    /// Bytes of all tensors after.
    pub bytes_after: u64,
    /// Share of zeros in all selected tensors.
    pub sparsity: Option<f64>,
    /// Bits that a selected weight takes, on average.
    pub bits_per_weight: Option<f64>,
    /// Signal to noise of all selected tensors in decibels.
    pub sqnr_db: Option<f64>,
    /// Wall-clock time.
    pub seconds: f64,
    /// Input bytes a second, in 10⁹.
    pub gb_per_second: f64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// 10 log₁₀ of signal over error; `None` where there is no error.
pub(super) fn decibels(signal: f64, error: f64) -> Option<f64> {
    (error > 0.0).then(|| 10.0 * (signal / error).log10()).filter(|db| db.is_finite())
}

/// The sums of several slabs, in order.
pub(super) fn add(total: &mut ReportSums, part: &ReportSums) {
    total.signal += part.signal;
    total.error += part.error;
    total.max_error = total.max_error.max(part.max_error);
    total.zeros += part.zeros;
    total.saturated += part.saturated;
}

/// How a tensor is stored: its scheme, or "sparse-bitmask" or "dense".
pub(super) fn form_name(form: &stored::Form) -> String {
    use stored::Form;
    match form {
        Form::Dense(_) => "dense".to_owned(),
        Form::Codes { scheme, codes: Codes::All(_), .. } => scheme.to_string(),
        Form::Codes { scheme, codes: Codes::Kept(_), .. } => {
            format!("{scheme}, {}", Format::SparseBitmask.name())
        }
        Form::Bitmask { .. } => Format::SparseBitmask.name().to_owned(),
    }
}

/// "sparsity 0.5".
pub(super) fn pruning_name(pruning: Pruning) -> String {
    match pruning {
        Pruning::Sparsity { share, global: false } => format!("sparsity {share}"),
        Pruning::Sparsity { share, global: true } => format!("global sparsity {share}"),
        Pruning::Threshold(t) => format!("|w| > {t}"),
        Pruning::ThresholdRatio(ratio) => format!("|w| ≥ {ratio} max"),
        Pruning::Nm(pattern) => pattern.to_string(),
    }
}

fn action(plan: &Plan, tensor: &TensorPlan) -> String {
    let neurons = plan.neurons.as_ref().filter(|_| tensor.slim.is_some());
    let mut parts: Vec<String> =
        neurons.map(|neurons| format!("neurons kept {}", neurons.share)).into_iter().collect();
    match &tensor.work {
        None if parts.is_empty() => return "copied".to_owned(),
        None => {}
        Some(work) => {
            parts.extend(plan.prune.map(pruning_name));
            parts.extend(work.scheme.as_ref().map(ToString::to_string));
        }
    }
    if parts.is_empty() { plan.format.name().to_owned() } else { parts.join(", ") }
}

/// The row of a tensor; `sums` are there when it has been compressed.
pub(super) fn row(plan: &Plan, tensor: &TensorPlan, sums: Option<&ReportSums>) -> TensorReport {
    let bytes_after = tensor.bytes_after();
    let weights = tensor.work.as_ref().map(|work| work.weight.len() as f64).filter(|n| *n > 0.0);
    TensorReport {
        name: tensor.input.name.to_owned(),
        shape: tensor.input.shape.to_vec(),
        shape_after: tensor.shape_after(),
        dtype: tensor.input.dtype.name(),
        action: action(plan, tensor),
        sparsity: sums.zip(weights).map(|(sums, n)| sums.zeros as f64 / n),
        bits_per_weight: weights.map(|n| bytes_after as f64 * 8.0 / n),
        sqnr_db: sums.and_then(|sums| decibels(sums.signal, sums.error)),
        max_error: sums.map(|sums| sums.max_error),
        saturated: sums.filter(|_| quantized(tensor)).map(|sums| sums.saturated),
        bytes_before: tensor.input.bytes(),
        bytes_after,
    }
}

fn quantized(tensor: &TensorPlan) -> bool {
    tensor.work.as_ref().is_some_and(|work| work.scheme.is_some())
}

/// Bytes of the quantized weights that are written behind a mask, and of all of their codes.
fn masked_and_packed(plan: &Plan) -> (u64, u64) {
    let kept = plan.selected().filter(|(_, _, work)| work.form == Form::KeptCodes);
    kept.fold((0, 0), |(masked, packed), (_, tensor, work)| {
        let scheme = work.scheme.as_ref();
        let all = scheme.map(|s| packed_outputs(&tensor.input.name, work.weight, s));
        let bytes: u64 = all.iter().flatten().map(TensorSpec::bytes).sum();
        (masked + tensor.bytes_after(), packed + bytes)
    })
}

/// The report of `plan`; `sums` has an entry for each tensor, or is empty for a dry run.
pub(super) fn report(plan: &Plan, sums: &[ReportSums], device: &str) -> Report {
    let tensors = plan
        .tensors
        .iter()
        .enumerate()
        .map(|(i, tensor)| row(plan, tensor, sums.get(i).filter(|_| tensor.is_selected())));
    let tensors: Vec<TensorReport> = tensors.collect();
    let mut total = ReportSums::default();
    let (mut weights, mut bytes) = (0, 0);
    for (i, tensor, work) in plan.selected() {
        add(&mut total, sums.get(i).unwrap_or(&ReportSums::default()));
        weights += work.weight.len();
        bytes += tensor.bytes_after();
    }
    let weights = Some(weights as f64).filter(|n| *n > 0.0);
    let ran = !sums.is_empty();
    let mut report = Report {
        schema_version: 1,
        input: String::new(),
        output: None,
        format: plan.format.name(),
        device: device.to_owned(),
        warnings: plan.warnings.clone(),
        bytes_before: plan.bytes_before(),
        bytes_after: plan.bytes_after(),
        sparsity: weights.filter(|_| ran).map(|n| total.zeros as f64 / n),
        bits_per_weight: weights.map(|n| bytes as f64 * 8.0 / n),
        sqnr_db: decibels(total.signal, total.error),
        tensors,
        seconds: 0.0,
        gb_per_second: 0.0,
    };
    report.warn(plan);
    report
}

impl Report {
    fn warn(&mut self, plan: &Plan) {
        if let Some(Pruning::ThresholdRatio(ratio)) = plan.prune {
            let gone = |row: &&TensorReport| row.sparsity.is_some_and(|share| share > 0.9);
            let names: Vec<&str> = self.tensors.iter().filter(gone).map(|r| &*r.name).collect();
            if !names.is_empty() {
                let text = format!(
                    "the threshold of {ratio} of the largest weight removed more than 90% of {}; \
                     a ratio is not a sparsity: --sparsity sets the share exactly",
                    first_of(&names)
                );
                self.warnings.push(text);
            }
        }
        let infinite = |row: &&TensorReport| row.max_error.is_some_and(f32::is_infinite);
        let names: Vec<&str> = self.tensors.iter().filter(infinite).map(|r| &*r.name).collect();
        if !names.is_empty() {
            let text = format!(
                "some weights of {} lie so near the largest number of their type that their codes \
                 stand for infinity; --exclude leaves a tensor out",
                first_of(&names)
            );
            self.warnings.push(text);
        }
        let (masked, packed) = masked_and_packed(plan);
        if masked >= packed && packed > 0 {
            let text = format!(
                "too few weights are zero for a mask: the quantized weights take {:.1}% more room \
                 than all of their codes; prune more, or leave --format sparse-bitmask out",
                (masked as f64 / packed as f64 - 1.0) * 100.0
            );
            self.warnings.push(text);
        } else if self.bytes_after >= self.bytes_before {
            self.warnings.extend(why_not_smaller(plan).map(str::to_owned));
        }
    }

    pub(super) fn took(&mut self, time: std::time::Duration) {
        self.seconds = time.as_secs_f64();
        self.gb_per_second = self.bytes_before as f64 / 1e9 / self.seconds.max(1e-9);
    }
}

/// Why the output of `plan` is not smaller, and which option makes it so.
fn why_not_smaller(plan: &Plan) -> Option<&'static str> {
    let quantized = plan.selected().any(|(_, _, work)| work.scheme.is_some());
    match plan.format {
        Format::Dense if quantized => Some(
            "dense weights keep their type, so the file is not smaller; leave --format dense out \
             to store the codes",
        ),
        Format::Dense if plan.prune.is_none() => Some("no neuron goes, so the file is not smaller"),
        Format::Dense => Some(
            "zeros take as much room as other weights in a dense file, so it is not smaller; \
             --format sparse-bitmask or --quantize int4 makes it smaller",
        ),
        Format::SparseBitmask => Some(
            "so few weights are zero that the bit mask takes more room than it saves; a higher \
             --sparsity or --quantize int4 makes the file smaller",
        ),
        Format::CompressedTensors => None,
    }
}

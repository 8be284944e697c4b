//! `tensorpress sweep`

mod show;
mod variants;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::network::{DataArguments, NetworkArguments, dense_and_stored};
use super::{Common, interrupt, output, plot, progress};
use crate::compress::{Execution, Plan, Report};
use crate::error::Result;
use crate::io::{DataSet, Model, refuse_same};
use crate::nn::{self, Agreement, Evaluation, Loaded, Network};
use crate::ops::Backend;
use variants::{Choice, Kind, Variant};

/// Show what compressing in many ways costs in accuracy and gains in size
///
/// Compresses the network in each way, as compress does, and evaluates the result on labelled
/// data, as evaluate does; what is tried is the usual, or with --sparsity, --nm, --threshold-ratio
/// or --quantize only what they give. Nothing is written, except the plot if one is asked for. A *
/// marks the rows that no other row beats in both size and accuracy; below the table are the
/// options that make them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress sweep model.safetensors --data fashion-mnist --plot sweep.svg
  tensorpress sweep model.safetensors --data fashion-mnist --sparsity 0.5,0.7,0.9 --scope global
  tensorpress sweep model.safetensors --data test.npz --quantize int4 --group-size 128,64,32
  tensorpress sweep model.safetensors --data test.npz --limit 1000 --json")]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Only the first N rows of DATA
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Draw accuracy over size, as an .svg file
    #[arg(long, value_name = "FILE", value_parser = plot::file_name)]
    plot: Option<PathBuf>,
    /// Replace the plot if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    choice: Choice,
}

/// The figures of one way of compressing.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    kind: Kind,
    /// What `compress` is given.
    options: Vec<String>,
    accuracy: f64,
    correct: u64,
    cross_entropy: f64,
    /// With the dense network.
    #[serde(flatten)]
    agreement: Agreement,
    /// Share of zeros among the weights that are compressed.
    sparsity: Option<f64>,
    bits_per_weight: Option<f64>,
    /// Of all tensors.
    bytes: u64,
    times_smaller: f64,
    sqnr_db: Option<f64>,
    rows_per_second: f64,
    /// Layers whose inputs might be rounded to 8 bits.
    int8_layers: usize,
    /// No other row is as small and as accurate, or smaller, or more accurate.
    pareto: bool,
}

#[derive(Debug, Serialize)]
struct Sweep {
    schema_version: u32,
    model: String,
    data: String,
    /// Rows of data.
    data_rows: usize,
    device: String,
    batch_size: usize,
    notes: Vec<String>,
    rows: Vec<Row>,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    if let Some(path) = &arguments.plot {
        plot::check(path, arguments.force)?;
        refuse_same(&arguments.network.model, path)?;
        refuse_same(&arguments.data.path, path)?;
    }
    // What contradicts itself is told before anything is read.
    arguments.choice.variants(None).iter().try_for_each(|v| v.recipe.recipe().map(drop))?;
    let sweep = sweep(arguments, common)?;
    if let Some(path) = &arguments.plot {
        plot::write(&[show::chart(&sweep)], path, arguments.force)?;
    }
    if common.json { output::json(&sweep) } else { output::print(&show::text(&sweep, arguments)) }
}

fn sweep(arguments: &Arguments, common: &Common) -> Result<Sweep> {
    let Arguments { network: named, choice, .. } = arguments;
    let (model, network) = named.read(&named.model, common)?;
    let backend = named.open_device(common)?;
    let mut data = arguments.data.open()?.into_floats();
    if let Some(limit) = arguments.limit {
        data.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let folder = interrupt::temporary_folder()?;
    let of_copy = |error: crate::Error| error.of_copy(folder.path(), &named.model);
    let (dense, stored) = dense_and_stored(model, folder.path())?;
    let weights = weights(&dense, choice)?;
    let variants = choice.variants(group_size(&weights));
    let output = folder.path().join("compressed");
    let bench = Bench {
        network,
        backend,
        data,
        batch: named.batch_size(),
        int8_activations: named.int8_activations(),
        description: named.description(),
        output,
    };
    let in_data = |error: crate::Error| error.in_file(&arguments.data.path);
    let bar = progress::steps(common, variants.len() as u64);
    let forms = variants.iter().map(|variant| {
        let form = bench.compressed(&dense, variant).map_err(in_data).map_err(of_copy)?;
        bar.inc(1);
        Ok(form)
    });
    let mut forms = forms.collect::<Result<Vec<Measured>>>()?;
    if let Some(model) = &stored {
        forms.insert(1, bench.stored(model).map_err(in_data)?);
    }
    bar.finish_and_clear();
    let rows = forms.iter().map(|form| row(form, &forms[0], &bench.data.labels));
    let mut rows: Vec<Row> = rows.collect();
    mark_pareto(&mut rows);
    let mut notes = notes(&variants, &weights);
    if bench.int8_activations {
        let note = int8_note(&rows);
        if rows.iter().all(|row| row.int8_layers == 0) {
            output::warn(common, &note);
        }
        notes.push(note);
    }
    Ok(Sweep {
        schema_version: 1,
        model: named.model.display().to_string(),
        data: arguments.data.path.display().to_string(),
        data_rows: bench.data.labels.len(),
        device: bench.backend.name().to_owned(),
        batch_size: bench.batch.min(bench.data.labels.len()),
        notes,
        rows,
    })
}

/// What is the same for every row.
struct Bench {
    network: Network,
    backend: Backend,
    data: DataSet,
    batch: usize,
    int8_activations: bool,
    /// What `compress` is given to describe the same network.
    description: Vec<String>,
    /// Where a compressed model lies while it is measured.
    output: PathBuf,
}

/// A form of the network, measured.
struct Measured {
    name: String,
    kind: Kind,
    options: Vec<String>,
    bytes: u64,
    /// What compressing said, where it was compressed here.
    report: Option<Report>,
    evaluation: Evaluation,
}

impl Bench {
    fn compressed(&self, dense: &Model, variant: &Variant) -> Result<Measured> {
        let recipe = variant.recipe.recipe()?.force(true);
        let report = recipe.compress_with(dense, &self.output, &Execution::new(&Backend::Cpu))?;
        let evaluation = self.evaluate(&Model::open(&self.output)?)?;
        let options = match variant.kind {
            Kind::Dense => vec![],
            _ => [variant.recipe.options(), self.description.clone()].concat(),
        };
        let (name, kind) = (variant.name.clone(), variant.kind);
        Ok(Measured {
            name,
            kind,
            options,
            bytes: report.bytes_after,
            report: Some(report),
            evaluation,
        })
    }

    fn stored(&self, model: &Model) -> Result<Measured> {
        Ok(Measured {
            name: "as stored".to_owned(),
            kind: Kind::Stored,
            options: vec![],
            bytes: model.tensors().map(|(_, tensor)| tensor.bytes()).sum(),
            report: None,
            evaluation: self.evaluate(model)?,
        })
    }

    fn evaluate(&self, model: &Model) -> Result<Evaluation> {
        let loaded = Loaded::new(&self.backend, model, self.network.clone())?;
        let loaded = loaded.int8_activations(self.int8_activations);
        nn::evaluate(&loaded, &self.data, self.batch)
    }
}

/// The figures of a form beside those of the dense one.
fn row(form: &Measured, dense: &Measured, labels: &[u32]) -> Row {
    let (found, report) = (&form.evaluation, form.report.as_ref());
    Row {
        name: form.name.clone(),
        kind: form.kind,
        options: form.options.clone(),
        accuracy: found.accuracy,
        correct: found.correct,
        cross_entropy: found.cross_entropy,
        agreement: nn::agreement(found, &dense.evaluation, labels),
        sparsity: report.and_then(|report| report.sparsity),
        bits_per_weight: report.and_then(|report| report.bits_per_weight),
        bytes: form.bytes,
        times_smaller: dense.bytes as f64 / form.bytes.max(1) as f64,
        sqnr_db: report.and_then(|report| report.sqnr_db),
        rows_per_second: found.rows_per_second,
        int8_layers: found.int8_layers,
        pareto: false,
    }
}

/// Marks the rows that no other beats in both size and accuracy.
fn mark_pareto(rows: &mut [Row]) {
    let all: Vec<(u64, u64)> = rows.iter().map(|row| (row.bytes, row.correct)).collect();
    for row in rows {
        let beats = |other: &(u64, u64)| {
            let as_good = other.0 <= row.bytes && other.1 >= row.correct;
            as_good && *other != (row.bytes, row.correct)
        };
        row.pareto = !all.iter().any(beats);
    }
}

/// A weight that is compressed.
struct Weight {
    name: String,
    outputs: usize,
    inputs: usize,
}

/// The weights that are compressed.
fn weights(dense: &Model, choice: &Choice) -> Result<Vec<Weight>> {
    let plan = Plan::new(dense, &choice.variants(None)[0].recipe.recipe()?)?;
    let weights = plan.tensors.iter().filter_map(|tensor| {
        let (outputs, inputs) = tensor.features()?;
        Some(Weight { name: tensor.input.name.clone(), outputs, inputs })
    });
    Ok(weights.collect())
}

/// The largest usual group size of which every row is a whole number of, or else the most weights.
fn group_size(weights: &[Weight]) -> Option<usize> {
    let covered = |size: &usize| -> usize {
        let whole = weights.iter().filter(|w| w.inputs.is_multiple_of(*size));
        whole.map(|w| w.outputs * w.inputs).sum()
    };
    // Of equal ones the last counts.
    [16, 32, 64, 128].into_iter().max_by_key(covered).filter(|size| covered(size) > 0)
}

/// What rounding inputs reached.
fn int8_note(rows: &[Row]) -> String {
    match rows.iter().filter(|row| row.int8_layers > 0).count() {
        0 => {
            "--int8-activations changes nothing: no row has layers of codes that can be multiplied \
              so; --quantize makes some"
                .to_owned()
        }
        count => format!(
            "--int8-activations: activations into the quantized layers of {count} rows are rounded \
             to 8 bits"
        ),
    }
}

/// What rows with groups leave out.
fn notes(variants: &[Variant], weights: &[Weight]) -> Vec<String> {
    let mut sizes: Vec<usize> = variants.iter().filter_map(|v| v.recipe.codes.group_size).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.dedup();
    let note = |size: usize| {
        let broken = weights.iter().filter(|w| !w.inputs.is_multiple_of(size));
        let broken: Vec<String> =
            broken.map(|w| format!("{} ({} inputs)", w.name, w.inputs)).collect();
        let text = format!(
            "group {size}: a scale a row, where rows are not whole groups: {}",
            broken.join(", ")
        );
        (!broken.is_empty()).then_some(text)
    };
    sizes.into_iter().filter_map(note).collect()
}

#[cfg(test)]
mod tests;

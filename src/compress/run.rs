//! A recipe carried out: plan, scan, last pass and report.

use std::path::Path;
use std::time::Instant;

use super::config;
use super::execution::{Advance, Execution};
use super::last_pass::LastPass;
use super::neurons;
use super::output::{Metadata, Output, set_metadata};
use super::pass::Context;
use super::plan::{Form, Plan, TensorPlan, Work, bitmask_outputs, kept_codes_outputs};
use super::recipe::Recipe;
use super::report::{self, Report};
use super::scan::{self, TensorScan};
use crate::cpu::slab::ReportSums;
use crate::error::Result;
use crate::io::{Model, TensorSpec};
use crate::nn::Network;
use crate::ops::Backend;
use crate::stored;

impl Recipe {
    /// Compresses `model` to `output`: a file where the model is one, otherwise a directory.
    ///
    /// # Errors
    /// A [`crate::error::UsageError`] where the recipe does not fit the model, bad data, a device
    /// that fails, or an output that cannot be written. Whatever stood at `output` still stands.
    pub fn compress(&self, model: &Model, output: &Path, backend: &Backend) -> Result<Report> {
        self.compress_with(model, output, &Execution::new(backend))
    }

    /// [`Recipe::compress`] with progress and a number of threads.
    ///
    /// # Errors
    /// As [`Recipe::compress`].
    pub fn compress_with(
        &self,
        model: &Model,
        output: &Path,
        execution: &Execution<'_>,
    ) -> Result<Report> {
        let start = Instant::now();
        let mut plan = Plan::new(model, self)?;
        Output::check(model, output, self.force)?;
        (execution.progress)(Advance::Begin {
            bytes: plan.bytes_to_scan()
                + plan.tensors.iter().map(TensorPlan::bytes_kept).sum::<u64>(),
        });
        let context = Context::new(model, execution, self.allow_non_finite);
        neurons::choose(&context, &mut plan)?;
        let scans = scan::run(&context, &plan)?;
        plan.set_kept(&scans);
        let quantization = config::quantization(&plan, kept_share(&plan, &scans));
        let mut writing = Output::begin(model, output, self.force, plan.bytes_after())?;
        let mut sums = vec![ReportSums::default(); plan.tensors.len()];
        for shard in 0..model.shards().len() {
            let specs: Vec<TensorSpec> =
                plan.in_shard(shard).flat_map(|(_, tensor)| tensor.outputs.clone()).collect();
            let mut metadata = metadata(model, &plan, shard, quantization.as_ref());
            set_metadata(&mut metadata, &self.metadata, shard);
            let writer = writing.shard(shard, specs, &metadata)?;
            LastPass::new(&context, &plan, &scans, &writer, shard).run(&mut sums)?;
            writing.finish(writer)?;
        }
        let tensors = plan.tensors.iter().flat_map(|t| t.outputs.iter().map(|o| (t.shard, o)));
        writing.commit(tensors, quantization.as_ref())?;
        let mut report = report::report(&plan, &sums, execution.backend.name());
        report.input = model.root().display().to_string();
        report.output = Some(output.display().to_string());
        report.took(start.elapsed());
        Ok(report)
    }

    /// What [`Recipe::compress`] would do, with sizes. Reads headers only, unless a bit mask is
    /// to be written, whose size depends on the weights.
    ///
    /// # Errors
    /// As [`Recipe::compress`], but for the output.
    pub fn dry_run(&self, model: &Model, execution: &Execution<'_>) -> Result<Report> {
        let start = Instant::now();
        let mut plan = Plan::new(model, self)?;
        if plan.selected().any(|(_, _, work)| work.form.has_mask()) {
            (execution.progress)(Advance::Begin { bytes: plan.bytes_to_scan() });
            let context = Context::new(model, execution, self.allow_non_finite);
            neurons::choose(&context, &mut plan)?;
            let scans = scan::run(&context, &plan)?;
            plan.set_kept(&scans);
        }
        let mut report = report::report(&plan, &[], execution.backend.name());
        report.input = model.root().display().to_string();
        report.took(start.elapsed());
        Ok(report)
    }
}

impl Plan {
    /// Bytes that are read before the last pass.
    fn bytes_to_scan(&self) -> u64 {
        neurons::bytes_to_read(self) + scan::bytes_to_read(self)
    }

    /// Puts what is kept into the shapes of the outputs.
    fn set_kept(&mut self, scans: &[TensorScan]) {
        for (tensor, scan) in self.tensors.iter_mut().zip(scans) {
            let Some(work) = &tensor.work else { continue };
            let (name, kept) = (&tensor.input.name, scan.kept_in_all());
            match (work.form, &work.scheme) {
                (Form::Bitmask, _) => {
                    let kept = kept.weights as usize;
                    tensor.outputs = bitmask_outputs(name, work.weight, kept);
                }
                (Form::KeptCodes, Some(scheme)) => {
                    tensor.outputs = kept_codes_outputs(name, work.weight, scheme, kept);
                }
                (Form::Dense | Form::Packed | Form::KeptCodes, _) => {}
            }
        }
    }

    pub(super) fn in_shard(&self, shard: usize) -> impl Iterator<Item = (usize, &TensorPlan)> {
        self.tensors.iter().enumerate().filter(move |(_, tensor)| tensor.shard == shard)
    }
}

/// Share of weights that stay, where bit masks are written.
fn kept_share(plan: &Plan, scans: &[TensorScan]) -> Option<f64> {
    let kept: u64 = scans.iter().map(|scan| scan.kept_in_all().weights).sum();
    let weights: usize = plan.selected().map(|(_, _, work)| work.weight.len()).sum();
    (weights > 0).then(|| kept as f64 / weights as f64)
}

/// The metadata of a shard: its own, and what a reader must know.
fn metadata(
    model: &Model,
    plan: &Plan,
    shard: usize,
    quantization: Option<&serde_json::Value>,
) -> Metadata {
    let mut metadata = model.shards()[shard].metadata().clone();
    metadata.remove(stored::QUANTIZATION);
    if let Some(json) = plan.neurons.as_ref().and_then(|neurons| neurons.description.clone()) {
        metadata.insert(Network::KEY.into(), json);
    }
    if metadata.is_empty() {
        metadata.insert("format".into(), "pt".into());
    }
    if let Some(json) = quantization.filter(|_| model.config().is_none()) {
        metadata.insert(stored::QUANTIZATION.into(), json.to_string());
    }
    let names = |wanted: &dyn Fn(&TensorPlan, &Work) -> bool| -> Vec<&str> {
        let works = plan.in_shard(shard).filter_map(|(_, t)| Some((t, t.work.as_ref()?)));
        let works = works.filter(|(t, work)| work.form != Form::Dense && wanted(t, work));
        works.map(|(tensor, _)| &*tensor.input.name).collect()
    };
    let transposed = names(&|_, work| work.weight.transposed);
    let odd = names(&|tensor, _| !tensor.input.name.ends_with(".weight"));
    for (key, names) in [(stored::TRANSPOSED, transposed), (stored::NAMES, odd)] {
        if !names.is_empty() {
            metadata.insert(key.into(), serde_json::Value::from(names).to_string());
        }
    }
    metadata
}

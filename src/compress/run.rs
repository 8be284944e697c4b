//! The last pass: every slab is read, computed and written by whichever worker is free.

use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use super::config;
use super::output::{Metadata, Output};
use super::pass::{Context, Loaded, Progress, Slab, slabs};
use super::plan::{Form, OutputTensor, Plan, TensorPlan, Work, bitmask_outputs, groups};
use super::recipe::Recipe;
use super::report::{self, Report};
use super::scan::{self, TensorScan};
use super::workers;
use crate::cpu;
use crate::cpu::slab::{ReportSums, SlabOutput};
use crate::error::{Error, Result};
use crate::io::{Model, SafetensorsWriter};
use crate::ops::{self, Backend};
use crate::scheme::{Granularity, QuantParams, QuantScheme};

/// Bytes of a carried-over tensor that a worker takes at once.
const COPY_BYTES: usize = 4 << 20;

impl Recipe {
    /// Compresses `model` to `output`: a file where the model is one, otherwise a directory.
    ///
    /// # Errors
    /// A [`crate::error::UsageError`] where the recipe does not fit the model, bad data, a device
    /// that fails, or an output that cannot be written. Whatever stood at `output` still stands.
    pub fn compress(&self, model: &Model, output: &Path, backend: &Backend) -> Result<Report> {
        self.compress_with(model, output, backend, &|_| {})
    }

    /// [`Recipe::compress`] that tells `progress` of every byte read.
    ///
    /// # Errors
    /// As [`Recipe::compress`].
    pub fn compress_with(
        &self,
        model: &Model,
        output: &Path,
        backend: &Backend,
        progress: Progress<'_>,
    ) -> Result<Report> {
        let start = Instant::now();
        let mut plan = Plan::new(model, self)?;
        let writing = Output::begin(model, output, self.force)?;
        let context = self.context(model, backend, progress);
        let scans = scan::run(&context, &plan)?;
        plan.set_kept(&scans);
        let quantization = config::quantization(&plan, kept_share(&plan, &scans));
        let mut sums = vec![ReportSums::default(); plan.tensors.len()];
        for shard in 0..model.shards().len() {
            let outputs: Vec<&OutputTensor> =
                plan.in_shard(shard).flat_map(|t| &t.outputs).collect();
            let metadata = metadata(model, &plan, shard, quantization.as_ref());
            let writer = writing.shard(shard, &outputs, &metadata)?;
            let last = LastPass { context: &context, plan: &plan, scans: &scans, writer: &writer };
            last.run(shard, &mut sums)?;
            writing.finish(writer)?;
        }
        let tensors = plan.tensors.iter().flat_map(|t| t.outputs.iter().map(|o| (t.shard, o)));
        writing.commit(tensors, quantization.as_ref())?;
        let mut report = report::report(&plan, &sums, backend.name());
        report.input = model.path().display().to_string();
        report.output = Some(output.display().to_string());
        report.took(start.elapsed());
        Ok(report)
    }

    /// What [`Recipe::compress`] would do, with sizes. Reads headers only, unless a bit mask is
    /// to be written, whose size depends on the weights.
    ///
    /// # Errors
    /// As [`Recipe::compress`], but for the output.
    pub fn dry_run(
        &self,
        model: &Model,
        backend: &Backend,
        progress: Progress<'_>,
    ) -> Result<Report> {
        let start = Instant::now();
        let mut plan = Plan::new(model, self)?;
        if plan.selected().any(|(_, _, work)| work.form == Form::Bitmask) {
            let context = self.context(model, backend, progress);
            let scans = scan::run(&context, &plan)?;
            plan.set_kept(&scans);
        }
        let mut report = report::report(&plan, &[], backend.name());
        report.input = model.path().display().to_string();
        report.took(start.elapsed());
        Ok(report)
    }

    fn context<'a>(
        &self,
        model: &'a Model,
        backend: &'a Backend,
        progress: Progress<'a>,
    ) -> Context<'a> {
        let threads = self.threads.map(usize::from);
        Context::new(model, backend, threads, self.allow_non_finite, progress)
    }
}

impl Plan {
    /// Puts the numbers of kept weights into the shapes of the outputs.
    fn set_kept(&mut self, scans: &[TensorScan]) {
        for (tensor, scan) in self.tensors.iter_mut().zip(scans) {
            if let Some(work) = tensor.work.as_ref().filter(|work| work.form == Form::Bitmask) {
                let kept = scan.kept_in_all() as usize;
                tensor.outputs = bitmask_outputs(tensor.input.name(), work.weight, kept);
            }
        }
    }

    fn in_shard(&self, shard: usize) -> impl Iterator<Item = &TensorPlan> {
        self.tensors.iter().filter(move |tensor| tensor.shard == shard)
    }
}

/// Share of weights that stay, where bit masks are written.
fn kept_share(plan: &Plan, scans: &[TensorScan]) -> Option<f64> {
    let kept: u64 = scans.iter().map(TensorScan::kept_in_all).sum();
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
    let mut metadata = model.shards()[shard].metadata().to_vec();
    metadata.retain(|(key, _)| key != config::QUANTIZATION);
    if metadata.is_empty() {
        metadata.push(("format".into(), "pt".into()));
    }
    if let Some(json) = quantization.filter(|_| model.config().is_none()) {
        metadata.push((config::QUANTIZATION.into(), json.to_string()));
    }
    let compressed =
        |tensor: &&TensorPlan| tensor.work.as_ref().is_some_and(|work| work.form != Form::Dense);
    let names = |wanted: &dyn Fn(&TensorPlan) -> bool| -> Vec<&str> {
        let tensors = plan.in_shard(shard).filter(compressed).filter(|t| wanted(t));
        tensors.map(|tensor| tensor.input.name()).collect()
    };
    let transposed = names(&|t| t.work.as_ref().is_some_and(|work| work.weight.transposed));
    let odd = names(&|t| !t.input.name().ends_with(".weight"));
    for (key, names) in [(config::TRANSPOSED, transposed), (config::NAMES, odd)] {
        if !names.is_empty() {
            metadata.push((key.into(), serde_json::Value::from(names).to_string()));
        }
    }
    metadata
}

/// What the workers of the last pass share.
struct LastPass<'a> {
    context: &'a Context<'a>,
    plan: &'a Plan,
    scans: &'a [TensorScan],
    writer: &'a SafetensorsWriter,
}

/// One job of a worker.
enum Job {
    Compress(Slab),
    Copy { tensor: usize, start: usize, end: usize },
}

impl LastPass<'_> {
    fn run(&self, shard: usize, sums: &mut [ReportSums]) -> Result<()> {
        let jobs = self.jobs(shard);
        let zero_points: Vec<Mutex<Vec<i8>>> =
            self.plan.tensors.iter().map(|tensor| Mutex::new(zero_points(tensor))).collect();
        let parts = workers::map(self.context.threads, &jobs, |job| match job {
            Job::Compress(slab) => self
                .context
                .load(self.plan, slab, |loaded| self.compress(loaded, &zero_points[slab.tensor])),
            Job::Copy { tensor, start, end } => {
                self.copy(*tensor, *start..*end)?;
                Ok(ReportSums::default())
            }
        })?;
        for (job, part) in jobs.iter().zip(&parts) {
            if let Job::Compress(slab) = job {
                report::add(&mut sums[slab.tensor], part);
            }
        }
        for ((_, tensor, work), zero_points) in self
            .plan
            .selected()
            .filter_map(|each| (each.1.shard == shard).then(|| (each, &zero_points[each.0])))
        {
            self.write_whole(tensor, work, zero_points)?;
        }
        Ok(())
    }

    fn jobs(&self, shard: usize) -> Vec<Job> {
        let in_shard = |tensor: &TensorPlan| tensor.shard == shard;
        let slabs = slabs(self.plan, |tensor, _| in_shard(tensor));
        let mut jobs: Vec<Job> = slabs.into_iter().map(Job::Compress).collect();
        for (tensor, plan) in self.plan.tensors.iter().enumerate() {
            if in_shard(plan) && !plan.is_selected() {
                let bytes = plan.input.bytes() as usize;
                for start in (0..bytes).step_by(COPY_BYTES) {
                    jobs.push(Job::Copy { tensor, start, end: bytes.min(start + COPY_BYTES) });
                }
            }
        }
        jobs
    }

    fn copy(&self, tensor: usize, range: std::ops::Range<usize>) -> Result<()> {
        let plan = &self.plan.tensors[tensor];
        let file = self.context.file(plan);
        let data = file.bytes(&plan.input, range.clone());
        self.writer.write_at(plan.input.name(), range.start as u64, data)?;
        (self.context.progress)(range.len() as u64);
        file.release(&plan.input, range);
        Ok(())
    }

    fn compress(&self, loaded: &Loaded<'_>, zero_points: &Mutex<Vec<i8>>) -> Result<ReportSums> {
        let tensor = &self.plan.tensors[loaded.slab.tensor];
        let scan = &self.scans[loaded.slab.tensor];
        let step = scan.step(loaded, loaded.work.form != Form::Packed);
        let result = ops::slab::run(self.context.backend, loaded.matrix(), &step)?;
        match (loaded.work.form, &loaded.work.scheme) {
            (Form::Packed, Some(scheme)) => {
                self.write_packed(tensor, loaded, scheme, &result)?;
                keep_zero_points(loaded, scheme, &result.params, zero_points);
            }
            (Form::Bitmask, _) => self.write_bitmask(tensor, loaded, scan, &result.dense)?,
            (Form::Dense | Form::Packed, _) => {
                let name = tensor.input.name();
                loaded.work.weight.scatter(&loaded.slab.rows, &result.dense, |at, piece| {
                    self.writer.write_at(name, at, piece)
                })?;
            }
        }
        Ok(result.sums)
    }

    fn write_packed(
        &self,
        tensor: &TensorPlan,
        loaded: &Loaded<'_>,
        scheme: &QuantScheme,
        result: &SlabOutput,
    ) -> Result<()> {
        let [packed, scale, ..] = &tensor.outputs[..] else {
            return Err(Error::Bug { what: "a packed weight without outputs" });
        };
        let (weight, first) = (loaded.work.weight, loaded.slab.rows.start);
        let at = first * scheme.words_per_row(weight.cols) * 4;
        self.writer.write_at(&packed.name, at as u64, &words(&result.packed))?;
        let mut bytes = vec![];
        weight.float.encode(&result.params.scale, &mut bytes);
        let at = first * groups(weight, scheme) * weight.float.size();
        self.writer.write_at(&scale.name, at as u64, &bytes)
    }

    fn write_bitmask(
        &self,
        tensor: &TensorPlan,
        loaded: &Loaded<'_>,
        scan: &TensorScan,
        dense: &[u8],
    ) -> Result<()> {
        let [_, compressed, bitmask, row_offsets] = &tensor.outputs[..] else {
            return Err(Error::Bug { what: "a bit mask without outputs" });
        };
        let (weight, first) = (loaded.work.weight, loaded.slab.rows.start);
        let mask = ops::bitmask::encode(self.context.backend, weight.float, dense, weight.cols)?;
        let before = scan.kept[loaded.slab.number];
        let size = weight.float.size() as u64;
        if mask.compressed.len() as u64 != (scan.kept[loaded.slab.number + 1] - before) * size {
            return Err(Error::Bug { what: "two passes over a weight kept different numbers" });
        }
        self.writer.write_at(&compressed.name, before * size, &mask.compressed)?;
        let at = (first * weight.cols.div_ceil(8)) as u64;
        self.writer.write_at(&bitmask.name, at, &mask.bitmask)?;
        let offsets = mask.row_offsets.iter().flat_map(|n| (n + before as i64).to_le_bytes());
        let offsets: Vec<u8> = offsets.collect();
        self.writer.write_at(&row_offsets.name, first as u64 * 8, &offsets)
    }

    /// What is known only when all slabs are done, or has nothing to do with them.
    fn write_whole(
        &self,
        tensor: &TensorPlan,
        work: &Work,
        zero_points: &Mutex<Vec<i8>>,
    ) -> Result<()> {
        let shape: Vec<u8> = [work.weight.rows, work.weight.cols]
            .iter()
            .flat_map(|n| (*n as i64).to_le_bytes())
            .collect();
        let (shape_output, scheme) = match (work.form, &work.scheme) {
            (Form::Packed, Some(scheme)) => (&tensor.outputs[2], Some(scheme)),
            (Form::Bitmask, _) => (&tensor.outputs[0], None),
            (Form::Dense | Form::Packed, _) => return Ok(()),
        };
        self.writer.write_at(&shape_output.name, 0, &shape)?;
        let Some(scheme) = scheme else { return Ok(()) };
        let params = self.scans.iter().zip(&self.plan.tensors);
        let params = params.filter(|(_, t)| t.input.name() == tensor.input.name());
        let params = params.filter_map(|(scan, _)| scan.params.as_ref()).next();
        if let Some(params) = params {
            let mut bytes = vec![];
            work.weight.float.encode(&params.scale, &mut bytes);
            self.writer.write_at(&tensor.outputs[1].name, 0, &bytes)?;
        }
        if let Some(output) = tensor.outputs.get(3) {
            let zero_points = zero_points.lock().unwrap_or_else(|e| e.into_inner());
            let bytes = match params {
                Some(params) => params.zero_point.iter().map(|zp| *zp as u8).collect(),
                None => {
                    let (rows, groups) = (work.weight.rows, groups(work.weight, scheme));
                    words(&cpu::pack::pack_zero_points(&zero_points, rows, groups, scheme.bits))
                }
            };
            self.writer.write_at(&output.name, 0, &bytes)?;
        }
        Ok(())
    }
}

/// Room for the zero points of `tensor`, which are packed across slabs.
fn zero_points(tensor: &TensorPlan) -> Vec<i8> {
    let Some(work) = &tensor.work else { return vec![] };
    match &work.scheme {
        Some(scheme) if !scheme.symmetric && scheme.granularity != Granularity::Tensor => {
            vec![0; work.weight.rows * groups(work.weight, scheme)]
        }
        _ => vec![],
    }
}

fn keep_zero_points(
    loaded: &Loaded<'_>,
    scheme: &QuantScheme,
    params: &QuantParams,
    all: &Mutex<Vec<i8>>,
) {
    if !params.zero_point.is_empty() {
        let first = loaded.slab.rows.start * groups(loaded.work.weight, scheme);
        // A poisoned lock only means that another worker panicked; the scope panics then.
        let mut all = all.lock().unwrap_or_else(|e| e.into_inner());
        all[first..first + params.zero_point.len()].copy_from_slice(&params.zero_point);
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

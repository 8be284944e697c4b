//! The last pass: every slab is read, computed and written by whichever worker is free.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use super::config;
use super::execution::{Advance, Execution};
use super::neurons::{self, Slim};
use super::output::{Metadata, Output, copy_ranges, set_metadata};
use super::pass::{Context, Loaded, Slab, slabs};
use super::plan::{Form, Plan, TensorPlan, Work, bitmask_outputs};
use super::recipe::Recipe;
use super::report::{self, Report};
use super::scan::{self, TensorScan};
use super::workers::{self, lock};
use crate::cpu;
use crate::cpu::slab::{ReportSums, SlabOutput};
use crate::error::{Error, Result};
use crate::io::{Model, SafetensorsWriter, TensorSpec};
use crate::nn::Network;
use crate::ops::{self, Backend};
use crate::scheme::{Granularity, QuantParams, QuantScheme};
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
        if plan.selected().any(|(_, _, work)| work.form == Form::Bitmask) {
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

    /// Puts the numbers of kept weights into the shapes of the outputs.
    fn set_kept(&mut self, scans: &[TensorScan]) {
        for (tensor, scan) in self.tensors.iter_mut().zip(scans) {
            if let Some(work) = tensor.work.as_ref().filter(|work| work.form == Form::Bitmask) {
                let kept = scan.kept_in_all() as usize;
                tensor.outputs = bitmask_outputs(&tensor.input.name, work.weight, kept);
            }
        }
    }

    fn in_shard(&self, shard: usize) -> impl Iterator<Item = (usize, &TensorPlan)> {
        self.tensors.iter().enumerate().filter(move |(_, tensor)| tensor.shard == shard)
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

/// What the workers of the last pass over a shard share.
struct LastPass<'a> {
    context: &'a Context<'a>,
    plan: &'a Plan,
    scans: &'a [TensorScan],
    writer: &'a SafetensorsWriter,
    shard: usize,
    /// Number of each tensor's first output in `writer`.
    first_output: Vec<usize>,
    /// Zero points of each tensor, which are packed across slabs.
    zero_points: Vec<Mutex<Vec<i8>>>,
}

/// One job of a worker.
enum Job {
    Compress(Slab),
    /// Rows of what neurons leave of a tensor.
    Slim {
        tensor: usize,
        slim: Slim,
        rows: Range<usize>,
    },
    Copy {
        tensor: usize,
        range: Range<usize>,
    },
}

impl<'a> LastPass<'a> {
    fn new(
        context: &'a Context<'a>,
        plan: &'a Plan,
        scans: &'a [TensorScan],
        writer: &'a SafetensorsWriter,
        shard: usize,
    ) -> Self {
        let (mut first_output, mut zero_points) = (vec![], vec![]);
        let mut next = 0;
        for tensor in &plan.tensors {
            let here = tensor.shard == shard;
            first_output.push(next);
            next += if here { tensor.outputs.len() } else { 0 };
            let len = if here { zero_points_len(tensor) } else { 0 };
            zero_points.push(Mutex::new(vec![0; len]));
        }
        Self { context, plan, scans, writer, shard, first_output, zero_points }
    }

    fn run(&self, sums: &mut [ReportSums]) -> Result<()> {
        let jobs = self.jobs();
        let parts = workers::map(self.context.threads, &jobs, |job| match job {
            Job::Compress(slab) => self.context.load(self.plan, slab, |loaded| {
                let sums = self.compress(loaded)?;
                self.context.read(loaded.data.len());
                Ok(sums)
            }),
            Job::Slim { tensor, slim, rows } => {
                self.slim(*tensor, slim, rows)?;
                Ok(ReportSums::default())
            }
            Job::Copy { tensor, range } => {
                self.copy(*tensor, range)?;
                Ok(ReportSums::default())
            }
        })?;
        for (job, part) in jobs.iter().zip(&parts) {
            if let Job::Compress(slab) = job {
                report::add(&mut sums[slab.tensor], part);
            }
        }
        for (number, _) in self.plan.in_shard(self.shard) {
            self.write_whole(number)?;
        }
        Ok(())
    }

    fn jobs(&self) -> Vec<Job> {
        let slabs = slabs(self.plan, |tensor, _| tensor.shard == self.shard);
        let mut jobs: Vec<Job> = slabs.into_iter().map(Job::Compress).collect();
        for (tensor, plan) in self.plan.in_shard(self.shard).filter(|(_, t)| !t.is_selected()) {
            if let Some(slim) = plan.slim.map(|slim| slim.as_stored()) {
                jobs.extend(slim.rest.slabs().map(|rows| Job::Slim { tensor, slim, rows }));
                continue;
            }
            let bytes = plan.input.bytes() as usize;
            jobs.extend(copy_ranges(bytes).map(|range| Job::Copy { tensor, range }));
        }
        jobs
    }

    /// Writes to output `number` of a tensor.
    fn write(&self, tensor: usize, number: usize, at: usize, bytes: &[u8]) -> Result<()> {
        self.writer.write_at(self.first_output[tensor] + number, at as u64, bytes)
    }

    fn slim(&self, tensor: usize, slim: &Slim, rows: &Range<usize>) -> Result<()> {
        let data = self.context.kept(self.plan, &self.plan.tensors[tensor], slim, rows)?;
        self.context.read(data.len());
        slim.rest.scatter(rows, &data, |at, piece| self.write(tensor, 0, at, piece))
    }

    fn copy(&self, tensor: usize, range: &Range<usize>) -> Result<()> {
        let plan = &self.plan.tensors[tensor];
        let file = self.context.file(plan);
        self.write(tensor, 0, range.start, file.bytes(&plan.input, range.clone()))?;
        self.context.read(range.len());
        file.release(&plan.input, range.clone());
        Ok(())
    }

    fn compress(&self, loaded: &Loaded<'_>) -> Result<ReportSums> {
        let (slab, work) = (loaded.slab, loaded.work);
        let step = self.scans[slab.tensor].step(loaded, work.form != Form::Packed);
        let result = ops::slab::run(self.context.backend, loaded.matrix(), &step)?;
        match (work.form, &work.scheme) {
            (Form::Packed, Some(scheme)) => self.write_packed(loaded, scheme, &result)?,
            (Form::Bitmask, _) => self.write_bitmask(loaded, &result.dense)?,
            (Form::Dense | Form::Packed, _) => {
                work.weight.scatter(&slab.rows, &result.dense, |at, piece| {
                    self.write(slab.tensor, 0, at, piece)
                })?;
            }
        }
        Ok(result.sums)
    }

    fn write_packed(
        &self,
        loaded: &Loaded<'_>,
        scheme: &QuantScheme,
        result: &SlabOutput,
    ) -> Result<()> {
        let (weight, first) = (loaded.work.weight, loaded.slab.rows.start);
        let tensor = loaded.slab.tensor;
        let at = first * scheme.words_per_row(weight.cols) * 4;
        self.write(tensor, 0, at, &bytes_of(&result.packed))?;
        let QuantParams { scale, zero_point } = &result.params;
        if scale.is_empty() {
            // One scale serves the whole tensor; `write_whole` writes it.
            return Ok(());
        }
        let first_segment = first * weight.groups(scheme);
        let mut bytes = vec![];
        weight.float.encode(scale, &mut bytes);
        self.write(tensor, 1, first_segment * weight.float.size(), &bytes)?;
        if !zero_point.is_empty() {
            lock(&self.zero_points[tensor])[first_segment..first_segment + zero_point.len()]
                .copy_from_slice(zero_point);
        }
        Ok(())
    }

    fn write_bitmask(&self, loaded: &Loaded<'_>, dense: &[u8]) -> Result<()> {
        let (weight, first) = (loaded.work.weight, loaded.slab.rows.start);
        let Slab { tensor, number, .. } = *loaded.slab;
        let mut mask =
            ops::bitmask::encode(self.context.backend, weight.float, dense, weight.cols)?;
        // Encoding cannot tell how many rows there are of nothing.
        mask.row_offsets.resize(loaded.slab.rows.len(), 0);
        let kept = &self.scans[tensor].kept;
        let size = weight.float.size();
        if (mask.compressed.len() / size) as u64 != kept[number + 1] - kept[number] {
            return Err(Error::Bug { what: "two passes over a weight kept different numbers" });
        }
        self.write(tensor, 1, kept[number] as usize * size, &mask.compressed)?;
        self.write(tensor, 2, first * weight.cols.div_ceil(8), &mask.bitmask)?;
        let before = kept[number] as i64;
        let offsets = mask.row_offsets.iter().flat_map(|n| (n + before).to_le_bytes());
        self.write(tensor, 3, first * 8, &offsets.collect::<Vec<u8>>())
    }

    /// What is known only when all slabs are done, or has nothing to do with them.
    fn write_whole(&self, tensor: usize) -> Result<()> {
        let Some(work) = &self.plan.tensors[tensor].work else { return Ok(()) };
        let (rows, float) = (work.weight.rows, work.weight.float);
        let shape = [rows as i64, work.weight.cols as i64].map(i64::to_le_bytes);
        let scheme = match (work.form, &work.scheme) {
            (Form::Packed, Some(scheme)) => scheme,
            (Form::Bitmask, _) => return self.write(tensor, 0, 0, shape.as_flattened()),
            (Form::Dense | Form::Packed, _) => return Ok(()),
        };
        self.write(tensor, 2, 0, shape.as_flattened())?;
        let params = self.scans[tensor].params.as_ref();
        if let Some(params) = params {
            let mut bytes = vec![];
            float.encode(&params.scale, &mut bytes);
            self.write(tensor, 1, 0, &bytes)?;
        }
        match params {
            _ if scheme.symmetric => Ok(()),
            Some(params) => {
                let bytes: Vec<u8> = params.zero_point.iter().map(|zp| *zp as u8).collect();
                self.write(tensor, 3, 0, &bytes)
            }
            None => {
                let zero_points = lock(&self.zero_points[tensor]);
                let groups = work.weight.groups(scheme);
                let packed = cpu::pack::pack_zero_points(&zero_points, rows, groups, scheme.bits);
                self.write(tensor, 3, 0, &bytes_of(&packed))
            }
        }
    }
}

/// Zero points that `tensor` has, where there is more than one.
fn zero_points_len(tensor: &TensorPlan) -> usize {
    let Some(work) = &tensor.work else { return 0 };
    match &work.scheme {
        Some(scheme) if !scheme.symmetric && scheme.granularity != Granularity::Tensor => {
            work.weight.rows * work.weight.groups(scheme)
        }
        _ => 0,
    }
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

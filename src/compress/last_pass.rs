//! The last pass: every slab is read, computed and written by whichever worker is free.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use super::neurons::Slim;
use super::output::copy_ranges;
use super::pass::{Context, Loaded, Slab, slabs};
use super::plan::{Form, Plan, TensorPlan};
use super::report;
use super::scan::{Kept, TensorScan};
use super::workers::{self, lock};
use crate::cpu;
use crate::cpu::slab::{ReportSums, SlabOutput};
use crate::error::{Error, Result};
use crate::io::SafetensorsWriter;
use crate::ops;
use crate::scheme::{Granularity, QuantParams, QuantScheme};
use crate::stored;
use crate::tensor::DType;

/// What the workers of the last pass over a shard share.
pub(super) struct LastPass<'a> {
    context: &'a Context<'a>,
    plan: &'a Plan,
    scans: &'a [TensorScan],
    writer: &'a SafetensorsWriter,
    shard: usize,
    /// Number of each tensor's first output in `writer`.
    first_output: Vec<usize>,
    /// What the slabs of each tensor share.
    across: Vec<Mutex<Across>>,
}

/// What slabs of a tensor share.
#[derive(Default)]
struct Across {
    /// Zero points, which are packed across slabs.
    zero_points: Vec<i8>,
    /// Words of the stream of kept codes in which a slab ends and the next begins.
    edges: BTreeMap<usize, u32>,
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
    pub(super) fn new(
        context: &'a Context<'a>,
        plan: &'a Plan,
        scans: &'a [TensorScan],
        writer: &'a SafetensorsWriter,
        shard: usize,
    ) -> Self {
        let (mut first_output, mut across) = (vec![], vec![]);
        let mut next = 0;
        for tensor in &plan.tensors {
            let here = tensor.shard == shard;
            first_output.push(next);
            next += if here { tensor.outputs.len() } else { 0 };
            let len = if here { zero_points_len(tensor) } else { 0 };
            across.push(Mutex::new(Across { zero_points: vec![0; len], edges: BTreeMap::new() }));
        }
        Self { context, plan, scans, writer, shard, first_output, across }
    }

    pub(super) fn run(&self, sums: &mut [ReportSums]) -> Result<()> {
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
        let dense = matches!(work.form, Form::Dense | Form::Bitmask);
        let step = self.scans[slab.tensor].step(loaded, dense);
        let result = ops::slab::run(self.context.backend, loaded.matrix(), &step)?;
        match (work.form, &work.scheme) {
            (Form::Packed, Some(scheme)) => self.write_packed(loaded, scheme, &result)?,
            (Form::KeptCodes, Some(scheme)) => self.write_kept_codes(loaded, scheme, &result)?,
            (Form::Bitmask, _) => self.write_bitmask(loaded, &result.dense)?,
            (Form::Dense | Form::Packed | Form::KeptCodes, _) => {
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
        let at = first * scheme.words_per_row(weight.cols) * 4;
        self.write(loaded.slab.tensor, 0, at, &bytes_of(&result.packed))?;
        self.write_params(loaded, scheme, &result.params)
    }

    /// Scales and zero points of a slab that has its own.
    fn write_params(
        &self,
        loaded: &Loaded<'_>,
        scheme: &QuantScheme,
        params: &QuantParams,
    ) -> Result<()> {
        let QuantParams { scale, zero_point } = params;
        if scale.is_empty() {
            // One scale serves the whole tensor; `write_whole` writes it.
            return Ok(());
        }
        let (weight, tensor) = (loaded.work.weight, loaded.slab.tensor);
        let first_segment = loaded.slab.rows.start * weight.groups(scheme);
        let mut bytes = vec![];
        weight.float.encode(scale, &mut bytes);
        let number = scale_number(loaded.work.form);
        self.write(tensor, number, first_segment * weight.float.size(), &bytes)?;
        if !zero_point.is_empty() {
            lock(&self.across[tensor]).zero_points[first_segment..][..zero_point.len()]
                .copy_from_slice(zero_point);
        }
        Ok(())
    }

    fn write_kept_codes(
        &self,
        loaded: &Loaded<'_>,
        scheme: &QuantScheme,
        result: &SlabOutput,
    ) -> Result<()> {
        let cols = loaded.work.weight.cols;
        let Slab { tensor, number, rows } = loaded.slab;
        let scan = &self.scans[*tensor];
        let params = scan.params.as_ref().unwrap_or(&result.params);
        let (before, after) = (scan.kept[*number], scan.kept[number + 1]);
        let per_word = scheme.codes_per_word();
        let lead = before.weights as usize % per_word;
        let (backend, shape) = (self.context.backend, (rows.len(), cols));
        let codes =
            ops::bitmask_codes::encode(backend, &result.packed, shape, lead, params, scheme)?;
        let mask = stored::split(&codes.bitmask, rows.len(), cols);
        let mask_bytes = mask.bytes.len() as u64;
        if before + (Kept { weights: codes.kept() as u64, mask_bytes }) != after {
            return Err(DIFFERENT_NUMBERS);
        }
        self.write_stream(*tensor, before.weights as usize / per_word, &codes, per_word)?;
        self.write(*tensor, 2, before.mask_bytes as usize, &mask.bytes)?;
        let pairs = mask.row_offsets.iter().zip(&codes.row_offsets);
        let pairs = pairs.map(|(mask_bytes, codes)| {
            before + Kept { weights: *codes as u64, mask_bytes: *mask_bytes }
        });
        self.write_offsets(*tensor, rows.start, pairs)?;
        self.write(*tensor, 4, rows.start * cols.div_ceil(8).div_ceil(8), &mask.bytemask)?;
        self.write_params(loaded, scheme, &result.params)
    }

    /// Words that are the slab's alone go to the file, others to its neighbours.
    fn write_stream(
        &self,
        tensor: usize,
        first: usize,
        codes: &ops::bitmask_codes::KeptCodes,
        per_word: usize,
    ) -> Result<()> {
        let words = &codes.words;
        let begin = usize::from(codes.lead > 0).min(words.len());
        let end = ((codes.lead + codes.kept()) / per_word).max(begin);
        {
            let edges = &mut lock(&self.across[tensor]).edges;
            for at in (0..begin).chain(end..words.len()) {
                *edges.entry(first + at).or_default() |= words[at];
            }
        }
        self.write(tensor, 1, (first + begin) * 4, &bytes_of(&words[begin..end]))
    }

    /// Mask bytes and codes before each of some rows, or in all after the last.
    fn write_offsets(
        &self,
        tensor: usize,
        first_row: usize,
        before: impl Iterator<Item = Kept>,
    ) -> Result<()> {
        let wide = self.plan.tensors[tensor].outputs[3].dtype == DType::I64;
        let numbers = before.flat_map(|kept| [kept.mask_bytes, kept.weights]);
        let bytes: Vec<u8> = if wide {
            numbers.flat_map(u64::to_le_bytes).collect()
        } else {
            numbers.flat_map(|number| (number as u32).to_le_bytes()).collect()
        };
        self.write(tensor, 3, first_row * if wide { 16 } else { 8 }, &bytes)
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
        let before = kept[number].weights;
        if before + (mask.compressed.len() / size) as u64 != kept[number + 1].weights {
            return Err(DIFFERENT_NUMBERS);
        }
        self.write(tensor, 1, before as usize * size, &mask.compressed)?;
        self.write(tensor, 2, first * weight.cols.div_ceil(8), &mask.bitmask)?;
        let offsets = mask.row_offsets.iter().flat_map(|n| (n + before as i64).to_le_bytes());
        self.write(tensor, 3, first * 8, &offsets.collect::<Vec<u8>>())
    }

    /// What is known only when all slabs are done, or has nothing to do with them.
    fn write_whole(&self, tensor: usize) -> Result<()> {
        let Some(work) = &self.plan.tensors[tensor].work else { return Ok(()) };
        let (rows, float) = (work.weight.rows, work.weight.float);
        let shape = [rows as i64, work.weight.cols as i64].map(i64::to_le_bytes);
        let shape = shape.as_flattened();
        let scheme = match (work.form, &work.scheme) {
            (Form::Packed, Some(scheme)) => {
                self.write(tensor, 1, 0, shape)?;
                scheme
            }
            (Form::KeptCodes, Some(scheme)) => {
                self.write(tensor, 0, 0, shape)?;
                let all = self.scans[tensor].kept_in_all();
                self.write_offsets(tensor, rows, std::iter::once(all))?;
                for (at, word) in &lock(&self.across[tensor]).edges {
                    self.write(tensor, 1, at * 4, &word.to_le_bytes())?;
                }
                scheme
            }
            (Form::Bitmask, _) => return self.write(tensor, 0, 0, shape),
            (Form::Dense | Form::Packed | Form::KeptCodes, _) => return Ok(()),
        };
        let number = scale_number(work.form);
        let params = self.scans[tensor].params.as_ref();
        if let Some(params) = params {
            let mut bytes = vec![];
            float.encode(&params.scale, &mut bytes);
            self.write(tensor, number, 0, &bytes)?;
        }
        match params {
            _ if scheme.symmetric => Ok(()),
            Some(params) => {
                let bytes: Vec<u8> = params.zero_point.iter().map(|zp| *zp as u8).collect();
                self.write(tensor, number + 1, 0, &bytes)
            }
            None => {
                let zero_points = &lock(&self.across[tensor]).zero_points;
                let groups = work.weight.groups(scheme);
                let packed = cpu::pack::pack_zero_points(zero_points, rows, groups, scheme.bits);
                self.write(tensor, number + 1, 0, &bytes_of(&packed))
            }
        }
    }
}

const DIFFERENT_NUMBERS: Error =
    Error::Bug { what: "two passes over a weight kept different numbers" };

/// Number of the scale among the outputs of a quantized weight; a zero point follows.
fn scale_number(form: Form) -> usize {
    if form == Form::KeptCodes { 5 } else { 2 }
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

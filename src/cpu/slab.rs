//! Several steps on one slab of whole rows in one pass through the cache.
use super::convert::{self, BLOCK};
use super::quantize::{Coding, row_segment_len};
use super::stats::Partial;
use super::sums::Sums;
use super::{pack, prune, prune_nm, quant_params};
use crate::scheme::{Cut, Granularity, NmPattern, QuantParams, QuantScheme};
use crate::tensor::Matrix;

/// Which weights a slab loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prune {
    /// By magnitude; the slab's first element has index `first_index`.
    Cut {
        /// What stays.
        cut: Cut,
        /// Index of the slab's first element.
        first_index: u64,
    },
    /// A pattern along each row.
    Nm(NmPattern),
}

/// What is done to one slab.
#[derive(Clone, Copy, Debug)]
pub struct SlabStep<'a> {
    /// Pruning, first.
    pub prune: Option<Prune>,
    /// Quantizing, then. Scales are computed a segment, or taken from `params` where they are
    /// given (granularity tensor, whose segment spans slabs).
    pub quantize: Option<(&'a QuantScheme, Option<&'a QuantParams>)>,
    /// Whether dense weights (pruned, or pruned and dequantized) are wanted.
    pub dense: bool,
}

/// Sums for the report: the result against the original weights, finite ones only, in `f64`,
/// in an order that depends on the slab alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReportSums {
    /// Σ w².
    pub signal: f64,
    /// Σ (w − w')².
    pub error: f64,
    /// max |w − w'|.
    pub max_error: f32,
    /// Zeros in the result (codes equal to the zero point count as zeros).
    pub zeros: u64,
    /// Weights that saturated.
    pub saturated: u64,
}

/// The result of one slab.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlabOutput {
    /// Dense weights, where asked for.
    pub dense: Vec<u8>,
    /// Packed codes, where quantized.
    pub packed: Vec<u32>,
    /// Scales and zero points, where quantized and computed here.
    pub params: QuantParams,
    /// For the report.
    pub sums: ReportSums,
}

/// Runs `step` on `weights`.
pub fn run(weights: Matrix<'_>, step: &SlabStep<'_>) -> SlabOutput {
    let mut pass = Pass::new(weights, step);
    match step.quantize {
        None => {
            while pass.next_piece() {
                pass.keep_dense();
            }
        }
        Some((scheme, Some(given))) => {
            while pass.next_piece() {
                pass.quantize(scheme, Some(given));
            }
        }
        Some((scheme, None)) if scheme.granularity == Granularity::Tensor => {
            let computed = tensor_params(weights, step, scheme);
            while pass.next_piece() {
                pass.quantize(scheme, Some(&computed));
            }
            pass.output.params = computed;
        }
        Some((scheme, None)) => {
            if weights.cols == 0 && scheme.granularity == Granularity::Channel {
                let empty = super::stats::matrix(weights, scheme.granularity);
                pass.output.params = quant_params::compute(weights.float, &empty, scheme);
            }
            while pass.next_piece() {
                pass.quantize(scheme, None);
            }
        }
    }
    pass.finish()
}

/// The parameters of a slab that is a whole tensor: its statistics need a pass of their own.
fn tensor_params(weights: Matrix<'_>, step: &SlabStep<'_>, scheme: &QuantScheme) -> QuantParams {
    let mut pass = Pass::new(weights, step);
    let mut partial = Partial::default();
    while pass.next_piece() {
        partial.add(pass.pruned());
    }
    quant_params::compute(weights.float, &[partial.finish()], scheme)
}

/// The walk over a slab in pieces that fit the cache: whole rows, or blocks of a row where no
/// word, group or pattern crosses a block's end.
struct Pass<'a> {
    weights: Matrix<'a>,
    prune: Option<Prune>,
    dense: bool,
    piece_len: usize,
    /// First element of the current piece, and of the next.
    start: usize,
    next: usize,
    /// Segments before the current piece.
    segment: usize,
    original: Vec<f32>,
    pruned: Vec<f32>,
    pruned_bytes: Vec<u8>,
    codes: Vec<i8>,
    result: Vec<f32>,
    sums: Sums,
    saturated: u64,
    output: SlabOutput,
}

impl<'a> Pass<'a> {
    fn new(weights: Matrix<'a>, step: &SlabStep<'_>) -> Self {
        let piece_len = piece_len(weights.cols, step).min(weights.len());
        let mut output = SlabOutput::default();
        if step.dense {
            output.dense.reserve_exact(weights.data.len());
        }
        if let Some((scheme, _)) = step.quantize {
            output.packed.reserve_exact(weights.rows * scheme.words_per_row(weights.cols));
        }
        Self {
            weights,
            prune: step.prune,
            dense: step.dense,
            piece_len,
            start: 0,
            next: 0,
            segment: 0,
            original: vec![0.0; piece_len],
            pruned: vec![0.0; if step.prune.is_some() { piece_len } else { 0 }],
            pruned_bytes: Vec::new(),
            codes: vec![0; if step.quantize.is_some() { piece_len } else { 0 }],
            result: vec![0.0; if step.quantize.is_some() { piece_len } else { 0 }],
            sums: Sums::default(),
            saturated: 0,
            output,
        }
    }

    /// Decodes and prunes the next piece; false where the slab is done.
    fn next_piece(&mut self) -> bool {
        let Matrix { float, data, .. } = self.weights;
        let len = self.weights.len();
        self.start = self.next;
        self.next = (self.start + self.piece_len).min(len);
        let piece = self.next - self.start;
        if piece == 0 {
            return false;
        }
        let bytes = &data[self.start * float.size()..self.next * float.size()];
        convert::decode(float, bytes, &mut self.original[..piece]);
        if let Some(prune) = self.prune {
            self.pruned_bytes.clear();
            self.pruned_bytes.extend_from_slice(bytes);
            match prune {
                Prune::Cut { cut, first_index } => {
                    let first = first_index + self.start as u64;
                    prune::apply(float, &mut self.pruned_bytes, cut, first);
                }
                Prune::Nm(pattern) => {
                    // A piece is one row, or blocks that the pattern divides.
                    prune_nm::apply(float, &mut self.pruned_bytes, piece, pattern);
                }
            }
            convert::decode(float, &self.pruned_bytes, &mut self.pruned[..piece]);
        }
        true
    }

    /// The current piece after pruning.
    fn pruned(&self) -> &[f32] {
        let piece = self.next - self.start;
        if self.prune.is_some() { &self.pruned[..piece] } else { &self.original[..piece] }
    }

    /// Ends the piece without quantization.
    fn keep_dense(&mut self) {
        let piece = self.next - self.start;
        let pruned = if self.prune.is_some() { &self.pruned } else { &self.original };
        self.sums.add(&self.original[..piece], &pruned[..piece]);
        if self.dense {
            let size = self.weights.float.size();
            let bytes = match self.prune {
                Some(_) => &self.pruned_bytes[..],
                None => &self.weights.data[self.start * size..self.next * size],
            };
            self.output.dense.extend_from_slice(bytes);
        }
    }

    /// Quantizes the piece by the scales `given`, or else by its own.
    fn quantize(&mut self, scheme: &QuantScheme, given: Option<&QuantParams>) {
        let float = self.weights.float;
        let piece = self.next - self.start;
        let size = row_segment_len(piece, scheme);
        let pruned = if self.prune.is_some() { &self.pruned } else { &self.original };
        for start in (0..piece).step_by(size) {
            let range = start..(start + size).min(piece);
            let values = &pruned[range.clone()];
            let params = given.unwrap_or_else(|| {
                let mut partial = Partial::default();
                partial.add(values);
                quant_params::push(&mut self.output.params, float, &partial.finish(), scheme);
                &self.output.params
            });
            let tensor = scheme.granularity == Granularity::Tensor;
            let index = if tensor { 0 } else { self.segment };
            let coding = Coding::new(float, params, index, scheme);
            self.saturated += coding.encode(values, &mut self.codes[range.clone()]);
            coding.decode(&self.codes[range.clone()], &mut self.result[range]);
            self.segment += 1;
        }
        pack::pack_row(&self.codes[..piece], scheme.bits, &mut self.output.packed);
        self.sums.add(&self.original[..piece], &self.result[..piece]);
        if self.dense {
            convert::encode_rounded(float, &self.result[..piece], &mut self.output.dense);
        }
    }

    fn finish(self) -> SlabOutput {
        let sums = ReportSums { saturated: self.saturated, ..self.sums.finish() };
        SlabOutput { sums, ..self.output }
    }
}

/// Elements of a piece: about a block where rows may be cut or joined, otherwise a row.
fn piece_len(cols: usize, step: &SlabStep<'_>) -> usize {
    let mut unit = 1;
    if let Some(Prune::Nm(pattern)) = step.prune {
        unit = lcm(unit, pattern.of.max(1));
    }
    if let Some((scheme, _)) = step.quantize {
        unit = lcm(unit, scheme.codes_per_word());
        unit = lcm(unit, row_segment_len(1, scheme));
        if scheme.granularity == Granularity::Channel {
            return cols;
        }
    }
    if cols.is_multiple_of(unit) { unit * (BLOCK / unit).max(1) } else { cols }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    // Saturates: such a unit divides no row.
    (a / x).saturating_mul(b)
}

/// The sums of `result` against `original`, elements as they are.
///
/// # Panics
/// Where the lengths differ.
pub fn difference(original: &[f32], result: &[f32]) -> ReportSums {
    let mut sums = Sums::default();
    sums.add(original, result);
    sums.finish()
}

/// The sums for the report of `result` (dense bytes of the same type) against `original`, with
/// `zeros` counted and `saturated` left 0. Also used by the GPU path.
pub fn report_sums(original: Matrix<'_>, result: &[u8]) -> ReportSums {
    let float = original.float;
    assert_eq!(original.data.len(), result.len());
    let mut sums = Sums::default();
    let (mut before, mut after) = ([0.0; BLOCK], [0.0; BLOCK]);
    let blocks = original.data.chunks(BLOCK * float.size());
    for (original, result) in blocks.zip(result.chunks(BLOCK * float.size())) {
        let len = original.len() / float.size();
        convert::decode(float, original, &mut before[..len]);
        convert::decode(float, result, &mut after[..len]);
        sums.add(&before[..len], &after[..len]);
    }
    sums.finish()
}

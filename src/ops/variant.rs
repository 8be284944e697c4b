//! The kernels of a layer on a GPU: how each is cut to a shape, and which one is the usual choice.

use crate::gpu::Gpu;
use crate::scheme::Bits;
use crate::tensor::FloatType;

/// How a layer is computed on a GPU. Which is fastest depends on the device and on the shape; the
/// result stays within the same bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// 32 × 32 tiles in workgroup memory, 4 × 4 an invocation: many workgroups for small batches.
    Tile32,
    /// 64 × 64 tiles, 8 × 8 an invocation.
    Tile64,
    /// 64 × 64 tiles, 4 × 4 an invocation.
    Tile64Fine,
    /// 128 × 128 tiles, 8 × 8 an invocation: for large batches and wide layers.
    Tile128,
    /// [`Variant::Tile64Fine`] with the inputs in parts, whose sums a second pass adds up in
    /// order: for few outputs of many inputs.
    Split,
    /// Registers only, 8 × 8 an invocation: for adapters that are emulated on a CPU.
    Direct,
    /// 64 invocations for four outputs: for batches of a few rows.
    Vector,
    /// 16 invocations for four outputs: the same where rows of weights are short.
    VectorShort,
    /// Registers only, 4 × 8 an invocation, with inputs rounded to 8 bits: for packed codes in
    /// groups of whole words, where [`super::linear::Linear::int8_activations`] allows it.
    Int8,
    /// 64 invocations for four outputs, with inputs rounded to 8 bits.
    Int8Vector,
}

/// What the weights of a layer are, as far as kernels differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Floats in quads.
    Dense(FloatType),
    /// `f32` `[outputs, stride(inputs)]`, as training keeps it.
    RowMajor,
    /// Codes; in an uneven form groups may end inside of a word.
    Packed { bits: Bits, uneven: bool },
    /// A bit mask and the floats that are not zero.
    Masked(FloatType),
}

/// Extents of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    /// Rows of X.
    pub batch: usize,
    /// Columns of the result, padding included.
    pub outputs: usize,
    /// Columns of X, padding included, by four.
    pub fours: usize,
}

/// A kernel cut to a shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// Path of the shader below `shaders/`.
    pub file: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Workgroup memory that it takes.
    pub workgroup_bytes: u32,
    pub(super) workgroups: u64,
    /// Parts of the inputs, and fours of inputs in each.
    pub(super) splits: usize,
    pub(super) split_fours: usize,
}

/// Workgroups that [`Variant::Split`] aims at, and the fewest fours of inputs that it gives one.
const SPLIT_WORKGROUPS: usize = 128;
const SPLIT_FOURS: usize = 64;

impl Variant {
    /// All that take `f32` inputs, which any layer can run.
    pub const ALL: [Self; 8] = [
        Self::Tile32,
        Self::Tile64,
        Self::Tile64Fine,
        Self::Tile128,
        Self::Split,
        Self::Direct,
        Self::Vector,
        Self::VectorShort,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tile32 => "tile-32",
            Self::Tile64 => "tile-64",
            Self::Tile64Fine => "tile-64-fine",
            Self::Tile128 => "tile-128",
            Self::Split => "split",
            Self::Direct => "direct",
            Self::Vector => "vector",
            Self::VectorShort => "vector-short",
            Self::Int8 => "int8",
            Self::Int8Vector => "int8-vector",
        }
    }

    /// The usual choice, then what may be faster on `gpu`. On an emulated adapter nothing came
    /// near [`Variant::Direct`] but for few rows: tiles in workgroup memory took twice its time
    /// and more, and seconds to compile.
    ///
    /// With inputs that may be rounded there are two kernels more.
    pub(super) fn candidates(form: Form, shape: Shape, gpu: &Gpu, int8: bool) -> Vec<Self> {
        let usual = match Self::usual(form, shape, gpu.is_software()) {
            // Measured on llvmpipe: mostly 1.1 to 3 times as fast from 1024 × 1024 on, no faster at
            // 784 × 100.
            Self::Direct if int8 && shape.outputs * shape.fours >= 1 << 18 => Self::Int8,
            usual => usual,
        };
        let mut candidates = vec![usual];
        let others: &[Self] = match shape.batch {
            ..=16 if gpu.is_software() => &[Self::Vector, Self::VectorShort],
            _ if gpu.is_software() => &[],
            ..=4 => &[Self::Vector, Self::VectorShort],
            5..=16 => &[Self::Vector, Self::VectorShort, Self::Tile32, Self::Split],
            _ => &[Self::Tile32, Self::Tile64, Self::Tile64Fine, Self::Tile128, Self::Split],
        };
        let rounded: &[Self] = match int8 {
            false => &[],
            true if gpu.is_software() => &[Self::Direct, Self::Int8],
            true => &[Self::Int8, Self::Int8Vector],
        };
        let others = others.iter().chain(rounded).copied();
        candidates.extend(others.filter(|other| *other != usual));
        candidates.retain(|candidate| {
            let launch = candidate.launch(form, shape);
            let splits = *candidate != Self::Split || launch.splits > 1;
            splits && gpu.allows(launch.invocations, launch.workgroup_bytes).is_ok()
        });
        candidates
    }

    /// The choice where nothing was measured.
    pub(super) fn usual(form: Form, shape: Shape, software: bool) -> Self {
        let tiles = shape.batch.div_ceil(64) * shape.outputs.div_ceil(64);
        let splits = Self::Split.launch(form, shape).splits;
        match shape.batch {
            _ if software => Self::Direct,
            ..=4 => Self::Vector,
            _ if splits > 1 && tiles < 16 => Self::Split,
            _ if tiles < 64 => Self::Tile32,
            _ => Self::Tile64,
        }
    }

    /// The kernel and what it is started with.
    pub(super) fn launch(self, form: Form, shape: Shape) -> Launch {
        let Shape { batch, outputs, fours } = shape;
        let (mut splits, mut split_fours) = (1, fours);
        let [tiled, direct, vector] = form.entries();
        let tile_count = |tile: usize| batch.div_ceil(tile) * outputs.div_ceil(tile);
        let tiles = |tile: usize, side: usize, depth: usize| {
            (tiled, vec![("TILE", tile), ("SIDE", side), ("DEPTH", depth)], tile_count(tile))
        };
        let (entry, sizes, workgroups) = match self {
            Self::Tile32 => tiles(32, 4, 16),
            Self::Tile64 => tiles(64, 8, 16),
            Self::Tile64Fine => tiles(64, 4, 16),
            // Half as deep, so that tiles fit 8 KiB, but as deep as a word of codes.
            Self::Tile128 => tiles(128, 8, if form.unit_inputs() > 8 { 16 } else { 8 }),
            Self::Split => {
                splits = (SPLIT_WORKGROUPS / tile_count(64).max(1)).min(fours / SPLIT_FOURS).max(1);
                // Whole rounds of 16 inputs.
                split_fours = fours.div_ceil(splits).next_multiple_of(4);
                splits = fours.div_ceil(split_fours.max(1)).max(1);
                let (entry, sizes, workgroups) = tiles(64, 4, 16);
                (entry, sizes, workgroups * splits)
            }
            Self::Direct => {
                let rows = if batch <= 2 { 1 } else { 8 };
                // Along the rows instead where outputs are few.
                let lanes = if outputs <= 64 && batch > 8 { 2 } else { 16 };
                let bands = batch.div_ceil(rows * (16 / lanes));
                let workgroups = bands * outputs.div_ceil(lanes * 8);
                (direct, vec![("LANES", lanes), ("ROWS", rows)], workgroups)
            }
            Self::Vector | Self::VectorShort => {
                let share = if self == Self::Vector { 64 } else { 16 };
                let vectors = if batch == 1 { 1 } else { 4 };
                let groups = outputs.div_ceil(4).div_ceil(64 / share);
                let workgroups = batch.div_ceil(vectors) * groups;
                (vector, vec![("SHARE", share), ("VECTORS", vectors)], workgroups)
            }
            Self::Int8 => {
                let rows = if batch <= 2 { 1 } else { 4 };
                let workgroups = batch.div_ceil(rows) * outputs.div_ceil(128);
                ("dense_packed_int8", vec![("ROWS", rows)], workgroups)
            }
            Self::Int8Vector => ("dense_packed_int8_vector", vec![], batch * outputs.div_ceil(4)),
        };
        let (invocations, workgroup_bytes) = match sizes[..] {
            [(_, tile), (_, side), (_, depth)] => ((tile / side).pow(2), 2 * 4 * tile * depth),
            [("SHARE", _), (_, vectors)] => (64, 64 * 16 * vectors),
            [] => (64, 64 * 16),
            _ => (16, 0),
        };
        let mut constants = form.constants();
        constants.extend(sizes.into_iter().map(|(name, size)| (name, size as f64)));
        Launch {
            file: form.file(),
            entry,
            constants,
            invocations: invocations as u32,
            workgroup_bytes: workgroup_bytes as u32,
            workgroups: workgroups as u64,
            splits,
            split_fours,
        }
    }
}

/// Rounds the inputs for the kernels that take them so: a row a workgroup.
pub(super) fn rounding(form: Form, shape: Shape) -> Launch {
    Launch {
        file: form.file(),
        entry: "dense_packed_round",
        constants: form.constants(),
        invocations: 64,
        workgroup_bytes: 4,
        workgroups: shape.batch as u64,
        splits: 1,
        split_fours: shape.fours,
    }
}

/// Every kernel of the layers in every cut that shapes may ask for, to be held against limits.
pub fn launches() -> Vec<Launch> {
    let floats = FloatType::ALL;
    let mut forms = vec![Form::RowMajor];
    forms.extend(floats.iter().flat_map(|float| [Form::Dense(*float), Form::Masked(*float)]));
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        forms.extend([false, true].map(|uneven| Form::Packed { bits, uneven }));
    }
    let shapes = [(1, 8), (1, 4096), (100, 8), (100, 4096)].map(|(batch, outputs)| Shape {
        batch,
        outputs,
        fours: 1024,
    });
    let mut launches: Vec<Launch> = vec![];
    for form in forms {
        let mut variants = Variant::ALL.to_vec();
        let mut cuts = vec![];
        if form.takes_int8() {
            variants.extend([Variant::Int8, Variant::Int8Vector]);
            cuts.push(rounding(form, shapes[0]));
        }
        cuts.extend(variants.iter().flat_map(|v| shapes.map(|shape| v.launch(form, shape))));
        for launch in cuts {
            let same = |other: &Launch| {
                (other.entry, &other.constants) == (launch.entry, &launch.constants)
            };
            if !launches.iter().any(same) {
                launches.push(launch);
            }
        }
    }
    launches
}

impl Form {
    /// Path of the shader below `shaders/`.
    fn file(self) -> &'static str {
        match self {
            Self::Dense(_) | Self::RowMajor => "dense.wgsl",
            Self::Packed { .. } => "dense_packed.wgsl",
            Self::Masked(_) => "dense_masked.wgsl",
        }
    }

    /// Entry points: tiled, direct, vector.
    fn entries(self) -> [&'static str; 3] {
        match self {
            Self::Dense(_) | Self::RowMajor => ["dense", "dense_direct", "dense_vector"],
            Self::Packed { .. } => ["dense_packed", "dense_packed_direct", "dense_packed_vector"],
            Self::Masked(_) => ["dense_masked", "dense_masked_direct", "dense_masked_vector"],
        }
    }

    /// Inputs that are decoded at once: four, or a word of codes.
    pub(super) fn unit_inputs(self) -> usize {
        match self {
            Self::Packed { bits, .. } => 32 / bits as usize,
            Self::Dense(_) | Self::RowMajor | Self::Masked(_) => 4,
        }
    }

    /// Whether there are kernels for inputs of 8 bits.
    pub fn takes_int8(self) -> bool {
        matches!(self, Self::Packed { uneven: false, .. })
    }

    fn constants(self) -> Vec<(&'static str, f64)> {
        match self {
            Self::RowMajor => vec![("DTYPE", 0.0), ("ROW_MAJOR", 1.0)],
            Self::Packed { bits, uneven } => {
                vec![("BITS", f64::from(bits as u32)), ("UNEVEN", f64::from(u32::from(uneven)))]
            }
            Self::Dense(float) | Self::Masked(float) => super::dtype(float).to_vec(),
        }
    }
}

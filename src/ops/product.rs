//! A product recorded in one of its variants, in two passes where it is split.

use super::variant::{Form, Launch, Shape, Variant, rounding};
use crate::error::Result;
use crate::gpu::{Buffer, Kernel, Recorder};
use crate::scheme::Activation;

/// Adds the parts of a split product up, whatever the weights are.
const REDUCE: Kernel =
    Kernel { file: "dense.wgsl", entry: "dense_reduce", constants: &[], estimates: false };

/// A product of rows with the rows of weights of one binding: act(X · Wᵀ + b).
pub(super) struct Product<'a> {
    pub form: Form,
    /// The bindings before the bias.
    pub weights: &'a [Buffer],
    /// `[all outputs]`.
    pub bias: &'a Buffer,
    /// `[batch, 4 · fours]`.
    pub x: &'a Buffer,
    /// `[batch, stride]`.
    pub results: &'a Buffer,
    pub shape: Shape,
    /// What the kernel decodes at once, a row of weights.
    pub units: usize,
    /// Rows of weights; `shape.outputs` counts the padding of the results too.
    pub outputs: usize,
    /// Column of the first output.
    pub first_output: usize,
    /// Floats between rows of the results.
    pub stride: usize,
    pub activation: Activation,
    /// Whether inputs may be rounded to 8 bits.
    pub int8: bool,
    /// Parameters of the form, after the common ones.
    pub params: &'a [(&'static str, u32)],
}

impl Product<'_> {
    /// Records it in a given variant. Where inputs must not be rounded and the variant does that,
    /// it is the usual one instead.
    pub fn record(&self, recorder: &mut Recorder, variant: Variant) -> Result<()> {
        let variant = match variant {
            Variant::Int8 | Variant::Int8Vector if !self.int8 => {
                Variant::usual(self.form, self.shape, recorder.gpu().is_software())
            }
            variant => variant,
        };
        let launch = variant.launch(self.form, self.shape);
        let Launch { file, entry, ref constants, workgroups, splits, .. } = launch;
        recorder.gpu().allows(launch.invocations, launch.workgroup_bytes)?;
        let kernel = Kernel { file, entry, constants, estimates: false };
        let mut params = self.common(&launch);
        let rounded = match variant {
            Variant::Int8 | Variant::Int8Vector => Some(self.round(recorder, &params)?),
            _ => None,
        };
        let mut bindings: Vec<&Buffer> = self.weights.iter().collect();
        bindings.extend([self.bias, rounded.as_ref().unwrap_or(self.x)]);
        if splits == 1 {
            params.extend(self.params);
            bindings.push(self.results);
            return recorder.dispatch(&kernel, &bindings, &params, workgroups, 1);
        }
        let count = self.shape.batch * self.shape.outputs;
        let parts = recorder.storage((splits * count * 4) as u64)?;
        let reduce_params = recorder.params(&REDUCE, &params)?;
        params.extend(self.params);
        bindings.push(&parts);
        recorder.dispatch(&kernel, &bindings, &params, workgroups, 1)?;
        let bindings = [(1, self.bias), (2, &parts), (3, self.results), (4, &reduce_params)];
        recorder.dispatch_at(&REDUCE, &bindings, count as u64, 256)
    }

    /// Records what makes X into rows of words of four integers, and a scale at the end of each.
    fn round(&self, recorder: &mut Recorder, common: &[(&'static str, u32)]) -> Result<Buffer> {
        let Launch { file, entry, constants, workgroups, .. } = rounding(self.form, self.shape);
        let kernel = Kernel { file, entry, constants: &constants, estimates: false };
        let words = self.units * self.form.unit_inputs() / 4 + 1;
        let rounded = recorder.storage((self.shape.batch * words * 4) as u64)?;
        let params = [common, self.params].concat();
        let params = recorder.params(&kernel, &params)?;
        let bindings = [(4, self.x), (5, &rounded), (6, &params)];
        recorder.dispatch_at(&kernel, &bindings, workgroups, 1)?;
        Ok(rounded)
    }

    fn common(&self, launch: &Launch) -> Vec<(&'static str, u32)> {
        let (activation, slope) = self.activation.code();
        vec![
            ("batch", self.shape.batch as u32),
            ("fours", self.shape.fours as u32),
            ("units", self.units as u32),
            ("outputs", self.outputs as u32),
            ("padded_outputs", self.shape.outputs as u32),
            ("first_output", self.first_output as u32),
            ("stride", self.stride as u32),
            ("activation", activation),
            ("slope", slope.to_bits()),
            ("splits", launch.splits as u32),
            ("split_fours", launch.split_fours as u32),
        ]
    }
}

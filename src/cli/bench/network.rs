//! A network over batch sizes, in every form that its weights can have.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use indicatif::ProgressBar;
use serde_json::json;

use super::{Arguments, Common, Target, output};
use crate::cli::network::dense_and_stored;
use crate::cli::{interrupt, progress};
use crate::compress::{Format, OnIndivisible, Recipe};
use crate::error::Result;
use crate::io::Model;
use crate::nn::{self, Expected, Loaded, Network, Speed};
use crate::ops::Backend;
use crate::scheme::QuantScheme;

/// From one row to what fills any device.
pub(in crate::cli) const BATCHES: [u32; 7] = [1, 4, 16, 64, 256, 1024, 4096];

/// Share of the weights that the pruned form has lost.
const SPARSITY: f64 = 0.5;

/// The network with its weights in one form.
struct FormOf {
    name: String,
    model: Rc<Model>,
    network: Network,
    /// Whether inputs may be rounded.
    int8_activations: bool,
}

/// The figures of a form on a device.
struct Row<'a> {
    form: &'a FormOf,
    weight_bytes: u64,
    /// Layers whose inputs might be rounded to 8 bits.
    int8_layers: usize,
    speeds: Vec<Speed>,
}

pub(super) fn run(args: &Arguments, path: &Path, common: &Common) -> Result<()> {
    let folder = interrupt::temporary_folder()?;
    let forms = forms(path, folder.path(), common);
    let mut forms = forms.map_err(|error| error.of_copy(folder.path(), path))?;
    if args.int8.allowed() {
        forms = with_int8_activations(forms)?;
    }
    let targets = Target::all(args, common)?;
    let steps = targets.len() * forms.len() * args.batches.len();
    let bar = progress::steps(common, steps as u64);
    let rows = targets.iter().map(|target| {
        forms.iter().map(|form| measure(args, target, form, &bar)).collect::<Result<Vec<_>>>()
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    if common.json {
        let devices = targets.iter().zip(&rows).map(|(target, rows)| {
            let forms = rows.iter().map(|row| {
                json!({
                    "form": row.form.name,
                    "weight_bytes": row.weight_bytes,
                    "int8_layers": row.int8_layers,
                    "batches": row.speeds,
                })
            });
            target.as_json("forms", forms.collect())
        });
        let (model, devices) = (path.display().to_string(), devices.collect::<Vec<_>>());
        output::json(&json!({ "schema_version": 1, "model": model, "devices": devices }))
    } else {
        output::print(&as_text(&forms, &targets, &rows))
    }
}

/// The model as it is, and what else can be made of its weights.
fn forms(path: &Path, folder: &Path, common: &Common) -> Result<Vec<FormOf>> {
    let model = Model::open(path)?;
    // Before a copy of it would be complained about.
    Network::read(&model, None)?;
    let mut forms = vec![];
    let (dense, stored) = dense_and_stored(model, folder)?;
    forms.extend(stored.map(|model| FormOf::new("as stored", model)).transpose()?);
    let quantize = |scheme| Recipe::new().quantize(scheme).on_indivisible(OnIndivisible::Channel);
    let derived = [
        ("int8", quantize(QuantScheme::int8())),
        ("int4", quantize(QuantScheme::w4a16())),
        ("50 % pruned", Recipe::new().sparsity(SPARSITY).format(Format::SparseBitmask)),
    ];
    let compressed = derived.iter().map(|(name, recipe)| {
        let to: PathBuf = folder.join(name);
        recipe.compress(&dense, &to, &Backend::Cpu)?;
        FormOf::new(name, Model::open(&to)?)
    });
    let compressed = compressed.collect::<Result<Vec<_>>>()?;
    forms.insert(0, FormOf::new("dense", dense)?);
    forms.extend(compressed);
    output::note(common, &format!("{}:\n{}", path.display(), forms[0].network));
    Ok(forms)
}

/// Behind each form that can round its inputs the same with inputs rounded.
fn with_int8_activations(forms: Vec<FormOf>) -> Result<Vec<FormOf>> {
    let mut all = vec![];
    for form in forms {
        let rounded = FormOf {
            name: format!("{}, int8 activations", form.name),
            model: Rc::clone(&form.model),
            network: form.network.clone(),
            int8_activations: true,
        };
        // The CPU multiplies all codes so.
        let packed = rounded.load(&Backend::Cpu)?.int8_layers() > 0;
        all.push(form);
        all.extend(packed.then_some(rounded));
    }
    Ok(all)
}

impl FormOf {
    fn new(name: &str, model: Model) -> Result<Self> {
        let (network, _) = Network::read(&model, None)?;
        let (name, model) = (name.to_owned(), Rc::new(model));
        Ok(Self { name, model, network, int8_activations: false })
    }

    fn load(&self, backend: &Backend) -> Result<Loaded> {
        Ok(self.load_exact(backend)?.int8_activations(self.int8_activations))
    }

    /// With inputs that are not rounded.
    fn load_exact(&self, backend: &Backend) -> Result<Loaded> {
        Loaded::new(backend, &self.model, self.network.clone())
    }
}

fn measure<'a>(
    args: &Arguments,
    target: &Target,
    form: &'a FormOf,
    bar: &ProgressBar,
) -> Result<Row<'a>> {
    let loaded = form.load(&target.backend)?;
    // On the CPU there is nothing to compare with but itself.
    let reference = match &target.backend {
        Backend::Cpu => None,
        Backend::Gpu(_) => Some(form.load(&Backend::Cpu)?),
    };
    let exact = match &target.backend {
        Backend::Gpu(_) if form.int8_activations => Some(form.load_exact(&Backend::Cpu)?),
        _ => None,
    };
    let speeds = args.batches.iter().map(|batch| {
        let batch = *batch as usize;
        let expected = reference.as_ref().map(|cpu| Expected::new(cpu, exact.as_ref(), batch));
        let expected = expected.transpose()?;
        let speed = nn::speed(&loaded, batch, &target.roofline, expected.as_ref())?;
        bar.inc(1);
        Ok(speed)
    });
    let speeds = speeds.collect::<Result<_>>()?;
    let (weight_bytes, int8_layers) = (loaded.weight_bytes(), loaded.int8_layers());
    Ok(Row { form, weight_bytes, int8_layers, speeds })
}

fn as_text(forms: &[FormOf], targets: &[Target], rows: &[Vec<Row<'_>>]) -> String {
    let mut text: String = targets.iter().map(Target::as_text).collect();
    let mut header = vec!["batch".to_owned(), "form".to_owned(), "weights".to_owned()];
    for target in targets {
        let name = target.short_name();
        header.extend([format!("{name} ms"), "rows/s".into(), "GFLOP/s".into()]);
        header.extend(["× dense".into(), "% of roofline".into()]);
    }
    let mut lines = vec![];
    for (at, speed) in rows[0][0].speeds.iter().enumerate() {
        for (number, form) in forms.iter().enumerate() {
            let bytes = output::bytes(rows[0][number].weight_bytes);
            let mut line = vec![speed.batch.to_string(), form.name.clone(), bytes];
            for rows in rows {
                line.extend(figures(&rows[number].speeds[at], &rows[0].speeds[at]));
            }
            lines.push(line);
        }
    }
    text.push('\n');
    text.push_str(&output::table(&header, 2, lines));
    if forms.iter().any(|form| form.int8_activations) {
        text.push_str(
            "\nint8 activations: each row of a layer's inputs is rounded to 8 bits; on a GPU where \
             that was measured to be faster.",
        );
    }
    text.push_str(
        "\nGFLOP/s counts the dense network's arithmetic in every form.\n\
         What a GPU gives was compared with the CPU's outputs.\n",
    );
    text
}

fn figures(speed: &Speed, dense: &Speed) -> [String; 5] {
    [
        format!("{:.4}", speed.seconds * 1e3),
        format!("{:.0}", speed.rows_per_second),
        format!("{:.1}", speed.gflop_per_second),
        format!("{:.2}", dense.seconds / speed.seconds),
        format!("{:.0}", speed.share_of_roofline * 100.0),
    ]
}

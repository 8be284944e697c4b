//! `quantization_config` as compressed-tensors reads it, and the rewritten index.

use serde_json::{Map, Value, json};

use super::plan::{Form, Plan, Work};
use crate::scheme::{Granularity, QuantScheme};
use crate::stored::{is_embedding, module, parts};

/// The model's `quantization_config`; `None` where all weights stay dense.
pub(super) fn quantization(plan: &Plan, kept_share: Option<f64>) -> Option<Value> {
    let forms: Vec<Form> = plan.selected().map(|(_, _, work)| work.form).collect();
    let any = |form| forms.contains(&form);
    if any(Form::KeptCodes) {
        // Named so that no tool takes it for a form that it knows.
        return Some(json!({
            "quant_method": "tensorpress",
            "version": "1",
            "format": KEPT_CODES,
            "quantization_status": "compressed",
            "ignore": modules(plan, |work| work.scheme.is_none()),
            "config_groups": groups(plan),
            "sparsity_config": sparsity(plan, KEPT_CODES, kept_share),
        }));
    }
    if any(Form::Bitmask) {
        return Some(json!({
            "quant_method": "compressed-tensors",
            "version": VERSION,
            "format": "dense",
            "quantization_status": "compressed",
            "ignore": [],
            "config_groups": {},
            "sparsity_config": sparsity(plan, "sparse-bitmask", kept_share),
        }));
    }
    any(Form::Packed).then(|| {
        json!({
            "quant_method": "compressed-tensors",
            "version": VERSION,
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "global_compression_ratio": null,
            "kv_cache_scheme": null,
            "ignore": modules(plan, |work| work.form == Form::Dense),
            "config_groups": groups(plan),
        })
    })
}

/// The version of compressed-tensors whose forms are written.
const VERSION: &str = "0.14.0";

/// Quantized weights behind a mask: `FORMAT.md`.
const KEPT_CODES: &str = "sparse-bitmask-quantized";

fn sparsity(plan: &Plan, format: &str, kept_share: Option<f64>) -> Value {
    let structure = match plan.prune {
        Some(super::Pruning::Nm(pattern)) => pattern.to_string(),
        _ => "unstructured".to_owned(),
    };
    json!({
        "format": format,
        "global_sparsity": kept_share.map(|kept| 1.0 - kept),
        "sparsity_structure": structure,
        "targets": ["Linear"],
        "ignore": modules(plan, |work| work.form == Form::Dense),
    })
}

/// Every module with a two-dimensional weight that is not selected, or is `left` as it is.
fn modules(plan: &Plan, left: impl Fn(&Work) -> bool) -> Vec<String> {
    let left = plan.tensors.iter().filter(|tensor| {
        let name = &tensor.input.name;
        let linear = name.ends_with(".weight") || name.ends_with("/kernel");
        linear && tensor.input.shape.len() == 2 && tensor.work.as_ref().is_none_or(&left)
    });
    let mut modules: Vec<String> =
        left.map(|tensor| module(&tensor.input.name).to_owned()).collect();
    // A head that shares the embedding's weight is a module without a tensor of its own.
    let has = |wanted: &dyn Fn(&str) -> bool| plan.tensors.iter().any(|t| wanted(&t.input.name));
    let is_head = |name: &str| parts(name).any(|part| part == HEAD);
    if has(&is_embedding) && !has(&is_head) {
        modules.push(HEAD.to_owned());
    }
    modules
}

/// The module that turns hidden states into logits.
const HEAD: &str = "lm_head";

/// One group a scheme. With several, each names its modules; so does one that holds an embedding,
/// which is no module of the class Linear.
fn groups(plan: &Plan) -> Map<String, Value> {
    let mut schemes: Vec<(QuantScheme, Vec<&str>)> = vec![];
    for (_, tensor, work) in plan.selected() {
        let Some(scheme) = work.scheme else { continue };
        let name = module(&tensor.input.name);
        match schemes.iter_mut().find(|(known, _)| *known == scheme) {
            Some((_, names)) => names.push(name),
            None => schemes.push((scheme, vec![name])),
        }
    }
    let linear = |module: &&str| !is_embedding(&format!("{module}.weight"));
    let single = matches!(&schemes[..], [(_, modules)] if modules.iter().all(linear));
    let each = schemes.iter().enumerate().map(|(number, (scheme, names))| {
        let targets = if single { vec!["Linear"] } else { names.clone() };
        let group = json!({
            "targets": targets,
            "input_activations": null,
            "output_activations": null,
            "weights": weights(scheme),
        });
        (format!("group_{number}"), group)
    });
    each.collect()
}

fn weights(scheme: &QuantScheme) -> Value {
    let (strategy, group_size) = match scheme.granularity {
        Granularity::Tensor => ("tensor", None),
        Granularity::Channel => ("channel", None),
        Granularity::Group(size) => ("group", Some(size)),
    };
    json!({
        "num_bits": scheme.bits as u32,
        "type": "int",
        "symmetric": scheme.symmetric,
        "strategy": strategy,
        "group_size": group_size,
        "dynamic": false,
        "actorder": null,
        "observer": "minmax",
        "observer_kwargs": {},
        "block_structure": null,
    })
}

/// The index `base` with the tensors that are written now.
pub(super) fn index<'a>(
    base: &Value,
    tensors: impl Iterator<Item = (&'a str, &'a str, u64)>,
) -> Value {
    let mut index = base.as_object().cloned().unwrap_or_default();
    let mut places: Vec<(&str, &str)> = vec![];
    let mut total = 0;
    for (name, shard, bytes) in tensors {
        places.push((name, shard));
        total += bytes;
    }
    places.sort_unstable();
    let map: Map<String, Value> =
        places.into_iter().map(|(name, shard)| (name.to_owned(), shard.into())).collect();
    let metadata = index.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("total_size".into(), total.into());
    }
    index.insert("weight_map".into(), map.into());
    index.into()
}

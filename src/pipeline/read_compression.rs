//! Steps that compress, from TOML.

use serde::Deserialize;

use super::fields::Fields;
use super::read::Scope;
use crate::compress::{Format, Pruning, Recipe, pattern};
use crate::error::Result;
use crate::scheme::{Bits, OnIndivisible, Quantization, SchemeChoice};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tool {
    CompressedTensors,
}

pub(super) fn prune(fields: &mut Fields<'_>) -> Result<Recipe> {
    let sparsity: Option<f64> = fields.take("sparsity")?;
    let scope: Option<Scope> = fields.take("scope")?;
    if scope.is_some() && sparsity.is_none() {
        return Err(fields.wrong("scope", "scope says what sparsity is about; give one".to_owned()));
    }
    let global = scope == Some(Scope::Global);
    let kinds = [
        sparsity.map(|share| Pruning::Sparsity { share, global }),
        fields.take("threshold")?.map(Pruning::Threshold),
        fields.take("threshold-ratio")?.map(Pruning::ThresholdRatio),
        fields.parse("nm")?.map(Pruning::Nm),
    ];
    let given: Vec<Pruning> = kinds.into_iter().flatten().collect();
    let mut recipe = selection(fields)?;
    let format: Option<Format> = fields.take("format")?;
    if let Some(format) = format {
        recipe = recipe.format(format);
    }
    match given[..] {
        [] if format.is_none_or(|format| format == Format::Dense) => Err(fields.missing(
            "sparsity, threshold, threshold-ratio, nm or format = \"sparse-bitmask\"",
            "sparsity = 0.9",
        )),
        [] => Ok(recipe),
        [pruning] => Ok(recipe.prune(pruning)),
        _ => {
            let reason = "sparsity, threshold, threshold-ratio and nm exclude each other; give one";
            Err(fields.wrong("do", reason.to_owned()))
        }
    }
}

pub(super) fn quantize(fields: &mut Fields<'_>) -> Result<Recipe> {
    let bits: Bits = fields.require("to", "to = \"int4\"")?;
    let mut recipe = selection(fields)?;
    if let Some(Quantization { scheme, on_indivisible }) = quantization(fields, Some(bits), "to")? {
        recipe = recipe.quantize(scheme).on_indivisible(on_indivisible);
    }
    if let Some(format) = fields.take("format")? {
        recipe = recipe.format(format);
    }
    Ok(recipe)
}

/// Codes of so many bits; the keys of their scheme mean nothing without them.
pub(super) fn quantization(
    fields: &mut Fields<'_>,
    bits: Option<Bits>,
    key: &'static str,
) -> Result<Option<Quantization>> {
    let keys = [
        "granularity",
        "group-size",
        "asymmetric",
        "narrow-range",
        "scale",
        "match",
        "on-indivisible",
    ];
    let choice = SchemeChoice {
        bits: bits.unwrap_or(Bits::Eight),
        granularity: fields.take(keys[0])?,
        group_size: fields.take(keys[1])?,
        asymmetric: fields.take(keys[2])?.unwrap_or(false),
        narrow_range: fields.take(keys[3])?.unwrap_or(false),
        multiplier: fields.take(keys[4])?,
        weight_type: fields.take::<Tool>(keys[5])?.is_some(),
    };
    let on_indivisible = fields.take::<OnIndivisible>(keys[6])?.unwrap_or_default();
    if bits.is_some() {
        let scheme = fields.located(key, choice.scheme())?;
        return Ok(Some(Quantization { scheme, on_indivisible }));
    }
    match keys.into_iter().find(|key| fields.has_taken(key)) {
        None => Ok(None),
        Some(other) => {
            Err(fields
                .wrong(other, format!("{other} goes with {key}, for example {key} = \"int4\"")))
        }
    }
}

/// A recipe for the tensors that are selected.
fn selection(fields: &mut Fields<'_>) -> Result<Recipe> {
    let mut recipe = Recipe::new();
    for name in patterns(fields, "include")? {
        recipe = recipe.include(name);
    }
    for name in patterns(fields, "exclude")? {
        recipe = recipe.exclude(name);
    }
    Ok(recipe)
}

fn patterns(fields: &mut Fields<'_>, key: &'static str) -> Result<Vec<regex::Regex>> {
    let texts: Vec<String> = fields.take(key)?.unwrap_or_default();
    texts.iter().map(|text| fields.located(key, pattern(key, text))).collect()
}

//! What a model says about its own compression.

use serde_json::Value;

use crate::io::Model;

/// Key of the JSON in `config.json`, and in the metadata of a single file.
pub(crate) const QUANTIZATION: &str = "quantization_config";
/// Key in a file's metadata: JSON list of weights that were stored `[in, out]`.
pub(crate) const TRANSPOSED: &str = "tensorpress.transposed";
/// Key in a file's metadata: JSON list of weights whose name does not end in `.weight`.
pub(crate) const NAMES: &str = "tensorpress.names";

/// The `quantization_config` of a model, from `config.json` or from a file's metadata.
pub(crate) fn quantization_of(model: &Model) -> Option<Value> {
    let in_config = model.config().and_then(|config| config.get(QUANTIZATION));
    if let Some(value) = in_config.filter(|value| !value.is_null()) {
        return Some(value.clone());
    }
    let mut json = model.shards().iter().filter_map(|f| f.metadata().get(QUANTIZATION));
    json.next().and_then(|json| serde_json::from_str(json).ok())
}

/// What a compressed model calls its format; `None` for a dense one.
pub(crate) fn format_of(model: &Model) -> Option<String> {
    let config = quantization_of(model)?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let sparse = text(config.get("sparsity_config").and_then(|sparsity| sparsity.get("format")));
    let format = sparse.or_else(|| text(config.get("format")));
    Some(format.or_else(|| text(config.get("quant_method"))).unwrap_or_else(|| "unknown".into()))
}

/// The names in the lists that the files' metadata keep under `key`.
pub(super) fn names_under(model: &Model, key: &str) -> Vec<String> {
    let lists = model.shards().iter().filter_map(|file| file.metadata().get(key));
    lists.flat_map(|json| serde_json::from_str::<Vec<String>>(json).unwrap_or_default()).collect()
}

//! Which tensors are compressed.

use std::collections::HashSet;

use regex::Regex;

use crate::error::{Result, UsageError};
use crate::stored::{is_embedding, parts};

/// The regular expression `text`, which was given as `argument`.
///
/// # Errors
/// [`UsageError::Pattern`].
pub fn pattern(argument: &'static str, text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|error| {
        let words = error.to_string();
        let reason = words.lines().last().unwrap_or_default();
        let reason = reason.trim_start_matches("error:").trim().to_owned();
        UsageError::Pattern { argument, pattern: text.to_owned(), reason }.into()
    })
}

/// Which tensors are compressed, by name. Only two-dimensional floating tensors ever are.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// Replaces the default selection where not empty.
    pub include: Vec<Regex>,
    pub exclude: Vec<Regex>,
}

impl Selection {
    /// Whether `name` is selected; `described` are the weights of a network that the model describes,
    /// which may have any names.
    pub(super) fn matches(&self, name: &str, described: &HashSet<String>) -> bool {
        let wanted = if self.include.is_empty() {
            let is_weight = matches!(parts(name).next_back(), Some("weight" | "kernel"));
            (is_weight || described.contains(name)) && !is_left_out(name)
        } else {
            self.include.iter().any(|pattern| pattern.is_match(name))
        };
        wanted && !self.exclude.iter().any(|pattern| pattern.is_match(name))
    }
}

/// Whether a weight is one of a norm, an embedding or `lm_head`: those are left out by default.
fn is_left_out(name: &str) -> bool {
    let Some(module) = parts(name).nth_back(1).map(str::to_lowercase) else { return false };
    let norm = module.contains("norm") || module == "ln" || module.starts_with("ln_");
    norm || is_embedding(name) || module == "lm_head"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_takes_linear_weights() {
        let none = HashSet::new();
        for name in [
            "weight",
            "fc1.weight",
            "dense/kernel",
            "model.layers.0.self_attn.q_proj.weight",
            "transformer.h.0.attn.c_attn.weight",
            "bert.embeddings.dense.weight",
        ] {
            assert!(Selection::default().matches(name, &none), "{name}");
        }
        for name in [
            "fc1.bias",
            "model.norm.weight",
            "model.layers.0.input_layernorm.weight",
            "transformer.ln_f.weight",
            "model.embed_tokens.weight",
            "bert.embeddings.word_embeddings.weight",
            "transformer.wte.weight",
            "wpe.weight",
            "lm_head.weight",
            "fc1.weight_scale",
        ] {
            assert!(!Selection::default().matches(name, &none), "{name}");
        }
        let described = HashSet::from(["a".to_owned(), "lm_head.weight".to_owned()]);
        for (name, expected) in [("a", true), ("b", false), ("lm_head.weight", false)] {
            assert_eq!(Selection::default().matches(name, &described), expected, "{name}");
        }
    }

    #[test]
    fn include_replaces_and_exclude_takes_away() {
        let none = HashSet::new();
        let selection = Selection {
            include: vec![Regex::new("embed|fc").expect("a pattern")],
            exclude: vec![Regex::new("^fc2").expect("a pattern")],
        };
        assert!(selection.matches("embed.weight", &none));
        assert!(selection.matches("fc1.bias", &none));
        assert!(!selection.matches("fc2.weight", &none));
        assert!(!selection.matches("head.weight", &none));
    }
}

//! The ways of compressing that a sweep tries.

use clap::{Args, ValueEnum};

use crate::cli::recipe::{
    Indivisible, Integer, OutputFormat, QuantizeArguments, RecipeArguments, Share, value_name,
};
use crate::scheme::NmPattern;

/// What is tried. Where no sparsity, pattern, ratio or type is given, it is the usual of each.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What is tried")]
pub(super) struct Choice {
    /// Shares of zeros, comma separated [usual: 0.5,0.8,0.9,0.95]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    sparsity: Vec<f64>,
    /// Of what --sparsity is taken, comma separated
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values = ["layer", "global"])]
    scope: Vec<Scope>,
    /// N:M patterns, comma separated [usual: 2:4]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    nm: Vec<NmPattern>,
    /// Zero where |w| < A × the largest |w| of the layer [usual: 0.01,0.05,0.1,0.2]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    threshold_ratio: Vec<f32>,
    /// Types of weights, comma separated, alone and with --sparsity [usual: int8,int4,int2]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    quantize: Vec<Integer>,
    /// How many weights share a scale, comma separated [default: those that suit the type]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    granularity: Vec<Share>,
    /// Weights in a group [default: the largest of 128, 64, 32 and 16 that fits the layers]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    group_size: Vec<usize>,
    /// Store zero points
    #[arg(long)]
    asymmetric: bool,
    /// Use codes −127…127 (−7…7, −1…1) and a step of absmax / 127
    #[arg(long)]
    narrow_range: bool,
    /// Compress only tensors whose name matches (repeatable)
    #[arg(long, value_name = "REGEX")]
    include: Vec<String>,
    /// Leave out tensors whose name matches (repeatable)
    #[arg(long, value_name = "REGEX")]
    exclude: Vec<String>,
}

/// Of what a sparsity is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// Each layer
    Layer,
    /// All layers together
    Global,
}

/// What is done to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Nothing.
    Dense,
    /// Nothing, but it was compressed when it came.
    Stored,
    Quantized,
    PrunedByLayer,
    PrunedGlobally,
    PrunedByPattern,
    PrunedByRatio,
    PrunedAndQuantized,
}

/// One way of compressing.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub name: String,
    pub kind: Kind,
    pub recipe: RecipeArguments,
}

impl Choice {
    /// The dense network and every variant. `group` is a group size that suits the network, where
    /// there is one.
    pub(super) fn variants(&self, group: Option<usize>) -> Vec<Variant> {
        let all = self.sparsity.is_empty()
            && self.nm.is_empty()
            && self.threshold_ratio.is_empty()
            && self.quantize.is_empty();
        let types = chosen(&self.quantize, all, &[Integer::Int8, Integer::Int4, Integer::Int2]);
        let sparsities = chosen(&self.sparsity, all, &[0.5, 0.8, 0.9, 0.95]);
        let mut variants = vec![self.dense()];
        for integer in &types {
            let shares = self.shares(*integer, group);
            variants.extend(shares.into_iter().map(|share| self.quantized(*integer, share)));
        }
        for scope in &self.scope {
            variants.extend(sparsities.iter().map(|share| self.sparse(*share, *scope)));
        }
        let patterns = chosen(&self.nm, all, &[NmPattern { keep: 2, of: 4 }]);
        variants.extend(patterns.into_iter().map(|pattern| self.patterned(pattern)));
        let ratios = chosen(&self.threshold_ratio, all, &[0.01, 0.05, 0.1, 0.2]);
        variants.extend(ratios.into_iter().map(|ratio| self.above(ratio)));
        // int2 alone loses so much that it is combined only where it is asked for.
        for integer in types.iter().filter(|integer| !all || **integer != Integer::Int2) {
            let finest = self.shares(*integer, group).pop();
            let both = |share: &f64| Some(self.sparse_codes(*share, *integer, finest?));
            variants.extend(sparsities.iter().filter_map(both));
        }
        variants
    }

    /// Granularities of a type, the finest last.
    fn shares(&self, integer: Integer, group: Option<usize>) -> Vec<(Share, Option<usize>)> {
        let usual: &[Share] = match integer {
            Integer::Int8 => &[Share::Tensor, Share::Channel],
            Integer::Int4 => &[Share::Tensor, Share::Channel, Share::Group],
            Integer::Int2 => &[Share::Group],
        };
        let mut shares =
            if self.granularity.is_empty() { usual } else { &self.granularity }.to_vec();
        if !self.group_size.is_empty() && !shares.contains(&Share::Group) {
            shares.push(Share::Group);
        }
        shares.sort_unstable();
        let mut sizes = self.group_size.clone();
        sizes.extend(group.filter(|_| self.group_size.is_empty()));
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let each = shares.into_iter().flat_map(|share| match share {
            // Where no size fits, a group is a row.
            Share::Group if sizes.is_empty() => vec![(Share::Channel, None)],
            Share::Group => sizes.iter().map(|size| (share, Some(*size))).collect(),
            Share::Tensor | Share::Channel => vec![(share, None)],
        });
        let mut each: Vec<_> = each.collect();
        each.dedup();
        each
    }

    /// What all recipes have in common.
    fn common(&self) -> RecipeArguments {
        let (include, exclude) = (self.include.clone(), self.exclude.clone());
        RecipeArguments { include, exclude, ..RecipeArguments::default() }
    }

    /// Pruned weights are stored as they take the least room.
    fn masked(&self) -> RecipeArguments {
        RecipeArguments { format: Some(OutputFormat::SparseBitmask), ..self.common() }
    }

    fn dense(&self) -> Variant {
        // To prune nothing changes nothing, and gives the same figures as all else.
        let recipe = RecipeArguments {
            sparsity: Some(0.0),
            format: Some(OutputFormat::Dense),
            ..self.common()
        };
        Variant { name: "dense".to_owned(), kind: Kind::Dense, recipe }
    }

    fn codes(&self, integer: Integer, (share, size): (Share, Option<usize>)) -> RecipeArguments {
        let codes = QuantizeArguments {
            quantize: Some(integer),
            granularity: Some(share),
            group_size: size,
            asymmetric: self.asymmetric,
            narrow_range: self.narrow_range,
            on_indivisible: size.map_or(Indivisible::Error, |_| Indivisible::Channel),
            ..QuantizeArguments::default()
        };
        RecipeArguments { codes, ..self.common() }
    }

    fn quantized(&self, integer: Integer, share: (Share, Option<usize>)) -> Variant {
        let name = codes_name(integer, share);
        Variant { name, kind: Kind::Quantized, recipe: self.codes(integer, share) }
    }

    fn sparse(&self, share: f64, scope: Scope) -> Variant {
        let global = scope == Scope::Global;
        let recipe = RecipeArguments { sparsity: Some(share), global, ..self.masked() };
        let (scope, kind) = match scope {
            Scope::Layer => ("by layer", Kind::PrunedByLayer),
            Scope::Global => ("global", Kind::PrunedGlobally),
        };
        Variant { name: format!("{} {scope}", percent(share)), kind, recipe }
    }

    fn patterned(&self, pattern: NmPattern) -> Variant {
        let recipe = RecipeArguments { nm: Some(pattern), ..self.masked() };
        let name = format!("{}:{}", pattern.keep, pattern.of);
        Variant { name, kind: Kind::PrunedByPattern, recipe }
    }

    fn above(&self, ratio: f32) -> Variant {
        let recipe = RecipeArguments { threshold_ratio: Some(ratio), ..self.masked() };
        Variant { name: format!("|w| ≥ {ratio} max"), kind: Kind::PrunedByRatio, recipe }
    }

    /// Of the scopes, the global one loses less.
    fn sparse_codes(&self, share: f64, integer: Integer, codes: (Share, Option<usize>)) -> Variant {
        let global = self.scope.contains(&Scope::Global);
        let name = format!("{} {}", percent(share), codes_name(integer, codes));
        let recipe =
            RecipeArguments { sparsity: Some(share), global, ..self.codes(integer, codes) };
        Variant { name, kind: Kind::PrunedAndQuantized, recipe }
    }
}

/// What was given or, where nothing at all was, the usual.
fn chosen<T: Clone>(given: &[T], all: bool, usual: &[T]) -> Vec<T> {
    if all { usual.to_vec() } else { given.to_vec() }
}

/// "int4 group 64".
fn codes_name(integer: Integer, (share, size): (Share, Option<usize>)) -> String {
    let name = format!("{} {}", value_name(&integer), value_name(&share));
    size.map_or(name.clone(), |size| format!("{name} {size}"))
}

/// "50%".
fn percent(share: f64) -> String {
    // Digits beyond these are of binary fractions.
    let text = format!("{:.6}", share * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

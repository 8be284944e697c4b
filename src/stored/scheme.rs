//! The scheme of integer codes, from their shapes and from what the model says.

use serde_json::Value;

use super::Part;
use super::catalog::problem;
use super::names::module;
use crate::error::Result;
use crate::scheme::{Bits, Granularity, QuantScheme};
use crate::tensor::DType;

/// The parts of a quantized weight `[rows, cols]`.
pub(super) struct Shapes<'a> {
    pub rows: usize,
    pub cols: usize,
    /// `None` where only some codes are stored, of which the width does not follow.
    pub codes: Option<&'a Part>,
    pub scale: &'a Part,
    pub zero_point: &'a Option<Part>,
}

/// The scheme of `name`, checked against every shape.
pub(super) fn of(name: &str, shapes: &Shapes<'_>, config: Option<&Value>) -> Result<QuantScheme> {
    let group = config.and_then(|config| weights_of(name, config));
    let bits = bits(name, shapes, group)?;
    let granularity = granularity(name, shapes, group)?;
    let symmetric = shapes.zero_point.is_none();
    let scheme = QuantScheme { symmetric, ..QuantScheme::new(bits, granularity) };
    if !zero_points_fit(shapes, &scheme) {
        return Err(problem(
            name,
            "its zero points do not fit its scales; the file is damaged, fetch it again",
        ));
    }
    Ok(scheme)
}

/// The `weights` of the group in `config_groups` that is meant for `name`: the one that names its
/// module, else the one for all Linear modules.
fn weights_of<'a>(name: &str, config: &'a Value) -> Option<&'a Value> {
    let module = module(name);
    let groups = config.get("config_groups")?.as_object()?;
    let targets = |group: &'a Value, wanted: &dyn Fn(&str) -> bool| {
        let targets = group.get("targets").and_then(Value::as_array);
        targets.is_some_and(|all| all.iter().filter_map(Value::as_str).any(wanted))
    };
    let named = |target: &str| match target.strip_prefix("re:") {
        Some(pattern) => regex::Regex::new(pattern).is_ok_and(|p| p.is_match(module)),
        None => target == module,
    };
    let group = groups.values().find(|group| targets(group, &named));
    let group = group.or_else(|| groups.values().find(|g| targets(g, &|t| t == "Linear")));
    let only = (groups.len() == 1).then(|| groups.values().next()).flatten();
    group.or(only)?.get("weights")
}

fn bits(name: &str, shapes: &Shapes<'_>, group: Option<&Value>) -> Result<Bits> {
    // Codes that are not packed; named as packed ones they could have any shape.
    let rows_and_cols = [shapes.rows, shapes.cols];
    let plain = |codes: &Part| codes.info.dtype == DType::I8 && codes.info.shape == rows_and_cols;
    if shapes.codes.is_some_and(plain) {
        return Ok(Bits::Eight);
    }
    let fits = |bits: &Bits| {
        let Some(codes) = shapes.codes else { return true };
        let words = (shapes.cols as u64 * *bits as u64).div_ceil(32);
        let shape: Vec<u64> = codes.info.shape.iter().map(|e| *e as u64).collect();
        codes.info.dtype == DType::I32 && shape == [shapes.rows as u64, words]
    };
    let said = group.and_then(|weights| weights.get("num_bits")).and_then(Value::as_u64);
    let all = [Bits::Two, Bits::Four, Bits::Eight];
    let mut candidates = all.into_iter().filter(fits);
    match (said, candidates.next(), candidates.next()) {
        (Some(said), ..) if !all.iter().any(|bits| *bits as u64 == said) => Err(problem(
            name,
            "its codes have another width than 2, 4 or 8 bits, which tensorpress does not read yet",
        )),
        (Some(said), ..) => {
            all.into_iter().find(|bits| *bits as u64 == said && fits(bits)).ok_or_else(|| {
                problem(name, "its codes do not fit its shape and the bits that quantization_config gives; the file is damaged, fetch it again")
            })
        }
        (None, Some(bits), None) => Ok(bits),
        (None, None, _) => Err(problem(
            name,
            "its codes do not fit its shape with 2, 4 or 8 bits each; the file is damaged, fetch it again",
        )),
        (None, ..) if shapes.codes.is_none() => Err(problem(
            name,
            "only codes that are not zero are stored, and there is no quantization_config that says how wide they are",
        )),
        (None, Some(_), Some(_)) => Err(problem(
            name,
            "its rows are so short that the width of a code is not clear, and there is no quantization_config that says it",
        )),
    }
}

fn granularity(name: &str, shapes: &Shapes<'_>, group: Option<&Value>) -> Result<Granularity> {
    let (rows, cols) = (shapes.rows, shapes.cols);
    match shapes.scale.info.shape[..] {
        [] | [1] => Ok(Granularity::Tensor),
        [r] if r == rows => Ok(Granularity::Channel),
        [r, 1] if r == rows => Ok(Granularity::Channel),
        // Rows of nothing have no groups, whatever their size.
        [r, 0] if r == rows && cols == 0 => Ok(Granularity::Group(1)),
        [r, groups] if r == rows && groups > 0 => {
            let said = group.and_then(|weights| weights.get("group_size")).and_then(Value::as_u64);
            let said = said.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
            let even = cols.is_multiple_of(groups).then(|| cols / groups).filter(|size| *size > 0);
            let size = said.filter(|size| cols.div_ceil(*size) == groups).or(even);
            size.map(Granularity::Group).ok_or_else(|| {
                problem(
                    name,
                    "its scales do not fit its groups; the file is damaged, fetch it again",
                )
            })
        }
        _ => Err(problem(
            name,
            "its scales have neither one value, one a row nor whole groups, which tensorpress does not read yet",
        )),
    }
}

fn zero_points_fit(shapes: &Shapes<'_>, scheme: &QuantScheme) -> bool {
    let Some(part) = shapes.zero_point else { return true };
    let groups = match scheme.granularity {
        Granularity::Tensor => return part.info.dtype == DType::I8 && part.info.bytes() == 1,
        Granularity::Channel => 1,
        Granularity::Group(size) => shapes.cols.div_ceil(size),
    };
    match part.info.dtype {
        DType::I8 => part.info.bytes() as usize == shapes.rows * groups,
        DType::I32 => part.info.shape == [shapes.rows.div_ceil(scheme.codes_per_word()), groups],
        _ => false,
    }
}

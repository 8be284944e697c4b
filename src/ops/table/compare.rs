//! How results are compared. The tests and the measurements share it.

use super::{Backend, Case, Output};
use crate::error::Result;

/// What a part of `f32` values must be, element by element, computed in `f64`.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Name of the part.
    pub part: &'static str,
    /// Its values. Infinite ones must be met exactly.
    pub values: Vec<f64>,
    /// The largest allowed |result − value| of each; 0 demands the value itself.
    pub bounds: Vec<f64>,
}

/// Largest root mean square of error over bound. A bound is a worst case that rounding errors do
/// not add up to; an error in the same direction everywhere, as from a dropped term, does.
const MAX_RMS: f64 = 0.25;

/// What the result of a case must be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The CPU's result.
    pub output: Output,
    /// Replaces the CPU's result for the parts that it names.
    pub references: Vec<Reference>,
}

impl Case {
    /// Runs the case on the CPU, and its `f64` reference where it has one.
    ///
    /// # Errors
    /// Those of the operation.
    pub fn expected(&self) -> Result<Expected> {
        let output = (self.run)(&Backend::Cpu)?;
        let references = self.reference.as_ref().map_or_else(Vec::new, |compute| compute());
        Ok(Expected { output, references })
    }
}

impl Expected {
    /// The first difference of `got`, in words; `None` where there is none.
    ///
    /// A part with a [`Reference`] must have as many elements, each within its bound, and a root
    /// mean square of error over bound of at most 0.25. Any other part must have the CPU's bytes.
    pub fn difference(&self, got: &Output) -> Option<String> {
        let Self { output, references } = self;
        for reference in references {
            if !output.parts.iter().any(|(name, _)| *name == reference.part) {
                return Some(format!("a reference for {}, which is no part", reference.part));
            }
        }
        if got.parts.len() != output.parts.len() {
            return Some("another number of parts".into());
        }
        got.parts.iter().zip(&output.parts).find_map(|((name, got), (expected_name, expected))| {
            if name != expected_name {
                return Some(format!("part {name} instead of {expected_name}"));
            }
            match references.iter().find(|reference| reference.part == *name) {
                Some(reference) => reference.difference(got),
                None => byte_difference(name, got, expected),
            }
        })
    }
}

impl Reference {
    fn difference(&self, got: &[u8]) -> Option<String> {
        let Self { part, values, bounds } = self;
        if bounds.len() != values.len() || bounds.iter().any(|b| !b.is_finite() || *b < 0.0) {
            return Some(format!("{part}: the reference itself lacks bounds"));
        }
        if got.len() != values.len() * 4 {
            let (bytes, expected) = (got.len(), values.len());
            return Some(format!("{part}: {bytes} bytes, expected {expected} elements"));
        }
        let (mut squares, mut bounded) = (0.0, 0_u64);
        let elements = got.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)));
        for (index, ((got, value), bound)) in elements.zip(values).zip(bounds).enumerate() {
            // Equal infinities have no difference.
            let error = if got == *value { 0.0 } else { (got - value).abs() };
            // Written so that NaN fails.
            if !matches!(error.partial_cmp(bound), Some(o) if o.is_le()) {
                return Some(format!(
                    "{part}: element {index} is {got:e}, expected {value:e} ± {bound:e}"
                ));
            }
            if *bound > 0.0 {
                squares += (error / bound).powi(2);
                bounded += 1;
            }
        }
        let rms = (squares / bounded.max(1) as f64).sqrt();
        (rms > MAX_RMS).then(|| format!("{part}: root mean square {rms:.3} of the bound"))
    }
}

fn byte_difference(name: &str, got: &[u8], expected: &[u8]) -> Option<String> {
    if got.len() != expected.len() {
        return Some(format!("{name}: {} bytes, expected {}", got.len(), expected.len()));
    }
    let at = (0..got.len()).find(|i| got[*i] != expected[*i])?;
    let word = at & !3;
    let end = (word + 4).min(got.len());
    Some(format!(
        "{name}: byte {at} differs: {:02x?}, expected {:02x?}",
        &got[word..end],
        &expected[word..end]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(values: &[f64], bounds: &[f64]) -> Expected {
        let reference =
            Reference { part: "values", values: values.to_vec(), bounds: bounds.to_vec() };
        Expected { output: output(&[]), references: vec![reference] }
    }

    fn output(values: &[f32]) -> Output {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Output { parts: vec![("values", bytes), ("indices", vec![1, 2, 3, 4])] }
    }

    #[test]
    fn bounds_hold_and_fail() {
        let infinite = f64::NEG_INFINITY;
        let expected = expected(&[1.0, infinite, 0.0, 2.0], &[0.5, 0.0, 0.0, 0.5]);
        let seen = |values: &[f32]| expected.difference(&output(values)).is_some();
        assert!(!seen(&[1.0, f32::NEG_INFINITY, -0.0, 2.1]));
        assert!(seen(&[1.6, f32::NEG_INFINITY, 0.0, 2.0]), "beyond the bound");
        assert!(seen(&[1.0, f32::NEG_INFINITY, 1e-40, 2.0]), "a bound of 0");
        assert!(seen(&[1.0, f32::MIN, 0.0, 2.0]), "not infinite");
        assert!(seen(&[f32::NAN, f32::NEG_INFINITY, 0.0, 2.0]), "NaN");
        assert!(seen(&[1.2, f32::NEG_INFINITY, 0.0, 2.2]), "all to one side");
        assert!(seen(&[1.0, f32::NEG_INFINITY, 0.0]), "too few");
    }

    #[test]
    fn other_parts_are_compared_exactly() {
        let expected = expected(&[1.0], &[0.5]);
        let mut got = output(&[1.0]);
        assert_eq!(expected.difference(&got), None);
        got.parts[1].1[0] = 9;
        assert!(expected.difference(&got).is_some());
        got.parts.pop();
        assert!(expected.difference(&got).is_some());
    }

    #[test]
    fn a_reference_without_sense_is_seen() {
        for bounds in [&[][..], &[f64::INFINITY], &[f64::NAN], &[-1.0]] {
            assert!(expected(&[1.0], bounds).difference(&output(&[1.0])).is_some());
        }
        let mut stray = expected(&[1.0], &[0.5]);
        stray.references[0].part = "nothing";
        assert!(stray.difference(&output(&[1.0])).is_some());
    }
}

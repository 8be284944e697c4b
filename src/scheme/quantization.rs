use std::fmt;

use serde::Deserialize;

use super::{Granularity, QuantScheme};
use crate::error::{Result, UsageError};

/// What happens to a weight whose rows are not whole groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnIndivisible {
    /// Nothing is quantized; all such weights are listed.
    #[default]
    Error,
    /// It gets one scale a row.
    Channel,
    /// It is not quantized.
    Skip,
}

/// How the weights of a model are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// The scheme of all that it fits.
    pub scheme: QuantScheme,
    /// What happens to the others.
    pub on_indivisible: OnIndivisible,
}

impl Quantization {
    /// The scheme of a weight with rows of `cols`; `None` where it is not quantized.
    pub fn of_rows(&self, cols: usize) -> Option<QuantScheme> {
        match (self.scheme.divides(cols), self.on_indivisible) {
            (true, _) | (false, OnIndivisible::Error) => Some(self.scheme),
            (false, OnIndivisible::Channel) => {
                Some(QuantScheme { granularity: Granularity::Channel, ..self.scheme })
            }
            (false, OnIndivisible::Skip) => None,
        }
    }

    /// Checks the scheme, and that it fits `weights`, each with its name and the width of its rows.
    ///
    /// # Errors
    /// As [`QuantScheme::validate`], and [`UsageError::Indivisible`] with every weight whose rows
    /// are not whole groups, unless something else happens to those.
    pub fn check<'a>(&self, weights: impl Iterator<Item = (&'a str, usize)>) -> Result<()> {
        self.scheme.validate()?;
        let (Granularity::Group(group), OnIndivisible::Error) =
            (self.scheme.granularity, self.on_indivisible)
        else {
            return Ok(());
        };
        let indivisible = weights.filter(|(_, cols)| !self.scheme.divides(*cols));
        let tensors: Vec<_> = indivisible.map(|(name, cols)| (name.to_owned(), cols)).collect();
        if tensors.is_empty() {
            return Ok(());
        }
        Err(UsageError::Indivisible { group, tensors }.into())
    }
}

/// "int4 group 128", or "int4 group 128, channel where that does not divide".
impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scheme)?;
        match (self.scheme.granularity, self.on_indivisible) {
            (Granularity::Group(_), OnIndivisible::Channel) => {
                f.write_str(", channel where groups do not fit")
            }
            (Granularity::Group(_), OnIndivisible::Skip) => {
                f.write_str(", nothing where groups do not fit")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::Bits;

    #[test]
    fn rows_that_are_no_whole_groups_get_what_was_asked_for() {
        let group = QuantScheme::new(Bits::Four, Granularity::Group(8));
        let channel = QuantScheme { granularity: Granularity::Channel, ..group };
        let with = |on_indivisible| Quantization { scheme: group, on_indivisible };
        for what in [OnIndivisible::Error, OnIndivisible::Channel, OnIndivisible::Skip] {
            assert_eq!(with(what).of_rows(16), Some(group));
        }
        assert_eq!(with(OnIndivisible::Channel).of_rows(12), Some(channel));
        assert_eq!(with(OnIndivisible::Skip).of_rows(12), None);
        let weights = [("a", 16), ("b", 12), ("c", 3)];
        let error = with(OnIndivisible::Error).check(weights.into_iter()).expect_err("two of them");
        assert!(error.to_string().contains("b (12 wide), c (3 wide)"), "{error}");
        with(OnIndivisible::Error).check(weights[..1].iter().copied()).expect("whole groups");
        with(OnIndivisible::Skip).check(weights.into_iter()).expect("two are left out");
        let rows = Quantization { scheme: channel, on_indivisible: OnIndivisible::Error };
        rows.check(weights.into_iter()).expect("no groups");
        assert_eq!(rows.of_rows(3), Some(channel));
    }
}

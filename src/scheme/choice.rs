use serde::Deserialize;

use super::{Arithmetic, Bits, Granularity, QuantScheme, Range};
use crate::error::{Result, UsageError};

/// Which weights share a scale, without the size of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Those of a tensor.
    Tensor,
    /// Those of a row (output feature).
    Channel,
    /// So many of a row.
    Group,
}

/// A scheme as people ask for it, on the command line or in a recipe: what they leave out follows
/// from what they say.
#[derive(Clone, Copy, Debug)]
pub struct SchemeChoice {
    /// Width of a code.
    pub bits: Bits,
    /// By default tensor with a multiplier, else group with a group size, else channel for 8 bits
    /// and group for fewer.
    pub granularity: Option<Sharing>,
    /// Weights in a group, by default 128.
    pub group_size: Option<usize>,
    /// With zero points.
    pub asymmetric: bool,
    /// [`Range::Narrow`].
    pub narrow_range: bool,
    /// [`Range::Multiplier`].
    pub multiplier: Option<u32>,
    /// [`Arithmetic::WeightType`].
    pub weight_type: bool,
}

impl SchemeChoice {
    /// The scheme with nothing else said.
    pub fn new(bits: Bits) -> Self {
        Self {
            bits,
            granularity: None,
            group_size: None,
            asymmetric: false,
            narrow_range: false,
            multiplier: None,
            weight_type: false,
        }
    }

    /// The scheme that is asked for.
    ///
    /// # Errors
    /// [`UsageError::Conflict`] for a group size without groups or a narrow range with a multiplier,
    /// and as [`QuantScheme::validate`].
    pub fn scheme(&self) -> Result<QuantScheme> {
        let default = if self.bits == Bits::Eight { Sharing::Channel } else { Sharing::Group };
        // A group size alone asks for groups, and a fixed step is the same for all weights.
        let asked = self.granularity.or(self.group_size.map(|_| Sharing::Group));
        let sharing = asked.or(self.multiplier.map(|_| Sharing::Tensor)).unwrap_or(default);
        let granularity = match (sharing, self.group_size) {
            (Sharing::Group, size) => Granularity::Group(size.unwrap_or(128)),
            (Sharing::Tensor | Sharing::Channel, Some(_)) => {
                return Err(UsageError::Conflict {
                    first: "--group-size",
                    second: "--granularity tensor or channel",
                    advice: "give one of them",
                }
                .into());
            }
            (Sharing::Tensor, None) => Granularity::Tensor,
            (Sharing::Channel, None) => Granularity::Channel,
        };
        let range = match (self.multiplier, self.narrow_range) {
            (Some(_), true) => {
                let (first, second) = ("--scale", "--narrow-range");
                return Err(
                    UsageError::Conflict { first, second, advice: "give one of them" }.into()
                );
            }
            (Some(n), false) => Range::Multiplier(n),
            (None, true) => Range::Narrow,
            (None, false) => Range::Full,
        };
        let arithmetic = if self.weight_type { Arithmetic::WeightType } else { Arithmetic::F32 };
        let symmetric = !self.asymmetric;
        let scheme = QuantScheme { bits: self.bits, symmetric, granularity, range, arithmetic };
        scheme.validate()?;
        Ok(scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_follows() {
        let new = SchemeChoice::new;
        let group = Granularity::Group;
        let cases = [
            (new(Bits::Eight), Granularity::Channel),
            (new(Bits::Four), group(128)),
            (new(Bits::Two), group(128)),
            (SchemeChoice { group_size: Some(32), ..new(Bits::Eight) }, group(32)),
            (SchemeChoice { multiplier: Some(127), ..new(Bits::Four) }, Granularity::Tensor),
            (
                SchemeChoice { multiplier: Some(9), group_size: Some(8), ..new(Bits::Four) },
                group(8),
            ),
            (
                SchemeChoice { granularity: Some(Sharing::Channel), ..new(Bits::Two) },
                Granularity::Channel,
            ),
        ];
        for (choice, granularity) in cases {
            let scheme = choice.scheme().expect("a scheme");
            assert_eq!((scheme.bits, scheme.granularity), (choice.bits, granularity));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let new = SchemeChoice::new(Bits::Eight);
        let group_size = Some(4);
        for choice in [
            SchemeChoice { granularity: Some(Sharing::Tensor), group_size, ..new },
            SchemeChoice { granularity: Some(Sharing::Channel), group_size, ..new },
            SchemeChoice { multiplier: Some(3), narrow_range: true, ..new },
            SchemeChoice { asymmetric: true, narrow_range: true, ..new },
            SchemeChoice { group_size: Some(0), ..new },
        ] {
            assert_eq!(choice.scheme().expect_err("contradiction").exit_code(), 2, "{choice:?}");
        }
    }
}

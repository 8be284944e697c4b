//! The schemes that go by a name.

use super::{Arithmetic, Bits, Granularity, QuantScheme, Range};

impl QuantScheme {
    /// Symmetric, full range, computed in `f32`.
    pub fn new(bits: Bits, granularity: Granularity) -> Self {
        Self { bits, symmetric: true, granularity, range: Range::Full, arithmetic: Arithmetic::F32 }
    }

    /// 4 bits, a scale every 128 weights of a row: "W4A16".
    pub fn w4a16() -> Self {
        Self::new(Bits::Four, Granularity::Group(128))
    }

    /// [`QuantScheme::w4a16`] with zero points: "W4A16_ASYM".
    pub fn w4a16_asym() -> Self {
        Self { symmetric: false, ..Self::w4a16() }
    }

    /// 8 bits, a scale every 128 weights of a row: "W8A16".
    pub fn w8a16() -> Self {
        Self::new(Bits::Eight, Granularity::Group(128))
    }

    /// 8 bits, a scale a row.
    pub fn int8() -> Self {
        Self::new(Bits::Eight, Granularity::Channel)
    }
}

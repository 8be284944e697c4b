//! Numbers that know how far `f32` arithmetic may have led from them.

use super::Reference;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// One unit in the last place, at most, relative to a value.
const EPS: f64 = 1.0 / (1 << 23) as f64;
/// Results below are subnormal, and a device may flush them to 0.
const SMALLEST_NORMAL: f64 = 1.0 / (1_u128 << 126) as f64;

/// A value in `f64`, and a bound on what the same computation in `f32` errs on any device: a running
/// error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 3.3).
///
/// Each operation passes on what its operands err and adds what WGSL lets it err itself ("Accuracy
/// of concrete floating point expressions"); a sum or product is one of the two floats around the
/// exact one, so it errs by less than a unit in the last place. A device that fuses two operations
/// errs less. A CPU that computes the same errs no more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traced {
    pub value: f64,
    pub error: f64,
}

/// A value that `f32` has exactly.
pub(super) fn exact(value: f32) -> Traced {
    Traced { value: f64::from(value), error: 0.0 }
}

/// A constant that is rounded to `f32`.
pub(super) fn constant(value: f64) -> Traced {
    Traced::new(value, 0.0, 1.0)
}

impl Traced {
    /// `value`, to whose error the operands gave `passed_on` and the operation so many units in the
    /// last place.
    fn new(value: f64, passed_on: f64, ulp: f64) -> Self {
        Self { value, error: passed_on + ulp * EPS * value.abs() + SMALLEST_NORMAL }
    }

    pub fn abs(self) -> Self {
        Self { value: self.value.abs(), ..self }
    }

    pub fn clamp(self, low: f64, high: f64) -> Self {
        let value = self.value.clamp(low, high);
        let above = (self.value + self.error).clamp(low, high) - value;
        let below = value - (self.value - self.error).clamp(low, high);
        Self { value, error: above.max(below) }
    }

    /// 1 / inverseSqrt(x) of 2 and 2.5 ULP.
    pub fn sqrt(self) -> Self {
        let value = self.value.max(0.0).sqrt();
        let low = (self.value - self.error).max(0.0).sqrt();
        let high = (self.value + self.error).max(0.0).sqrt();
        Self::new(value, (high - value).max(value - low), 5.0)
    }

    pub fn exp(self) -> Self {
        let value = self.value.exp();
        Self::new(value, value * self.error.exp_m1(), 3.0 + 2.0 * self.value.abs())
    }

    /// The natural logarithm of what is not near 0.
    pub fn ln(self) -> Self {
        let value = self.value.ln();
        let passed_on = self.error / (self.value - self.error);
        Self::new(value, passed_on + 2_f64.powi(-21), 3.0)
    }
}

impl Add for Traced {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.error + other.error, 1.0)
    }
}

impl Sub for Traced {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::new(self.value - other.value, self.error + other.error, 1.0)
    }
}

impl Mul for Traced {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let passed_on =
            self.error * (other.value.abs() + other.error) + other.error * self.value.abs();
        Self::new(self.value * other.value, passed_on, 1.0)
    }
}

impl Div for Traced {
    type Output = Self;
    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let least = other.value.abs() - other.error;
        Self::new(value, (self.error + value.abs() * other.error) / least, 2.5)
    }
}

impl Neg for Traced {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, ..self }
    }
}

/// Traced elements of a part.
pub(super) struct Bounded(Reference);

impl Bounded {
    pub fn new(part: &'static str) -> Self {
        Self(Reference { part, values: vec![], bounds: vec![] })
    }

    pub fn push(&mut self, element: Traced) {
        self.0.values.push(element.value);
        self.0.bounds.push(element.error);
    }

    pub fn reference(self) -> Reference {
        self.0
    }
}

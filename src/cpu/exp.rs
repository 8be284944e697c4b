//! The exponential function in a form that compilers turn into vector code.

/// Adding this rounds |x| < 2^22 half to even and leaves the integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 in two parts; products of the first with small integers are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// e^x, within 2 units in the last place, for x from −87 to 88 and as at these ends beyond; NaN for
/// NaN.
///
/// x = n ln 2 + r with |r| ≤ ln 2 / 2, where the Taylor polynomial of degree 7 is off by less than
/// 6e-9; 2^n is an exponent.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2[0] - n * LN_2[1];
    let mut sum = 1.0 / 5040.0;
    for factorial in [720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        sum = sum * r + 1.0 / factorial;
    }
    // The low bits of `shifted` are n; what lies above them leaves with the shift.
    sum * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in 0..3_500_000_u32 {
            let x = i as f32 * 5e-5 - 87.0;
            let exact = f64::from(x).exp();
            let unit = f64::from(f32::EPSILON) * 2_f64.powi(exact.log2().floor() as i32);
            worst = worst.max((f64::from(exp(x)) - exact).abs() / unit);
        }
        assert!(worst <= 2.0, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(-1e30) < 1e-37 && exp(1e30).is_finite());
    }
}

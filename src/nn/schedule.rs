//! How sparsity grows while a network is trained.

use std::fmt;
use std::str::FromStr;

use super::schedule_text::ScheduleText;
use crate::error::{Error, Result};

/// How sparsity grows while a network is trained: the schedules of TensorFlow Model Optimization
/// (`ConstantSparsity` and `PolynomialDecay`; the latter is that of Zhu and Gupta 2017).
///
/// Text and value go both ways:
///
/// ```
/// use tensorpress::nn::PruningSchedule;
/// let schedule: PruningSchedule = "polynomial:0:0.9:1000:3000".parse()?;
/// assert_eq!(schedule.to_string(), "polynomial:0:0.9:1000:3000:100:3");
/// assert_eq!(schedule.sparsity_at(1000), Some(0.0));
/// assert_eq!(schedule.sparsity_at(1001), None);
/// assert_eq!(schedule.sparsity_at(3000), Some(0.9));
/// # Ok::<_, tensorpress::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PruningSchedule {
    /// `constant:S`: the sparsity S from the first step on, chosen anew every
    /// [`PruningSchedule::EVERY`] steps.
    Constant {
        /// From 0 to below 1.
        sparsity: f64,
    },
    /// `polynomial:S0:S1:BEGIN:END[:EVERY[:POWER]]`: s = S1 + (S0 − S1)(1 − p)^POWER, where p goes
    /// from 0 at step BEGIN to 1 at step END.
    Polynomial {
        /// Sparsity at the beginning, S0.
        from: f64,
        /// Sparsity at the end, S1; not below S0, because pruned weights stay zero.
        to: f64,
        /// The first step at which weights are chosen.
        begin: u64,
        /// No weights are chosen after this step.
        end: u64,
        /// Steps from one choice to the next.
        every: u64,
        /// How early most of the weights go: 3 is quick at first and slow at the end.
        power: f64,
    },
}

impl PruningSchedule {
    /// Steps from one choice of weights to the next, where nothing else is said.
    pub const EVERY: u64 = 100;
    /// The power of a polynomial, where nothing else is said.
    pub const POWER: f64 = 3.0;
    /// What can be parsed, for messages.
    pub const FORM: &str = "write constant:S or polynomial:S0:S1:BEGIN:END[:EVERY[:POWER]], for \
                            example polynomial:0:0.9:0:2000";

    /// The sparsity that weights are pruned to at `step`, or `None` where the weights that are
    /// zero stay those they are. Step 0 is before the first change of the weights.
    ///
    /// A polynomial whose END − BEGIN is no multiple of EVERY never comes to its last sparsity, as
    /// in TensorFlow; [`PruningSchedule::last_sparsity`] tells how far it comes. TensorFlow
    /// computes in `f32`, this in `f64`.
    pub fn sparsity_at(&self, step: u64) -> Option<f64> {
        match *self {
            Self::Constant { sparsity } => step.is_multiple_of(Self::EVERY).then_some(sparsity),
            Self::Polynomial { from, to, begin, end, every, power } => {
                let due = (begin..=end).contains(&step) && (step - begin).is_multiple_of(every);
                let p = || ((step - begin) as f64 / (end - begin) as f64).clamp(0.0, 1.0);
                // The same digits on every system, which the standard library does not promise.
                due.then(|| to + (from - to) * libm::pow(1.0 - p(), power))
            }
        }
    }

    /// The last step at which weights are chosen; `None` where that goes on for ever.
    pub fn last_step(&self) -> Option<u64> {
        match *self {
            Self::Constant { .. } => None,
            Self::Polynomial { begin, end, every, .. } => Some(end - (end - begin) % every),
        }
    }

    /// The sparsity that is come to in the end.
    pub fn last_sparsity(&self) -> f64 {
        self.sparsity_at(self.last_step().unwrap_or(0)).unwrap_or_default()
    }
}

impl fmt::Display for PruningSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant { sparsity } => write!(f, "constant:{sparsity}"),
            Self::Polynomial { from, to, begin, end, every, power } => {
                write!(f, "polynomial:{from}:{to}:{begin}:{end}:{every}:{power}")
            }
        }
    }
}

impl FromStr for PruningSchedule {
    type Err = Error;

    /// # Errors
    /// [`crate::error::UsageError::Schedule`], which says what is wrong and what can be written.
    fn from_str(given: &str) -> Result<Self> {
        let (kind, mut text) = ScheduleText::new(given, Self::FORM);
        let schedule = match kind {
            "constant" => Self::Constant { sparsity: text.sparsity("S")? },
            "polynomial" => {
                let (from, to) = (text.sparsity("S0")?, text.sparsity("S1")?);
                let (begin, end) = (text.number("BEGIN")?, text.number("END")?);
                let every = text.optional("EVERY")?.unwrap_or(Self::EVERY);
                let power = text.optional("POWER")?.unwrap_or(Self::POWER);
                Self::Polynomial { from, to, begin, end, every, power }
            }
            _ => return Err(text.problem(format!("there is no schedule {kind:?}"))),
        };
        text.end()?;
        match schedule.contradiction() {
            None => Ok(schedule),
            Some(problem) => Err(text.problem(problem)),
        }
    }
}

impl PruningSchedule {
    fn contradiction(&self) -> Option<String> {
        let Self::Polynomial { from, to, begin, end, every, power } = *self else { return None };
        if end <= begin {
            return Some(format!("it ends at step {end}, and begins at step {begin}"));
        }
        if to < from {
            return Some(format!(
                "it goes from sparsity {from} down to {to}, and pruned weights stay zero"
            ));
        }
        if every == 0 {
            return Some("EVERY is 0, and at least 1 was expected".to_owned());
        }
        let usable = power.is_finite() && power > 0.0;
        (!usable).then(|| format!("POWER is {power}, and a number above 0 was expected"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> PruningSchedule {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn defaults_are_those_of_tensorflow() {
        let full = "polynomial:0.5:0.8:200:1200:100:3";
        for text in ["polynomial:0.5:0.8:200:1200", "polynomial:0.5:0.8:200:1200:100", full] {
            assert_eq!(parsed(text), parsed(full));
            assert_eq!(parsed(text).to_string(), full);
        }
        let constant = parsed("constant:0.5");
        let due: Vec<u64> = (0..350).filter(|t| constant.sparsity_at(*t).is_some()).collect();
        assert_eq!(due, [0, 100, 200, 300]);
        assert_eq!((constant.last_step(), constant.last_sparsity()), (None, 0.5));
    }

    #[test]
    fn a_polynomial_by_hand() {
        let schedule = parsed("polynomial:0:0.8:10:30:5:2");
        let all: Vec<_> = (0..50).filter_map(|t| Some((t, schedule.sparsity_at(t)?))).collect();
        // 0.8 · (1 − (1 − p)²) for p = 0, ¼, ½, ¾, 1.
        let expected = [(10, 0.0), (15, 0.35), (20, 0.6), (25, 0.75), (30, 0.8)];
        assert_eq!(all.len(), expected.len(), "{all:?}");
        for ((step, sparsity), (expected_step, expected)) in all.into_iter().zip(expected) {
            assert_eq!(step, expected_step);
            assert!((sparsity - expected).abs() < 1e-15, "{step}: {sparsity}");
        }
        // Ends between two choices.
        let schedule = parsed("polynomial:0:0.8:10:34:5:1");
        assert_eq!(schedule.last_step(), Some(30));
        assert!((schedule.last_sparsity() - 0.8 * 20.0 / 24.0).abs() < 1e-15);
        assert_eq!(schedule.sparsity_at(34), None);
    }

    #[test]
    fn errors_teach() {
        for (text, expected) in [
            ("", "no schedule \"\""),
            ("cubic:0:1", "no schedule \"cubic\""),
            ("constant", "S is missing"),
            ("constant:1", "sparsity S is 1, and 0 ≤ S < 1"),
            ("constant:-0.1", "sparsity S is -0.1"),
            ("constant:NaN", "sparsity S is NaN"),
            ("constant:half", "S is \"half\""),
            ("constant:0.5:7", "\"7\" is one number too many"),
            ("polynomial:0:0.9:0", "END is missing"),
            ("polynomial:0:1.5:0:10", "sparsity S1 is 1.5"),
            ("polynomial:0:0.9:-5:10", "BEGIN is \"-5\""),
            ("polynomial:0:0.9:20:10", "ends at step 10, and begins at step 20"),
            ("polynomial:0:0.9:10:10", "ends at step 10, and begins at step 10"),
            ("polynomial:0.9:0.5:0:10", "from sparsity 0.9 down to 0.5"),
            ("polynomial:0:0.9:0:10:0", "EVERY is 0"),
            ("polynomial:0:0.9:0:10:1:0", "POWER is 0"),
            ("polynomial:0:0.9:0:10:1:inf", "POWER is inf"),
            ("polynomial:0:0.9:0:10:1:3:", "\"\" is one number too many"),
        ] {
            let error = text.parse::<PruningSchedule>().expect_err(text);
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            for part in [expected, PruningSchedule::FORM] {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_polynomial_is_that_of_tensorflow(
            (from, to) in (0.0..1.0_f64, 0.0..1.0_f64).prop_map(|(a, b)| (a.min(b), a.max(b))),
            begin in 0..500_u64,
            length in 1..500_u64,
            every in 1..120_u64,
            power in prop_oneof![Just(3.0), 0.1..5.0_f64],
        ) {
            let end = begin + length;
            let text = format!("polynomial:{from}:{to}:{begin}:{end}:{every}:{power}");
            let schedule = parsed(&text);
            prop_assert_eq!(schedule.to_string().parse::<PruningSchedule>().expect("its own"), schedule);
            let mut last = None;
            for t in 0..1100_u64 {
                let (t_s, b, e) = (t as f64, begin as f64, end as f64);
                let naive = if t >= begin && t <= end && (t - begin) % every == 0 {
                    let p = (t_s - b) / (e - b);
                    Some((from - to) * (1.0 - p).powf(power) + to)
                } else {
                    None
                };
                let got = schedule.sparsity_at(t);
                match (got, naive) {
                    (Some(got), Some(naive)) => prop_assert!((got - naive).abs() < 1e-14),
                    _ => prop_assert_eq!(got, naive),
                }
                if got.is_some() {
                    prop_assert!(got >= last || last.is_none());
                    last = got;
                    if Some(t) == schedule.last_step() {
                        prop_assert_eq!(got, Some(schedule.last_sparsity()));
                    }
                }
                prop_assert!(got.is_none_or(|s| (0.0..1.0).contains(&s)));
            }
            prop_assert_eq!(last, Some(schedule.last_sparsity()));
        }

        #[test]
        fn any_constant_parses_and_prints(sparsity in 0.0..1.0_f64, step in 0..1000_u64) {
            let schedule = parsed(&format!("constant:{sparsity}"));
            prop_assert_eq!(schedule.to_string().parse::<PruningSchedule>().expect("its own"), schedule);
            prop_assert_eq!(schedule.sparsity_at(step), (step % 100 == 0).then_some(sparsity));
        }

        #[test]
        fn any_text_is_a_schedule_or_refused(
            text in "(constant|polynomial|)(:[-0-9.e]{0,4}){0,7}|.{0,20}",
        ) {
            match text.parse::<PruningSchedule>() {
                Ok(schedule) => prop_assert!((0.0..1.0).contains(&schedule.last_sparsity())),
                Err(error) => prop_assert_eq!(error.exit_code(), 2),
            }
        }
    }
}

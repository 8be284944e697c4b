//! Schedules as text: a kind and its numbers, separated by colons.

use std::str::{FromStr, Split};

use crate::error::{Error, Result, UsageError};

/// What is left to be read of a schedule.
pub(super) struct ScheduleText<'a> {
    given: &'a str,
    form: &'static str,
    parts: Split<'a, char>,
}

impl<'a> ScheduleText<'a> {
    /// The kind, and the rest. `form` tells what can be written.
    pub(super) fn new(given: &'a str, form: &'static str) -> (&'a str, Self) {
        let mut parts = given.split(':');
        let kind = parts.next().unwrap_or_default();
        (kind, Self { given, form, parts })
    }

    /// The number that comes next.
    pub(super) fn number<T: FromStr>(&mut self, name: &str) -> Result<T> {
        let number = self.optional(name)?;
        number.ok_or_else(|| self.problem(format!("{name} is missing")))
    }

    /// The number that comes next, if there is one.
    pub(super) fn optional<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(part) = self.parts.next() else { return Ok(None) };
        let number = part.parse().map(Some);
        number.map_err(|_| self.problem(format!("{name} is {part:?}, which is no such number")))
    }

    /// The share that comes next: a sparsity, from 0 to below 1.
    pub(super) fn sparsity(&mut self, name: &str) -> Result<f64> {
        let share: f64 = self.number(name)?;
        if (0.0..1.0).contains(&share) {
            return Ok(share);
        }
        Err(self
            .problem(format!("the sparsity {name} is {share}, and 0 ≤ {name} < 1 was expected")))
    }

    /// Fails where something is left.
    pub(super) fn end(&mut self) -> Result<()> {
        match self.parts.next() {
            None => Ok(()),
            Some(part) => Err(self.problem(format!("{part:?} is one number too many"))),
        }
    }

    /// The error for `problem`.
    pub(super) fn problem(&self, problem: String) -> Error {
        let (given, form) = (self.given.to_owned(), self.form);
        UsageError::Schedule { given, problem, form }.into()
    }
}

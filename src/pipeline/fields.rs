//! The keys of a table in a recipe, taken one by one; what is left over in the end is unknown.

use std::collections::HashMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::error::{Error, PipelineProblem, Place, Result, UsageError};

/// What is left of a table.
pub(super) struct Fields<'a> {
    text: &'a str,
    /// "the recipe" or "this train step", for messages.
    pub owner: String,
    start: usize,
    table: DeTable<'a>,
    /// Where the values lie that have been taken.
    taken: HashMap<&'static str, usize>,
    /// All keys that were asked for.
    known: Vec<&'static str>,
}

/// The table of a whole document.
pub(super) fn document(text: &str) -> Result<Fields<'_>> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = place(text, error.span().map_or(text.len(), |span| span.start));
        let reason = error.message().replace('\n', ", ");
        Error::from(PipelineProblem::Syntax { place, reason })
    })?;
    Ok(Fields::new(text, 0, table.into_inner()))
}

/// Line and column of byte `at`.
fn place(text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
    Place { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
}

impl<'a> Fields<'a> {
    fn new(text: &'a str, start: usize, table: DeTable<'a>) -> Self {
        let owner = "the recipe".to_owned();
        Self { text, owner, start, table, taken: HashMap::new(), known: vec![] }
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Place {
        place(self.text, self.start)
    }

    /// Where the value of `key` lies, or else the table.
    pub(super) fn place_of(&self, key: &str) -> Place {
        place(self.text, self.taken.get(key).copied().unwrap_or(self.start))
    }

    /// Whether `key` is there, of which the value has been taken.
    pub(super) fn has_taken(&self, key: &str) -> bool {
        self.taken.contains_key(key)
    }

    /// The error for a value of `key`.
    pub(super) fn wrong(&self, key: &str, reason: String) -> Error {
        let (place, owner) = (self.place_of(key), self.owner.clone());
        PipelineProblem::Value { place, owner, reason }.into()
    }

    /// Puts a place to what is wrong with the values.
    pub(super) fn located<T>(&self, key: &str, result: Result<T>) -> Result<T> {
        result.map_err(|error| match error {
            Error::Usage(error) => {
                let key = match &error {
                    UsageError::OutOfRange { what, .. } => what.trim_start_matches('-'),
                    _ => key,
                };
                // Keys are called like options, but have no hyphens before them.
                self.wrong(key, error.to_string().replace("--", ""))
            }
            other => other,
        })
    }

    fn value(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        let value = self.table.remove(key)?;
        self.taken.insert(key, value.span().start);
        Some(value)
    }

    /// The value of `key`, if it is there.
    pub(super) fn take<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        T::deserialize(ValueDeserializer::from(value)).map(Some).map_err(|error| {
            let place = place(self.text, error.span().map_or(self.taken[key], |span| span.start));
            let reason = format!("{key}: {}", error.message().replace('\n', ", "));
            PipelineProblem::Value { place, owner: self.owner.clone(), reason }.into()
        })
    }

    /// The value of `key`, from text.
    pub(super) fn parse<T: FromStr<Err = Error>>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>> {
        let Some(text) = self.take::<String>(key)? else { return Ok(None) };
        self.located(key, text.parse()).map(Some)
    }

    /// The value of `key`, which must be there; `example` shows how.
    pub(super) fn require<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        example: &'static str,
    ) -> Result<T> {
        self.take(key)?.ok_or_else(|| self.missing(key, example))
    }

    /// The error for `key`, which is not there.
    pub(super) fn missing(&self, key: &'static str, example: &'static str) -> Error {
        let (place, owner) = (self.place(), self.owner.clone());
        PipelineProblem::MissingKey { place, owner, key, example }.into()
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Result<Vec<Self>> {
        let Some(value) = self.value(key) else { return Ok(vec![]) };
        let not_tables = |at: usize| {
            let reason = format!("{key} is no list of tables; begin each with [[{key}]]");
            let (place, owner) = (place(self.text, at), self.owner.clone());
            Error::from(PipelineProblem::Value { place, owner, reason })
        };
        let at = value.span().start;
        let DeValue::Array(values) = value.into_inner() else { return Err(not_tables(at)) };
        let tables = values.into_iter().map(|value| {
            let at = value.span().start;
            match value.into_inner() {
                DeValue::Table(table) => Ok(Self::new(self.text, at, table)),
                _ => Err(not_tables(at)),
            }
        });
        tables.collect()
    }

    /// Fails where a key is left.
    pub(super) fn end(mut self) -> Result<()> {
        let left = self.table.keys().min_by_key(|key| key.span().start);
        let Some((key, at)) = left.map(|key| (key.get_ref().to_string(), key.span().start)) else {
            return Ok(());
        };
        self.known.sort_unstable();
        let (place, known) = (place(self.text, at), self.known.join(", "));
        Err(PipelineProblem::UnknownKey { place, owner: self.owner, key, known }.into())
    }
}

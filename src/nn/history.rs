//! What a training came to, epoch by epoch.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, FormatProblem, Result};
use crate::io::OutputFile;

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// Its number, from 1.
    pub epoch: u64,
    /// Steps that were taken by its end, those of earlier epochs included.
    pub step: u64,
    /// Mean training loss over the rows of the epoch.
    pub loss: f64,
    /// Share of its rows that were classified right, where they have classes.
    pub accuracy: Option<f64>,
    /// Loss on the rows that were kept back, if any.
    pub validation_loss: Option<f64>,
    /// Accuracy on them.
    pub validation_accuracy: Option<f64>,
    /// Learning rate of the last step.
    pub learning_rate: f64,
    /// Share of zeros in the weights that are pruned; 0 where none are.
    pub sparsity: f64,
    /// Rows learnt from, a second.
    pub rows_per_second: f64,
    /// Time that the epoch took.
    pub seconds: f64,
}

/// What a training came to, epoch by epoch, as CSV or JSON. Numbers are written with as many digits
/// as they need to be read back the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// In the order of their numbers, which grow by one; a training that was continued may begin
    /// later than at 1.
    pub epochs: Vec<EpochRecord>,
}

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema_version: u32,
    epochs: Vec<EpochRecord>,
}

const VERSION: u32 = 1;

impl History {
    /// A line of names, and one an epoch. What there is none of is empty.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(vec![]);
        // Names stand there without epochs too.
        let written = writer
            .write_record(COLUMNS)
            .and_then(|()| self.epochs.iter().try_for_each(|epoch| writer.serialize(epoch)));
        let bytes = written.ok().and_then(|()| writer.into_inner().ok());
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).expect("numbers into memory")
    }

    /// The history in `text`, as [`History::to_csv`] writes it; its columns may have another order.
    ///
    /// # Errors
    /// [`FormatProblem::History`] with the line.
    pub fn from_csv(text: &str) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let epochs = reader.deserialize().collect::<Result<_, csv::Error>>();
        let epochs = epochs.map_err(|error| {
            let line = error.position().map_or(1, csv::Position::line);
            let reason = match error.kind() {
                csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
                _ => error.to_string(),
            };
            FormatProblem::History { line, reason }
        })?;
        // The line of names comes first.
        Self { epochs }.checked(|epoch| epoch as u64 + 2)
    }

    /// `{"schema_version": 1, "epochs": […]}`. What there is none of is `null`.
    pub fn to_json(&self) -> String {
        let document = Document { schema_version: VERSION, epochs: self.epochs.clone() };
        serde_json::to_string_pretty(&document).expect("numbers alone") + "\n"
    }

    /// The history in `text`, as [`History::to_json`] writes it.
    ///
    /// # Errors
    /// [`FormatProblem::History`] with the line.
    pub fn from_json(text: &str) -> Result<Self> {
        let problem = |line, reason| FormatProblem::History { line, reason };
        let document: Document =
            serde_json::from_str(text).map_err(|e| problem(e.line() as u64, e.to_string()))?;
        if document.schema_version != VERSION {
            let found = document.schema_version;
            let reason = format!("schema_version is {found}, and {VERSION} was expected");
            return Err(problem(1, reason).into());
        }
        Self { epochs: document.epochs }.checked(|_| 1)
    }

    /// Fails unless epochs count up by one and steps rise; `line` tells where one stands.
    fn checked(self, line: impl Fn(usize) -> u64) -> Result<Self> {
        for (number, pair) in self.epochs.windows(2).enumerate() {
            let [before, after] = pair else { continue };
            if after.epoch != before.epoch + 1 || after.step <= before.step {
                let reason = format!(
                    "epoch {} at step {} follows epoch {} at step {}",
                    after.epoch, after.step, before.epoch, before.step
                );
                return Err(FormatProblem::History { line: line(number + 1), reason }.into());
            }
        }
        Ok(self)
    }

    /// Forgets the epochs after `epoch`: a training is continued from there.
    pub fn truncate(&mut self, epoch: u64) {
        self.epochs.retain(|record| record.epoch <= epoch);
    }

    /// Writes the history to `path`, in place of what is there: as JSON where it ends in `.json`,
    /// otherwise as CSV.
    ///
    /// # Errors
    /// [`Error::Create`] or [`Error::Write`]; what was there then stands.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = if is_json(path) { self.to_json() } else { self.to_csv() };
        let file = OutputFile::create(path, text.len() as u64, true)?;
        file.write_at(0, text.as_bytes())?;
        file.commit()
    }

    /// Reads what [`History::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Input`], or [`FormatProblem::History`] with the line.
    pub fn open(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Input { path: path.to_owned(), source })?;
        let read = if is_json(path) { Self::from_json } else { Self::from_csv };
        read(&text).map_err(|error| error.in_file(path))
    }
}

/// The fields of [`EpochRecord`], in its order.
const COLUMNS: [&str; 10] = [
    "epoch",
    "step",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "sparsity",
    "rows_per_second",
    "seconds",
];

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(epoch: u64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: epoch * 100,
            loss: 0.1 + 0.2,
            accuracy: Some(0.875),
            validation_loss: None,
            validation_accuracy: None,
            learning_rate: 1e-3,
            sparsity: 0.0,
            rows_per_second: 123_456.789,
            seconds: 1.5,
        }
    }

    #[test]
    fn what_is_written_reads_well() {
        let history = History { epochs: vec![record(1)] };
        let expected = "epoch,step,loss,accuracy,validation_loss,validation_accuracy,learning_rate,\
                        sparsity,rows_per_second,seconds\n\
                        1,100,0.30000000000000004,0.875,,,0.001,0.0,123456.789,1.5\n";
        assert_eq!(history.to_csv(), expected);
        let json: serde_json::Value = serde_json::from_str(&history.to_json()).expect("JSON");
        assert_eq!(json["schema_version"], 1);
        assert_eq!(json["epochs"][0]["validation_loss"], serde_json::Value::Null);
        let names: Vec<&String> = json["epochs"][0].as_object().expect("fields").keys().collect();
        assert_eq!(names, COLUMNS);
        let none = History::default();
        assert_eq!(History::from_csv(&none.to_csv()).expect("its own"), none);
        assert_eq!(History::from_json(&none.to_json()).expect("its own"), none);
    }

    #[test]
    fn files_are_replaced_and_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["history.csv", "history.json"] {
            let path = folder.path().join(name);
            let mut history = History::default();
            for epoch in 4..7 {
                history.epochs.push(record(epoch));
                history.write(&path).expect("written");
                assert_eq!(History::open(&path).expect("read"), history);
            }
            history.truncate(5);
            assert_eq!(history.epochs, [record(4), record(5)]);
        }
        assert_eq!(History::open(folder.path()).expect_err("a folder").exit_code(), 66);
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        let csv = History { epochs: vec![record(1), record(2)] }.to_csv();
        let cases = [
            (csv.replace("0.875", "high"), "line 2"),
            (csv.replace("\n2,200", "\n3,300"), "line 3"),
            (csv.replace("\n2,200", "\n2,100"), "line 3"),
            (csv.replace("loss,acc", "loss,extra,acc"), "line 2"),
            (csv.replace("seconds\n", "time\n"), "line 2"),
            (csv.replace(",1.5", ""), "line 2"),
        ];
        for (text, line) in cases {
            let error = History::from_csv(&text).expect_err(&text);
            let message = error.to_string();
            assert!(error.exit_code() == 65 && message.contains(line), "{message}\n{text}");
        }
        let json = History { epochs: vec![record(1)] }.to_json();
        for (text, part) in [
            (json.replace("0.875", "\"high\""), "line 8"),
            (json.replace("\"schema_version\": 1", "\"schema_version\": 2"), "schema_version is 2"),
            (json.replace("\"loss\"", "\"lost\""), "unknown field `lost`"),
            (json[..50].to_owned(), "line"),
        ] {
            let message = History::from_json(&text).expect_err(&text).to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![0.0..10.0_f64, -1e300..1e300_f64, Just(f64::MIN_POSITIVE), Just(5e-324)]
    }

    proptest! {
        #[test]
        fn any_history_is_read_back(
            numbers in prop::collection::vec(
                (number(), prop::option::of(number()), prop::option::of(number()), number()),
                0..5,
            ),
            first in 0..9_u64,
        ) {
            let epochs = (first..).zip(numbers).map(|(epoch, (loss, accuracy, validation, rate))| {
                EpochRecord {
                    loss,
                    accuracy,
                    validation_loss: validation,
                    learning_rate: rate,
                    ..record(epoch)
                }
            });
            let history = History { epochs: epochs.collect() };
            prop_assert_eq!(&History::from_csv(&history.to_csv()).expect("its own"), &history);
            prop_assert_eq!(&History::from_json(&history.to_json()).expect("its own"), &history);
        }
    }
}

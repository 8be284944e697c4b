//! What goes to standard output and standard error.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use serde::Serialize;

use super::Common;
use crate::error::{Error, Result};
pub(super) use crate::stored::plain;

/// Prints to standard output.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| Error::Stdout { source })
}

/// Prints a value as one JSON object.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(_) => Err(Error::Bug { what: "a report that does not serialize" }),
    }
}

/// A line of information on standard error.
pub(super) fn note(common: &Common, text: &str) {
    if !common.quiet {
        diagnostic(text);
    }
}

/// A warning on standard error, on one line: names in it may hold others.
pub(super) fn warn(common: &Common, text: &str) {
    if !common.quiet {
        diagnostic(&format!("warning: {}", plain(text)));
    }
}

/// An error, on one line of standard error even with `--quiet`.
pub(super) fn error(error: &Error) {
    diagnostic(&format!("error: {}", plain(&error.to_string())));
}

/// Lines on standard error. Where nobody listens any more, the work goes on all the same.
fn diagnostic(text: &str) {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr().lock(), "{}", plain(line));
    }
}

/// A table as wide as the terminal; all but the `left` first columns are aligned to the right, and
/// the last of those is the one whose text may take several lines.
pub(super) fn table(header: &[impl AsRef<str>], left: usize, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        // Whoever reads a pipe wants one line a row.
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.force_no_tty();
    }
    if !header.is_empty() {
        table.set_header(header.iter().map(AsRef::as_ref));
    }
    let cells = |row: Vec<String>| row.into_iter().map(|text| Cell::new(plain(&text)));
    table.add_rows(rows.into_iter().map(cells));
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    if let Some(width) = table.width() {
        fit(&mut table, left, width.into());
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

/// Lets one column wrap and no other, because numbers and names cannot be read in pieces. Where
/// that does not suffice, the terminal breaks the lines.
fn fit(table: &mut Table, left: usize, width: usize) {
    const LEAST: usize = 8;
    let widths = table.column_max_content_widths();
    let text = left.min(widths.len()).saturating_sub(1);
    let padded = widths.iter().map(|width| usize::from(*width) + 2);
    let others: usize = padded.enumerate().filter(|(i, _)| *i != text).map(|(_, w)| w).sum();
    if others + LEAST + 2 > width {
        table.set_content_arrangement(ContentArrangement::Disabled);
        return;
    }
    for (_, column) in table.column_iter_mut().enumerate().filter(|(i, _)| *i != text) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// Lines in columns, without a header.
pub(super) fn lines(rows: Vec<Vec<String>>) -> String {
    table(&[""; 0], usize::MAX, rows)
}

/// "1.5 MB": decimal units, as disks are sold.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// "784×300".
pub(super) fn shape(shape: &[usize]) -> String {
    if shape.is_empty() {
        return "scalar".to_owned();
    }
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×")
}

/// A figure, or nothing.
pub(super) fn figure<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map(text).unwrap_or_default()
}

/// "50.0%".
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_and_names_stay_in_one_piece() {
        let table = |width| {
            let mut table = comfy_table::Table::new();
            table.load_preset(comfy_table::presets::NOTHING);
            table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
            table.set_width(width);
            table.add_row(["fc1.weight", "sparsity 0.5, int8 channel", "5.881e-2", "313.6 kB"]);
            super::fit(&mut table, 2, width.into());
            table.to_string()
        };
        for width in [10, 40, 44, 52, 60, 100] {
            let text = table(width);
            for word in ["fc1.weight", "sparsity", "5.881e-2", "313.6 kB"] {
                assert!(text.contains(word), "{width}:\n{text}");
            }
            assert_eq!(text.lines().count() > 1, [44, 52].contains(&width), "{width}:\n{text}");
        }
    }

    #[test]
    fn names_cannot_command_a_terminal() {
        assert_eq!(super::plain("a.weight é ×"), "a.weight é ×");
        assert_eq!(super::plain("a\u{1b}[2J\nb\r\u{9b}"), "a\\u{1b}[2J\\nb\\r\\u{9b}");
    }

    #[test]
    fn bytes_read_well() {
        let texts = [0, 999, 1000, 1500, 999_949, 999_960, 5_000_000_000].map(super::bytes);
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "1.5 kB", "999.9 kB", "1.0 MB", "5.0 GB"]);
    }
}

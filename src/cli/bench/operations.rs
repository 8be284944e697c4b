//! Every operation against the roofline.

use serde_json::{Value, json};

use super::{Arguments, Common, Target, clock, output};
use crate::error::{Result, UsageError};
use crate::ops::measure::{self, Measurement};
use crate::ops::{Operation, TABLE};

/// One device's figures.
struct Column {
    target: Target,
    rows: Vec<Measurement>,
}

pub(super) fn run(args: &Arguments, common: &Common) -> Result<()> {
    let operations: Vec<&Operation> =
        TABLE.iter().filter(|o| args.op.as_deref().is_none_or(|name| name == o.stem)).collect();
    if operations.is_empty() {
        let wanted = args.op.clone().unwrap_or_default();
        let available = TABLE.iter().map(|o| o.stem).collect::<Vec<_>>().join(", ");
        return Err(UsageError::UnknownOperation { wanted, available }.into());
    }
    let targets = Target::all(args, common)?.into_iter();
    let columns: Vec<Column> =
        targets.map(|target| measure_on(target, &operations, args.size)).collect::<Result<_>>()?;
    if common.json {
        output::json(&as_json(args, &columns))
    } else {
        output::print(&as_text(args, &operations, &columns))
    }
}

fn measure_on(target: Target, operations: &[&Operation], size: usize) -> Result<Column> {
    let rows = operations
        .iter()
        .map(|operation| measure::operation(&target.backend, operation, size, &target.roofline))
        .collect::<Result<_>>()?;
    Ok(Column { target, rows })
}

fn as_text(args: &Arguments, operations: &[&Operation], columns: &[Column]) -> String {
    let mut text = format!("{} weights an operation, median of at least 5 runs\n", args.size);
    text.extend(columns.iter().map(|column| column.target.as_text()));
    let arithmetic = columns.iter().flat_map(|c| &c.rows).any(|row| row.gflop_s.is_some());
    let mut header = vec!["operation".to_owned(), "what".to_owned()];
    for column in columns {
        let name = column.target.short_name();
        header.extend([format!("{name} ms"), "GB/s".into(), "% of copy".into()]);
        if arithmetic {
            header.push("GFLOP/s".into());
        }
    }
    let rows = operations.iter().enumerate().map(|(index, operation)| {
        let mut row = vec![operation.stem.to_owned(), operation.summary.to_owned()];
        for column in columns {
            let figure = &column.rows[index];
            row.extend([
                format!("{:.3}", figure.time.as_secs_f64() * 1e3),
                format!("{:.1}", figure.gb_s),
                format!("{:.0}", figure.share * 100.0),
            ]);
            if arithmetic {
                row.push(figure.gflop_s.map_or_else(String::new, |rate| format!("{rate:.1}")));
            }
        }
        row
    });
    let table = output::table(&header, 2, rows.collect());
    // What is exact has the CPU's own result for its reference: there is nothing to check it with.
    text.push_str(&format!(
        "\n{table}\nEvery result was checked against its reference, which for operations on bytes \
         is the CPU's own.\n"
    ));
    text
}

fn as_json(args: &Arguments, columns: &[Column]) -> Value {
    let devices = columns.iter().map(|column| {
        let rows = column.rows.iter().map(|row| {
            json!({
                "operation": row.stem,
                "seconds": row.time.as_secs_f64(),
                "bytes_read": row.work.read,
                "bytes_written": row.work.written,
                "gb_per_s": row.gb_s,
                "share_of_copy": row.share,
                "flops": row.work.flops,
                "gflop_per_s": row.gflop_s,
                "clock": clock(row.clock),
            })
        });
        column.target.as_json("operations", rows.collect())
    });
    json!({ "schema_version": 1, "weights": args.size, "devices": devices.collect::<Vec<_>>() })
}

//! `tensorpress bench`: the roofline of a device, then every operation against it.

use serde_json::{Value, json};

use super::device::Device;
use super::{Common, output};
use crate::error::{Result, UsageError};
use crate::gpu::GpuOptions;
use crate::ops::measure::{self, Clock, Measurement, Roofline};
use crate::ops::{Backend, Operation, TABLE};

/// Measure a device against its own copy bandwidth, beside the CPU
///
/// First the roofline, copy bandwidth and multiply-add rate; then every operation in GB/s and as a
/// share of the copy bandwidth. Each result is checked against the reference before it is timed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
GB/s counts the bytes that an operation must at least move (each input read once, each output
written once), so 100 % is a plain copy. Operations that do more than move bytes stay below;
those whose arithmetic counts show it in GFLOP/s.

Examples:
  tensorpress bench                     the device that auto takes, beside the CPU
  tensorpress bench --op quantize       one operation
  tensorpress bench --device gpu:0 --size 64M --json")]
pub(super) struct Arguments {
    /// Only this operation, by its stem (stats, prune, quantize …)
    #[arg(long, value_name = "NAME")]
    op: Option<String>,
    /// Weights in each operation: a number, or one with K, M or G
    #[arg(long, value_name = "N", default_value = "16M", value_parser = parse_size)]
    size: usize,
    #[command(flatten)]
    device: Device,
}

fn parse_size(text: &str) -> std::result::Result<usize, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1 << 10),
        Some((at, 'M' | 'm')) => (&text[..at], 1 << 20),
        Some((at, 'G' | 'g')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| (1 << 12..=1 << 28).contains(n))
        .ok_or_else(|| "a number from 4K to 256M".into())
}

/// One device's figures.
struct Column {
    name: String,
    software: bool,
    roofline: Roofline,
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
    let options = GpuOptions { timed: true, ..GpuOptions::default() };
    let device = args.device.open_with(common, options)?;
    let mut columns = vec![measure_on(&Backend::Cpu, &operations, args.size)?];
    if let Backend::Gpu(gpu) = &device {
        let mut column = measure_on(&device, &operations, args.size)?;
        column.software = gpu.is_software();
        columns.push(column);
    }
    if common.json {
        output::json(&as_json(args, &columns))
    } else {
        output::print(&as_text(args, &operations, &columns))
    }
}

fn measure_on(backend: &Backend, operations: &[&Operation], size: usize) -> Result<Column> {
    let roofline = measure::roofline(backend, size * 4)?;
    let rows = operations
        .iter()
        .map(|operation| measure::operation(backend, operation, size, &roofline))
        .collect::<Result<_>>()?;
    Ok(Column { name: backend.name().to_owned(), software: false, roofline, rows })
}

fn clock(clock: Clock) -> &'static str {
    match clock {
        Clock::Device => "device timestamps",
        Clock::Wall => "wall clock",
    }
}

fn as_text(args: &Arguments, operations: &[&Operation], columns: &[Column]) -> String {
    let mut text = format!("{} weights an operation, median of at least 5 runs\n", args.size);
    for column in columns {
        let roofline = &column.roofline;
        text.push_str(&format!(
            "{}: copy {:.1} GB/s, multiply-add {:.1} GFLOP/s ({}){}\n",
            column.name,
            roofline.copy_gb_s,
            roofline.gflop_s,
            clock(roofline.clock),
            if column.software { "; a software adapter: no GPU figure" } else { "" },
        ));
    }
    let arithmetic = columns.iter().flat_map(|c| &c.rows).any(|row| row.gflop_s.is_some());
    let mut header = vec!["operation".to_owned(), "what".to_owned()];
    for column in columns {
        let name = column.name.split(" (").next().unwrap_or_default();
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
    text.push_str(&format!("\n{table}\nEvery result was checked against the reference.\n"));
    text
}

fn as_json(args: &Arguments, columns: &[Column]) -> Value {
    let devices: Vec<Value> = columns
        .iter()
        .map(|column| {
            let rows: Vec<Value> = column
                .rows
                .iter()
                .map(|row| {
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
                })
                .collect();
            json!({
                "device": column.name,
                "software": column.software,
                "copy_gb_per_s": column.roofline.copy_gb_s,
                "gflop_per_s": column.roofline.gflop_s,
                "clock": clock(column.roofline.clock),
                "operations": rows,
            })
        })
        .collect();
    json!({ "schema_version": 1, "weights": args.size, "devices": devices })
}

//! `tensorpress evaluate`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Common;
use super::network::{DataArguments, NetworkArguments};
use super::output::{self, figure, percent};
use crate::error::Result;
use crate::nn::{self, Agreement, Evaluation};

/// Measure how well a network classifies labelled data
///
/// The network is run straight from its compressed weights. DATA is a directory with the IDX files
/// of MNIST or Fashion-MNIST, or an .npz or .safetensors file with x and y, or x_train, y_train,
/// x_test and y_test. Bytes (u8) are scaled to 0 … 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tensorpress evaluate model.safetensors --data fashion-mnist
  tensorpress evaluate small.safetensors --data fashion-mnist --against model.safetensors
  tensorpress evaluate model.safetensors --data test.npz --confusion --json

What 8-bit activations cost; OTHER is always run with f32 ones:
  tensorpress evaluate int8.safetensors --data test.npz --int8-activations --against int8.safetensors")]
pub(super) struct Arguments {
    #[command(flatten)]
    network: NetworkArguments,
    #[command(flatten)]
    data: DataArguments,
    /// Print how often each class is taken for each other
    #[arg(long)]
    confusion: bool,
    /// Compare with another network: agreement, and the difference in accuracy
    #[arg(long, value_name = "OTHER")]
    against: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    evaluation: Evaluation,
    model: String,
    data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

#[derive(Serialize)]
struct Against {
    model: String,
    #[serde(flatten)]
    agreement: Agreement,
    evaluation: Evaluation,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let network = &arguments.network;
    let backend = network.open_device(common)?;
    let loaded = network.load(&backend, common)?;
    let data = arguments.data.open()?;
    let in_data = |error: crate::Error| error.in_file(&arguments.data.path);
    let batch = network.batch_size();
    let evaluation = nn::evaluate(&loaded, &data, batch).map_err(in_data)?;
    let against = match &arguments.against {
        None => None,
        Some(path) => {
            let other = network.load_exact(path, &backend, common)?;
            let other = nn::evaluate(&other, &data, batch).map_err(in_data)?;
            let agreement = nn::agreement(&evaluation, &other, &data.labels);
            Some(Against { model: path.display().to_string(), agreement, evaluation: other })
        }
    };
    let model = network.model.display().to_string();
    let data = arguments.data.path.display().to_string();
    let report = Report { evaluation, model, data, against };
    if common.json { output::json(&report) } else { output::print(&text(arguments, &report)) }
}

fn text(arguments: &Arguments, report: &Report) -> String {
    let evaluation = &report.evaluation;
    let rows = evaluation.classes.iter().map(|class| {
        vec![
            class.class.to_string(),
            class.rows.to_string(),
            figure(class.precision, percent),
            figure(class.recall, percent),
        ]
    });
    let mut text = output::table(&["class", "rows", "precision", "recall"], 1, rows.collect());
    if arguments.confusion {
        let mut header = vec!["label \\ predicted".to_owned()];
        header.extend((0..evaluation.confusion.len()).map(|class| class.to_string()));
        let rows = evaluation.confusion.iter().enumerate().map(|(class, counts)| {
            let counts = counts.iter().map(ToString::to_string);
            std::iter::once(class.to_string()).chain(counts).collect()
        });
        text += &format!("\n{}", output::table(&header, 1, rows.collect()));
    }
    text += &format!(
        "\naccuracy {:.4} ({} of {}), cross-entropy {:.4}\n",
        evaluation.accuracy, evaluation.correct, evaluation.rows, evaluation.cross_entropy
    );
    text += &format!(
        "{:.0} rows/s on {}; a batch of {} takes {:.3} ms (p50), {:.3} ms (p99)\n",
        evaluation.rows_per_second,
        evaluation.device,
        evaluation.batch_size,
        evaluation.latency_p50 * 1e3,
        evaluation.latency_p99 * 1e3
    );
    if let Some(against) = &report.against {
        let [low, high] = against.agreement.confidence_95;
        text += &format!(
            "against {}: accuracy {:.4}, the same answer for {}, difference {:+.4} (95 %: {low:+.4} to {high:+.4})\n",
            against.model,
            against.evaluation.accuracy,
            percent(against.agreement.agreement),
            against.agreement.accuracy_difference,
        );
    }
    text
}

//! `tensorpress distill`

use std::path::PathBuf;

use clap::Args;

use super::new_network::NewNetworkArguments;
use super::training::TrainingArguments;
use super::{Common, network};
use crate::error::Result;
use crate::nn::train::TrainingOptions;
use crate::pipeline::{Distill, Source};

/// Train a small network to answer as a large one does
///
/// The student learns from the teacher's probabilities, softened by the temperature, and from the
/// labels. That helps where labelled data is scarce; with plenty of it a student does as well
/// without a teacher, so compare with --baseline.
#[derive(Debug, Args)]
#[command(after_help = "\
The loss is (1 - alpha) × cross-entropy + alpha × T² × KL(teacher || student), both softened by the
temperature T (Hinton, Vinyals and Dean 2015).

Example:
  tensorpress distill --teacher large.safetensors --data fashion-mnist --limit 3000 --hidden 100 \\
      --baseline -o student.safetensors")]
pub(super) struct Arguments {
    /// The network to learn from: a .safetensors file or a model directory, dense or compressed
    #[arg(long, value_name = "MODEL")]
    teacher: PathBuf,
    #[command(flatten)]
    student: NewNetworkArguments,
    /// How much the probabilities of both are softened
    #[arg(long, value_name = "T", default_value_t = Distill::TEMPERATURE)]
    temperature: f32,
    /// Weight of the teacher against the labels, from 0 to 1
    #[arg(long, value_name = "A", default_value_t = Distill::ALPHA)]
    alpha: f32,
    /// Train the same student from the same weights on the labels alone, and compare
    #[arg(long)]
    baseline: bool,
    #[command(flatten)]
    training: TrainingArguments,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let Arguments { teacher, student, training, .. } = arguments;
    let Arguments { temperature, alpha, baseline, .. } = *arguments;
    let distill = Distill {
        teacher: Source::Model(teacher.clone()),
        network: student.network()?,
        options: training.options(TrainingOptions::default().epochs)?,
        temperature,
        alpha,
        baseline,
    };
    distill.check()?;
    training.check_output(Some(teacher))?;
    let job = distill.job(network::open(teacher, None, common)?, training.data()?)?;
    training.run(job, common)
}

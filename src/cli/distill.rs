//! `tensorpress distill`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::new_network::NewNetworkArguments;
use super::training::{TrainingArguments, Written, test};
use super::{Common, output};
use crate::error::{Result, TrainProblem, UsageError};
use crate::io::{DataSet, Model};
use crate::nn::train::{Distillation, Training};
use crate::nn::{self, Loaded, Network, Outputs};
use crate::ops::Backend;

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
    #[arg(long, value_name = "T", default_value_t = 2.0)]
    temperature: f32,
    /// Weight of the teacher against the labels, from 0 to 1
    #[arg(long, value_name = "A", default_value_t = 0.9)]
    alpha: f32,
    /// Train the same student from the same weights on the labels alone, and compare
    #[arg(long)]
    baseline: bool,
    #[command(flatten)]
    training: TrainingArguments,
}

/// Epochs where nothing else is asked for.
const EPOCHS: u64 = 10;

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let shared = &arguments.training;
    let options = shared.options(EPOCHS)?;
    arguments.check()?;
    shared.check_output(Some(&arguments.teacher))?;
    let teacher = Model::open(&arguments.teacher)?;
    let (of_teacher, origin) = Network::read(&teacher, None)?;
    output::note(common, &format!("teacher {}: {origin}", arguments.teacher.display()));
    let mut data = shared.training_data()?;
    data.truncate(options.limit.unwrap_or(usize::MAX));
    let (network, parameters) = arguments.student.network(&data, shared.seed)?;
    if of_teacher.outputs() != network.outputs() {
        let (teacher, student) = (of_teacher.outputs(), network.outputs());
        return Err(TrainProblem::Teacher { teacher, student }.into());
    }
    let backend = shared.open_device(common)?;
    let in_data = |error: crate::Error| error.in_file(&shared.data);
    let logits = answers(&backend, &teacher, &of_teacher, &data).map_err(in_data)?;
    let start = Instant::now();
    let again = arguments.baseline.then(|| data.clone());
    let new =
        |data| Training::new(&backend, network.clone(), parameters.clone(), data, options.clone());
    let mut training = new(data).map_err(in_data)?;
    let Arguments { temperature, alpha, .. } = *arguments;
    training.teacher(Distillation { logits, temperature, alpha })?;
    let ended = shared.fit(&mut training, common)?;
    let seconds = start.elapsed().as_secs_f64();
    let written = Written::new(&network, None);
    written.write(&training, &shared.output, shared.force)?;
    let mut report = shared.finish(&training, ended, &backend, seconds)?;
    report.teacher = test(&teacher, &of_teacher, &shared.data, &backend)?;
    if let Some(data) = again {
        let mut alone = new(data)?;
        alone.run(None, &mut |_| ControlFlow::Continue(()))?;
        report.baseline = written.test(&alone, &shared.data, &backend)?;
    }
    report.print(common)
}

impl Arguments {
    fn check(&self) -> Result<()> {
        let refuse = |what, value: f32, expected| {
            Err(UsageError::OutOfRange { what, value: value.to_string(), expected }.into())
        };
        if !(0.01..=1000.0).contains(&self.temperature) {
            return refuse("--temperature", self.temperature, "from 0.01 to 1000");
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return refuse("--alpha", self.alpha, "from 0 to 1");
        }
        Ok(())
    }
}

/// The teacher's logits for every row.
fn answers(
    backend: &Backend,
    model: &Model,
    network: &Network,
    data: &DataSet,
) -> Result<Vec<f32>> {
    nn::check_inputs(&data.inputs, network.inputs())?;
    let loaded = Loaded::new(backend, model, network.clone())?;
    let inputs = data.inputs.scaled();
    let batches = inputs.chunks(nn::BATCH * network.inputs());
    let logits = batches.map(|x| loaded.forward(x, Outputs::Logits));
    Ok(logits.collect::<Result<Vec<_>>>()?.concat())
}

//! The loop: interrupted and resumed, stopped early, pruning, rounding, and what it refuses.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;

use tensorpress::compress::{Format, Recipe};
use tensorpress::error::{Error, TrainProblem};
use tensorpress::gpu::{DeviceChoice, GpuOptions};
use tensorpress::io::{Array, ArrayData, DataSet, Model, Split};
use tensorpress::nn::train::{
    Checkpoints, Distillation, Ended, Loss, Progress, PruneOptions, Training, TrainingOptions,
};
use tensorpress::nn::{Init, Network, Parameters};
use tensorpress::ops::{Backend, Optimizer};
use tensorpress::scheme::{
    Activation, Bits, Granularity, NmPattern, OnIndivisible, QuantScheme, Quantization,
};

use super::both;
use super::files::own;

static DIGITS: LazyLock<DataSet> = LazyLock::new(|| {
    DataSet::open(&own("examples/digits.npz"), Split::Train).expect("in the repository")
});

fn network() -> Network {
    let network = Network::new().dense("fc1", 64, 20, Activation::Relu).expect("a layer");
    network.dense("fc2", 20, 10, Activation::Identity).expect("a chain").softmax()
}

fn training(backend: &Backend, options: &TrainingOptions) -> Training {
    let parameters = network().initial(Init::GlorotUniform, 5);
    from(backend, parameters, options)
}

fn from(backend: &Backend, parameters: Parameters, options: &TrainingOptions) -> Training {
    Training::new(backend, network(), parameters, DIGITS.clone(), options.clone()).expect("fits")
}

/// Trains to the end.
fn trained(mut training: Training) -> Parameters {
    let ended = training.run(None, &mut |_| ControlFlow::Continue(())).expect("trains");
    assert_eq!(ended, Ended::Finished);
    training.parameters().expect("read")
}

fn refused(options: &TrainingOptions) -> Error {
    let parameters = network().initial(Init::GlorotUniform, 5);
    Training::new(&Backend::Cpu, network(), parameters, DIGITS.clone(), options.clone())
        .map(drop)
        .expect_err("refused")
}

/// All that a checkpoint must keep.
fn eventful() -> TrainingOptions {
    TrainingOptions {
        epochs: 4,
        batch_size: 24,
        dropout: 0.1,
        l2: 1e-4,
        validation_split: 0.2,
        patience: Some(50),
        optimizer: Optimizer::ADAM_W,
        decay: "cosine".parse().expect("known"),
        pruning: Some(PruneOptions {
            schedule: "polynomial:0:0.8:10:150:10".parse().expect("known"),
            global: true,
            layers: [("fc2".to_owned(), 0.5)].into(),
            others: true,
            exclude: vec![],
        }),
        ..TrainingOptions::default()
    }
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint");
    for backend in both() {
        let mut whole = training(&backend, &eventful());
        whole.run(None, &mut |_| ControlFlow::Continue(())).expect("trains");
        // Within the first epoch, at its end, in the middle of a later one.
        for stop in [3, 44, 100] {
            let checkpoints = Checkpoints { path: path.clone(), every: 1000 };
            let mut first = training(&backend, &eventful());
            let ended = first.run(Some(&checkpoints), &mut |now| match now {
                Progress::Steps { steps: (done, _), .. } if done >= stop => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
            assert_eq!(ended.expect("saved"), Ended::Interrupted);
            let mut second = training(&backend, &eventful());
            second.resume(&path).expect("a checkpoint");
            second.run(None, &mut |_| ControlFlow::Continue(())).expect("trains");
            let name = backend.name();
            assert!(
                second.parameters().expect("read") == whole.parameters().expect("read"),
                "{name}, stopped at {stop}"
            );
            let figures = |training: &Training| -> Vec<_> {
                let epochs = training.history().epochs.iter();
                epochs.map(|e| (e.epoch, e.step, e.loss, e.accuracy, e.validation_loss)).collect()
            };
            assert_eq!(figures(&second), figures(&whole), "{name}, stopped at {stop}");
        }
    }
}

/// On a GPU a step takes at most one submit, and nothing is read back within an epoch but the
/// metrics of its rows, 8 bytes each.
#[test]
fn an_epoch_reads_back_metrics_alone() {
    // Not the shared one: what other tests do on it would count.
    let backend = Backend::open(&DeviceChoice::Gpu, GpuOptions::default()).expect("an adapter");
    let Backend::Gpu(gpu) = &backend else { panic!("a GPU was asked for") };
    let mut training = training(&backend, &eventful());
    let counts = || (gpu.submits(), gpu.read_bytes());
    let (mut began, mut told) = ((0, counts().0), counts());
    let mut seen = 0;
    training
        .run(None, &mut |now| {
            match now {
                Progress::Steps { rows, steps: (step, _), .. } => {
                    let (submits, bytes) = counts();
                    let read = bytes - told.1;
                    assert!(read == 0 || read == 8 * rows as u64, "{read} bytes after {rows} rows");
                    let (steps, submits) = (step - began.0, submits - began.1);
                    assert!(submits <= steps, "{submits} submits for {steps} steps");
                    seen += 1;
                }
                Progress::Epoch(record) => began = (record.step, counts().0),
            }
            told = counts();
            ControlFlow::Continue(())
        })
        .expect("trains");
    assert!(seen >= 4 && gpu.read_bytes() > 0, "told {seen} times");
}

#[test]
fn a_checkpoint_of_another_training_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint");
    let options = TrainingOptions { epochs: 1, ..TrainingOptions::default() };
    training(&Backend::Cpu, &options).save(&path).expect("saved");
    let changed = |options: TrainingOptions, words: &str| {
        let error = training(&Backend::Cpu, &options).resume(&path).expect_err(words);
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    changed(
        TrainingOptions { learning_rate: 0.01, ..options.clone() },
        "the learning rate was 0.001 when the checkpoint was written and is 0.01",
    );
    changed(TrainingOptions { seed: 4, ..options.clone() }, "the seed was 0");
    changed(TrainingOptions { limit: Some(640), ..options.clone() }, "the row limit was none");
    let mut other = DIGITS.clone();
    other.labels[7] = (other.labels[7] + 1) % 10;
    let parameters = network().initial(Init::GlorotUniform, 5);
    let mut other = Training::new(&Backend::Cpu, network(), parameters, other, options.clone());
    let error = other.as_mut().expect("fits").resume(&path).expect_err("other labels");
    assert!(error.to_string().contains("checksum"), "{error}");

    let model = own("examples/fashion-100-10.safetensors");
    let error = training(&Backend::Cpu, &options).resume(&model).expect_err("a model");
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("is no checkpoint to resume from"), "{error}");
    // A checkpoint that was cut off, or of which a part is missing, is no checkpoint.
    let bytes = std::fs::read(&path).expect("there");
    std::fs::write(&path, &bytes[..bytes.len() - 8]).expect("written");
    let error = training(&Backend::Cpu, &options).resume(&path).expect_err("cut off");
    assert_eq!(error.exit_code(), 65, "{error}");
}

#[test]
fn early_stopping_goes_back_to_the_best_epoch() {
    // Small steps first, then far too large ones: the validation loss gets worse.
    let options = TrainingOptions {
        epochs: 40,
        validation_split: 0.2,
        patience: Some(2),
        learning_rate: 0.02,
        optimizer: Optimizer::Sgd { momentum: 0.95, nesterov: true, weight_decay: 0.0 },
        ..TrainingOptions::default()
    };
    let mut training = training(&Backend::Cpu, &options);
    let ended = training.run(None, &mut |_| ControlFlow::Continue(())).expect("trains");
    let Ended::Early { best } = ended else { panic!("{ended:?}") };
    let epochs = &training.history().epochs;
    assert_eq!(epochs.len() as u64, best + 2);
    let losses: Vec<f64> = epochs.iter().filter_map(|e| e.validation_loss).collect();
    let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[best as usize - 1], least);
    // The parameters are those of that epoch: training so far and no further gives the same.
    let shorter = TrainingOptions { epochs: best, patience: None, ..options };
    let shorter = trained(self::training(&Backend::Cpu, &shorter));
    assert!(training.parameters().expect("read") == shorter);
}

fn zeros(values: &[f32]) -> usize {
    values.iter().filter(|value| **value == 0.0).count()
}

#[test]
fn schedules_end_at_the_sparsity_that_they_say() {
    for backend in both() {
        let parameters = trained(training(&backend, &eventful()));
        // Half of the last layer's 200 weights, and 0.8 of the first one's 1280.
        assert_eq!(zeros(&parameters.layers[1].weight), 100);
        assert_eq!(zeros(&parameters.layers[0].weight), 1024);
    }
    let excluded = PruneOptions {
        global: false,
        layers: [].into(),
        exclude: vec!["fc1".to_owned()],
        ..eventful().pruning.expect("given")
    };
    let parameters = trained(training(
        &Backend::Cpu,
        &TrainingOptions { pruning: Some(excluded), ..eventful() },
    ));
    let found: Vec<usize> = parameters.layers.iter().map(|layer| zeros(&layer.weight)).collect();
    assert_eq!(found, [0, 160]);
    let unknown =
        PruneOptions { exclude: vec!["fc9".to_owned()], ..eventful().pruning.expect("given") };
    let error = refused(&TrainingOptions { pruning: Some(unknown), ..eventful() });
    assert!(matches!(error, Error::Train(TrainProblem::NoLayer { .. })), "{error}");
    assert!(error.to_string().contains("\"fc9\"; the network has fc1, fc2"), "{error}");
}

#[test]
fn zeros_and_patterns_are_held() {
    let mut pruned = network().initial(Init::HeUniform, 1);
    for weight in pruned.layers[0].weight.iter_mut().step_by(3) {
        *weight = 0.0;
    }
    let options = TrainingOptions { epochs: 2, hold_zeros: true, ..TrainingOptions::default() };
    for backend in both() {
        let found = trained(from(&backend, pruned.clone(), &options));
        let same = found.layers[0].weight.iter().zip(&pruned.layers[0].weight);
        assert!(same.clone().all(|(now, before)| (*now == 0.0) == (*before == 0.0)));
        assert!(same.filter(|(now, before)| now != before).count() > 600);
        // Biases, which begin at zero, are no pruned weights.
        assert!(found.layers[1].bias.as_ref().expect("a bias").iter().all(|b| *b != 0.0));
        let nm = Some(NmPattern { keep: 2, of: 4 });
        let found =
            trained(training(&backend, &TrainingOptions { nm, epochs: 1, ..options.clone() }));
        for layer in &found.layers {
            assert!(layer.weight.chunks(4).all(|block| zeros(block) == 2));
        }
    }
}

/// A network that was trained with rounded weights loses nothing when it is compressed: the last
/// forward pass and the written model have the same weights.
#[test]
fn rounded_weights_are_those_that_are_written() {
    let scheme = QuantScheme::new(Bits::Two, Granularity::Channel);
    let quantize = Some(Quantization { scheme, on_indivisible: OnIndivisible::Error });
    let options = TrainingOptions { epochs: 12, quantize, ..TrainingOptions::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let [plain, learnt] = ["plain", "learnt"].map(|name| folder.path().join(name));
    let accuracy = |parameters: &Parameters, path: &Path| {
        let dense = folder.path().join("dense");
        parameters.write(&network(), &dense, true).expect("written");
        let recipe = Recipe::new().quantize(scheme).format(Format::CompressedTensors).force(true);
        let model = Model::open(&dense).expect("a model");
        recipe.compress(&model, path, &Backend::Cpu).expect("compressed");
        let model = Model::open(path).expect("a model");
        let (network, _) = Network::read(&model, None).expect("a network");
        let loaded = tensorpress::nn::Loaded::new(&Backend::Cpu, &model, network).expect("loads");
        let test = DataSet::open(&own("examples/digits.npz"), Split::Test).expect("there");
        tensorpress::nn::evaluate(&loaded, &test, 256).expect("runs").accuracy
    };
    let dense =
        trained(training(&Backend::Cpu, &TrainingOptions { epochs: 12, ..Default::default() }));
    let rounded_after = accuracy(&dense, &plain);
    for backend in both() {
        let found = trained(training(&backend, &options));
        let rounded_while = accuracy(&found, &learnt);
        assert!(
            rounded_while > rounded_after + 0.03,
            "{rounded_while} after training for it, {rounded_after} without"
        );
    }
}

#[test]
fn a_loss_that_is_not_finite_ends_training_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("checkpoint");
    let options = TrainingOptions {
        learning_rate: 1e30,
        optimizer: Optimizer::SGD,
        loss: Loss::Mse,
        epochs: 2,
        ..TrainingOptions::default()
    };
    // Without a softmax, squares grow beyond what a float holds.
    let linear = Network::new().dense("fc1", 64, 10, Activation::Identity).expect("a layer");
    for backend in both() {
        let parameters = linear.initial(Init::GlorotUniform, 5);
        let mut training =
            Training::new(&backend, linear.clone(), parameters, DIGITS.clone(), options.clone())
                .expect("fits");
        training.save(&path).expect("saved");
        let before = std::fs::read(&path).expect("there");
        let checkpoints = Checkpoints { path: path.clone(), every: 1 };
        let error = training.run(Some(&checkpoints), &mut |_| ControlFlow::Continue(()));
        let error = error.expect_err("diverges");
        assert_eq!(error.exit_code(), 1);
        let text = error.to_string();
        assert!(text.contains("not finite at step 2, in epoch 1"), "{text}");
        assert!(text.contains("the last checkpoint, which stands"), "{text}");
        assert_eq!(std::fs::read(&path).expect("there"), before);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let new = TrainingOptions::default;
    assert_eq!(refused(&TrainingOptions { batch_size: 1298, ..new() }).exit_code(), 2);
    assert_eq!(refused(&TrainingOptions { epochs: 0, ..new() }).exit_code(), 2);
    let data = |inputs: Array, labels: Vec<u32>| {
        let parameters = network().initial(Init::GlorotUniform, 5);
        let data = DataSet { inputs, labels };
        let options = TrainingOptions { batch_size: 1, ..new() };
        Training::new(&Backend::Cpu, network(), parameters, data, options).map(drop)
    };
    let floats = |cols: usize, value: f32| Array {
        shape: vec![2, cols],
        data: ArrayData::F32(vec![value; 2 * cols]),
    };
    data(floats(64, 0.5), vec![0, 9]).expect("fits");
    for (inputs, labels, words) in [
        (floats(64, 0.5), vec![0, 10], "label 1 is 10; expected a whole number from 0 to 9"),
        (floats(63, 0.5), vec![0, 1], "64 inputs"),
        (floats(64, f32::NAN), vec![0, 1], "finite"),
    ] {
        let error = data(inputs, labels).expect_err(words);
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains(words), "{error}");
    }
    let mut student = training(&Backend::Cpu, &new());
    let teacher = Distillation { logits: vec![0.0; 1297 * 9], temperature: 2.0, alpha: 0.9 };
    let error = student.teacher(teacher).expect_err("nine classes");
    assert_eq!(error.exit_code(), 65);
    assert!(error.to_string().contains("9 outputs and the student 10"), "{error}");
}

/// With all the weight on the teacher, and labels that are wrong, a student learns the right ones.
#[test]
fn a_student_learns_from_its_teacher() {
    let options = TrainingOptions { epochs: 8, ..TrainingOptions::default() };
    for backend in both() {
        let logits = DIGITS
            .labels
            .iter()
            .flat_map(|label| (0..10).map(move |class| if class == *label { 8.0 } else { 0.0 }));
        let (logits, temperature, alpha) = (logits.collect(), 4.0, 1.0);
        let wrong = DIGITS.labels.iter().map(|label| (label + 3) % 10).collect();
        let data = DataSet { labels: wrong, ..DIGITS.clone() };
        let parameters = network().initial(Init::GlorotUniform, 5);
        let mut student =
            Training::new(&backend, network(), parameters, data, options.clone()).expect("fits");
        student.teacher(Distillation { logits, temperature, alpha }).expect("fits");
        student.run(None, &mut |_| ControlFlow::Continue(())).expect("trains");
        // Judged by the wrong labels, hardly anything is right.
        let last = student.history().epochs.last().expect("eight");
        assert!(last.accuracy.expect("classes") < 0.05, "{last:?}");
    }
}

mod random;
mod refused;

use super::*;
use crate::compress::Format;
use crate::io::Split;
use crate::nn::train::{Loss, TrainingOptions};
use crate::nn::{Decay, Init};
use crate::ops::Optimizer;
use crate::scheme::Activation;

fn parse(text: &str) -> Result<Pipeline> {
    Pipeline::parse(text, "in/recipe.toml".as_ref(), &Overrides::default())
}

fn parsed(text: &str) -> Pipeline {
    parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The message about `text`, which must be refused.
fn refused(text: &str) -> String {
    let error = parse(text).expect_err(text);
    let message = error.to_string();
    assert_eq!(error.exit_code(), 65, "{message}");
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn the_example_is_followed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipe.toml");
    let pipeline = Pipeline::open(&path, &Overrides::default()).unwrap_or_else(|e| panic!("{e}"));
    pipeline.check_files().expect("its data lies beside it");
    assert_eq!(pipeline.warnings, [""; 0]);
    let plan = pipeline.plan();
    let names: Vec<&str> = plan.iter().map(|step| &*step.name).collect();
    assert_eq!(names, ["dense", "slim", "sparse", "int4", "distill", "evaluate"]);
    let from: Vec<Option<&str>> = plan.iter().map(|step| step.from.as_deref()).collect();
    let expected = [None, Some("dense"), Some("slim"), Some("sparse"), None, Some("int4")];
    assert_eq!(from, expected);
    let text = pipeline.to_string();
    for part in [
        " 1. dense     train: hidden 300, 100 (relu), glorot-uniform, 30 epochs in batches of 32, \
         adam, learning rate 0.001 cosine → ",
        "slim dense: neurons kept 0.5",
        "polynomial:0:0.8:0:820:41:3 global",
        "finetune sparse: 10 epochs",
        "rounded to int4 channel",
        "distill: from dense, temperature 2, alpha 0.9: hidden 16",
        "evaluate int4: ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = serde_json::to_value(&plan).expect("JSON");
    assert_eq!((&json[3]["kind"], &json[5]["output"]), (&"finetune".into(), &().into()));
}

#[test]
fn what_is_left_out_has_a_default() {
    let pipeline =
        parsed("data = 'd'\n[[step]]\ndo = 'train'\nhidden = []\n[[step]]\ndo = 'evaluate'");
    assert_eq!(pipeline.output, Path::new("in/recipe"));
    let [train, evaluate] = &pipeline.steps[..] else { panic!("two steps") };
    assert_eq!(train.output.as_deref(), Some(Path::new("in/recipe/train.safetensors")));
    assert_eq!((&train.data, &evaluate.data), (&Some("in/d".into()), &Some("in/d".into())));
    let Action::Train(train) = &train.action else { panic!("training") };
    let beginning = Beginning::New(NewNetwork {
        hidden: vec![],
        activation: Activation::Relu,
        initializer: Init::GlorotUniform,
    });
    assert_eq!(*train, Train { beginning, options: TrainingOptions::default() });
    let Action::Evaluate(evaluate) = &evaluate.action else { panic!("measuring") };
    assert_eq!(*evaluate, Evaluate { split: Split::Test, batch_size: 256 });
    let tuned = parsed("data = 'd'\n[[step]]\ndo = 'load'\nmodel = 'm'\n[[step]]\ndo = 'finetune'");
    let Action::FineTune(tuning) = &tuned.steps[1].action else { panic!("fine-tuning") };
    let options =
        TrainingOptions { epochs: FineTune::EPOCHS, hold_zeros: true, ..Default::default() };
    assert_eq!(*tuning, FineTune { options, format: None });
}

#[test]
fn every_key_has_its_meaning() {
    let text = "
data = 'all'
output = '/elsewhere'
seed = 7
[[step]]
do = 'train'
name = 'first'
hidden = [30, 20]
activation = 'leaky-relu:0.2'
initializer = 'he-uniform'
data = '../own'
seed = 8
loss = 'mse'
optimizer = 'adamw'
weight-decay = 0.5
learning-rate = 1
decay = 'step:2:0.5'
batch-size = 5
epochs = 6
steps = 70
limit = 80
dropout = 0.25
l2 = 1e-4
validation-split = 0.1
patience = 3
shuffle = false
[[step]]
do = 'distil'
teacher = 'first'
hidden = [9]
temperature = 4
alpha = 1
baseline = true
optimizer = 'sgd'
momentum = 0.9
nesterov = true
[[step]]
do = 'distill'
teacher = 'models/big'
hidden = [9]
[[step]]
do = 'finetune'
from = 'first'
schedule = 'constant:0.5'
scope = 'global'
sparsity = { fc1 = 0.4 }
exclude = ['fc2']
quantize = 'int2'
group-size = 8
asymmetric = true
on-indivisible = 'channel'
format = 'dense'
[[step]]
do = 'quantize'
to = 'int8'
granularity = 'tensor'
narrow-range = true
match = 'compressed-tensors'
format = 'dense'
on-indivisible = 'skip'
[[step]]
do = 'prune'
nm = '2:4'
format = 'sparse-bitmask'
include = ['fc']
[[step]]
do = 'evaluate'
split = 'train'
batch-size = 3
[[step]]
do = 'load'
model = '/m'
activations = ['tanh', 'sigmoid']
data = 'test'
[[step]]
do = 'train'
init = 'first'
[[step]]
do = 'train'
init = 'models/big'
[[step]]
do = 'finetune'
nm = '2:4'
[[step]]
do = 'finetune'
sparsity = { fc1 = 0.92, fc2 = 0.5 }
";
    let pipeline = parsed(text);
    assert_eq!(pipeline.output, Path::new("/elsewhere"));
    let actions: Vec<&Action> = pipeline.steps.iter().map(|step| &step.action).collect();
    let Action::Train(train) = actions[0] else { panic!("training") };
    let options = TrainingOptions {
        loss: Loss::Mse,
        optimizer: Optimizer::adam_w(0.5),
        learning_rate: 1.0,
        decay: Decay::Step { every: 2, factor: 0.5 },
        batch_size: 5,
        epochs: 6,
        steps: Some(70),
        limit: Some(80),
        dropout: 0.25,
        l2: 1e-4,
        seed: 8,
        validation_split: 0.1,
        patience: Some(3),
        shuffle: false,
        ..TrainingOptions::default()
    };
    let beginning = Beginning::New(NewNetwork {
        hidden: vec![30, 20],
        activation: Activation::LeakyRelu(0.2),
        initializer: Init::HeUniform,
    });
    assert_eq!(*train, Train { beginning, options });
    assert_eq!(pipeline.steps[0].data.as_deref(), Some(Path::new("in/../own")));
    let Action::Distill(distill) = actions[1] else { panic!("distilling") };
    assert_eq!(distill.teacher, Source::Step(0));
    assert_eq!((distill.temperature, distill.alpha, distill.baseline), (4.0, 1.0, true));
    assert_eq!(
        distill.options.optimizer,
        Optimizer::Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0 }
    );
    assert_eq!((distill.options.seed, distill.options.learning_rate), (7, 0.01));
    assert_eq!(pipeline.steps[1].data.as_deref(), Some(Path::new("in/all")));
    let Action::Distill(distill) = actions[2] else { panic!("distilling") };
    assert_eq!(distill.teacher, Source::Model("in/models/big".into()));
    let Action::FineTune(FineTune { options, format }) = actions[3] else { panic!("tuning") };
    assert_eq!(*format, Some(Format::Dense));
    let pruning = options.pruning.as_ref().expect("a schedule");
    assert_eq!(pruning.to_string(), "constant:0.5 global, fc1 0.4, without fc2");
    let quantization = options.quantize.expect("a scheme").to_string();
    assert_eq!(quantization, "int2 asymmetric group 8, channel where groups do not fit");
    assert_eq!(pipeline.steps[3].from, Some(0));
    let Action::Compress(recipe) = actions[4] else { panic!("quantizing") };
    assert_eq!(recipe.to_string(), "int8 narrow tensor as compressed-tensors, dense");
    // Codes that are stored dense are weights like others.
    let Action::Compress(recipe) = actions[5] else { panic!("pruning") };
    assert_eq!(recipe.to_string(), "2:4, sparse-bitmask, only \"fc\"");
    assert_eq!(recipe.output_format(), Format::SparseBitmask);
    let Action::Evaluate(evaluate) = actions[6] else { panic!("measuring") };
    assert_eq!((evaluate.split, evaluate.batch_size), (Split::Train, 3));
    let Action::Load { model, activations } = actions[7] else { panic!("loading") };
    assert_eq!((&**model, activations.as_ref().map(Vec::len)), (Path::new("/m"), Some(2)));
    assert_eq!(pipeline.steps[7].data.as_deref(), Some(Path::new("in/test")));
    for (number, source) in [(8, Source::Step(0)), (9, Source::Model("in/models/big".into()))] {
        let Action::Train(train) = actions[number] else { panic!("training") };
        assert_eq!(train.beginning, Beginning::Given(source));
    }
    let Action::FineTune(tuning) = actions[10] else { panic!("tuning") };
    assert_eq!(tuning.options.nm.expect("a pattern").to_string(), "2:4");
    let Action::FineTune(tuning) = actions[11] else { panic!("tuning") };
    let pruning = tuning.options.pruning.as_ref().expect("layers");
    assert_eq!(pruning.to_string(), "constant:0.92 for some layers, fc1 0.92, fc2 0.5");
    assert!(pipeline.steps[7].output.is_none() && pipeline.steps[6].output.is_none());
    let error = pipeline.check_files().expect_err("nothing is there");
    assert!(error.exit_code() == 66 && error.to_string().contains("own"), "{error}");
}

#[test]
fn steps_need_what_steps_before_them_give() {
    let load = "[[step]]\ndo = 'load'\nmodel = 'm'\n";
    let int8 = "[[step]]\ndo = 'quantize'\nto = 'int8'\n";
    let slim = "[[step]]\ndo = 'slim'\nkeep-neurons = 0.5\n";
    let mask = "[[step]]\ndo = 'prune'\nthreshold = 0\nformat = 'sparse-bitmask'\n";
    let tune = "[[step]]\ndo = 'finetune'\ndata = 'd'\n";
    let rounded = "[[step]]\ndo = 'finetune'\ndata = 'd'\nquantize = 'int8'\n";
    let rounded_dense =
        "[[step]]\ndo = 'finetune'\ndata = 'd'\nquantize = 'int8'\nformat = 'dense'\n";
    let evaluate = "[[step]]\ndo = 'evaluate'\ndata = 'd'\n";
    let distill = "[[step]]\ndo = 'distill'\ndata = 'd'\nhidden = [3]\n";
    for (steps, parts) in [
        (vec![slim, load], &["line 1, column 1", "this slim step needs a network"][..]),
        (vec![evaluate], &["this evaluate step needs a network"]),
        (vec![distill], &["this distill step needs a network"]),
        (
            vec![load, "[[step]]\ndo = 'evaluate'"],
            &["line 4", "evaluate step needs data", "at the top"],
        ),
        (vec![load, "[[step]]\ndo = 'finetune'"], &["finetune step needs data"]),
        (vec!["[[step]]\ndo = 'train'\nhidden = []"], &["train step needs data"]),
        (vec![load, int8, slim], &["line 7", "\"quantize\" stores codes", "before that one"]),
        (vec![load, int8, evaluate, slim], &["\"quantize\" stores codes"]),
        (vec![load, int8, tune], &["stores codes", "quantize = \"int4\""]),
        (vec![load, mask, int8], &["\"prune\" stores bit masks"]),
        (vec![load, rounded, slim], &["\"finetune\" stores codes"]),
    ] {
        let message = refused(&steps.concat());
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
    let from_load = format!("{slim}from = 'load'\n");
    let own_teacher = format!("{distill}teacher = 'big'\n");
    for steps in [
        vec![load, slim, tune, int8, evaluate],
        vec![load, int8, &from_load],
        vec![load, int8, rounded],
        vec![load, rounded_dense, slim],
        vec![load, mask, tune],
        vec![load, int8, distill, slim],
        vec![&own_teacher, slim],
        vec![load, slim, slim, slim],
    ] {
        parsed(&steps.concat());
    }
    let pipeline =
        parsed(&[load, slim, evaluate, &from_load.replace("load", "evaluate"), slim].concat());
    let from: Vec<_> = pipeline.steps.iter().map(|step| step.from).collect();
    assert_eq!(from, [None, Some(0), Some(1), Some(1), Some(3)], "measuring changes nothing");
    let taught = parsed(&[load, evaluate, distill, "teacher = 'evaluate'"].concat());
    let Action::Distill(distill) = &taught.steps[2].action else { panic!("distilling") };
    assert_eq!(distill.teacher, Source::Step(0));
}

#[test]
fn a_schedule_that_stops_short_is_warned_of() {
    let text =
        "[[step]]\ndo = 'load'\nmodel = 'm'\n[[step]]\ndo = 'finetune'\ndata = 'd'\nschedule = ";
    assert!(parsed(&format!("{text}'polynomial:0:0.9:0:400'")).warnings.is_empty());
    let warnings = parsed(&format!("{text}'polynomial:0:0.9:0:450'")).warnings;
    assert_eq!(warnings.len(), 1);
    for part in ["\"finetune\"", "step 400", "0.8988", "not to 0.9"] {
        assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
    }
}

/// The documentation names every key of every step.
#[test]
fn every_key_is_documented() {
    let documentation: String =
        include_str!("../mod.rs").lines().filter(|line| line.starts_with("//!")).collect();
    for needs in [
        "train'\nhidden = []",
        "train'\ninit = 'm'",
        "distill'\nhidden = []",
        "finetune'",
        "slim'\nkeep-neurons = 1",
        "prune'\nsparsity = 0",
        "quantize'\nto = 'int8'",
        "evaluate'",
    ] {
        let text = format!(
            "data = 'd'\n[[step]]\ndo = 'load'\nmodel = 'm'\n[[step]]\ndo = '{needs}\nx = 1"
        );
        let message = refused(&text);
        let (_, keys) = message.split_once("it takes ").expect("a list");
        assert!(keys.contains(", "), "{keys}");
        for key in keys.split(", ") {
            assert!(documentation.contains(&format!("`{key}`")), "{key}");
        }
    }
}

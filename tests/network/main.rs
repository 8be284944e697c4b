//! Networks read from model files: described, inferred, and what is said about those that are none.

#[path = "../common/files.rs"]
mod files;

mod built;
mod carried;
mod described;
mod inferred;
mod not_slimmed;
mod slimmed;

use std::path::Path;

use files::{Tensor, floats, write};
use tensorpress::Error;
use tensorpress::io::Model;
use tensorpress::nn::{Network, Origin};

/// Zeros of this shape.
fn zeros(name: &str, shape: &[usize]) -> Tensor {
    floats(name, shape, &vec![0.0; shape.iter().product()])
}

/// Weights and biases in PyTorch's layout: name, inputs, outputs.
fn layers(all: &[(&str, usize, usize)]) -> Vec<Tensor> {
    let both = |&(name, inputs, outputs): &(&str, usize, usize)| {
        let bias = zeros(&format!("{name}.bias"), &[outputs]);
        [bias, zeros(&format!("{name}.weight"), &[outputs, inputs])]
    };
    all.iter().flat_map(both).collect()
}

fn open(path: &Path) -> Model {
    Model::open(path).unwrap_or_else(|e| panic!("{e}"))
}

fn network_of(path: &Path) -> Result<(Network, Origin), Error> {
    Network::read(&open(path), None)
}

/// The network of a file with these tensors and, perhaps, this description.
fn made(description: Option<&str>, tensors: &[Tensor]) -> Result<(Network, Origin), Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.safetensors");
    let metadata: Vec<(&str, &str)> = description.map(|d| (Network::KEY, d)).into_iter().collect();
    write(&path, &metadata, tensors);
    network_of(&path)
}

/// Fails with exit code 65 and a message of one line that has all of `expected`, and returns it.
fn assert_bad(result: Result<(Network, Origin), Error>, expected: &[&str]) {
    let error = result.expect_err(&expected.join(" … "));
    let message = error.to_string();
    assert_eq!(error.exit_code(), 65, "{message}");
    assert!(!message.contains('\n') && message.contains("m.safetensors"), "{message}");
    for part in expected {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// Two layers that chain.
fn two_layers() -> Vec<Tensor> {
    layers(&[("fc1", 6, 5), ("fc2", 5, 4)])
}

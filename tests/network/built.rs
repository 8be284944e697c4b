//! Networks from code, and activations that replace others.

use tensorpress::Error;
use tensorpress::error::{NetworkProblem, UsageError};
use tensorpress::nn::Network;
use tensorpress::scheme::Activation;

use crate::files::write;
use crate::{open, two_layers};

#[test]
fn code_builds_networks_that_chain() {
    let new = || Network::new().dense("fc1", 6, 5, Activation::Relu).expect("one layer");
    let network = new();
    assert_eq!(network.layers[0].bias.as_deref(), Some("fc1.bias"));
    assert_eq!((network.inputs(), network.outputs(), network.softmax), (6, 5, false));
    let cases = [
        (
            new().dense("fc2", 4, 3, Activation::Relu),
            "\"fc1\" gives 5 outputs and the next, \"fc2\", wants 4",
        ),
        (new().dense("fc1", 5, 3, Activation::Relu), "two layers are called \"fc1\""),
        (new().dense("fc2", 5, 0, Activation::Relu), "\"fc2\" has 5 inputs and 0 outputs"),
        (Network::new().dense("fc1", 0, 3, Activation::Relu), "0 inputs and 3 outputs"),
    ];
    for (result, expected) in cases {
        let message = result.expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
    let error = Network::new().check().expect_err("no layers");
    assert_eq!(error.to_string(), NetworkProblem::NoLayers.to_string());
}

#[test]
fn activations_replace_what_was_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let [plain, described] = ["plain", "described"].map(|name| folder.path().join(name));
    let built = Network::new()
        .dense("fc1", 6, 5, Activation::Gelu)
        .and_then(|network| network.dense("fc2", 5, 4, Activation::LeakyRelu(0.25)))
        .expect("it chains")
        .softmax();
    write(&plain, &[], &two_layers());
    write(&described, &[(Network::KEY, &built.to_json())], &two_layers());
    for path in [plain, described] {
        let model = open(&path);
        let (before, _) = Network::read(&model, None).expect("a network");
        let (network, origin) = Network::read(&model, Some(&[Activation::Tanh])).expect("hidden");
        assert_eq!(network.layers[0].activation, Activation::Tanh);
        assert_eq!(network.layers[1].activation, before.layers[1].activation);
        assert!(network.softmax);
        assert!(origin.to_string().contains("that were given:\n"), "{origin}");

        let all = [Activation::Silu, Activation::Sigmoid];
        let (network, _) = Network::read(&model, Some(&all)).expect("all");
        assert_eq!(network.to_string(), "fc1: 6 → 5, silu\nfc2: 5 → 4, sigmoid");

        for wrong in [&[][..], &[Activation::Relu; 3]] {
            let error = Network::read(&model, Some(wrong)).expect_err("a wrong number");
            assert!(matches!(error, Error::Usage(UsageError::ActivationCount { layers: 2, .. })));
            let message = error.to_string();
            assert!(message.contains(&format!("{} activations", wrong.len())), "{message}");
            assert!(message.contains("give 1") && message.contains("or 2"), "{message}");
        }
    }
}

//! burn.

use burn::tensor::activation::relu;
use burn::tensor::{Device, DeviceKind, Tensor, TensorData};

use crate::Side;
use crate::problem::Problem;

/// The adapter that tensorpress takes with `--device gpu`: an emulated one only where there is no
/// other.
pub fn device(software: bool) -> Device {
    Device::wgpu(if software { DeviceKind::Cpu } else { DeviceKind::DefaultDevice })
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

/// `[inputs, outputs]`, as burn's own layers hold their weights.
fn transposed(weight: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = weight.len() / inputs;
    (0..inputs).flat_map(|i| (0..outputs).map(move |o| weight[o * inputs + i])).collect()
}

/// X · Wᵀ with both on the device already, from weights in burn's own layout and from a transposed
/// view of `[outputs, inputs]`.
pub fn products(device: &Device, problem: &Problem) -> [(&'static str, Side<'static>); 2] {
    let (inputs, outputs) = (problem.widths[0], problem.widths[1]);
    let x = tensor(&problem.x, [problem.batch, inputs], device);
    let weight = &problem.weights[0];
    let own = tensor(&transposed(weight, inputs), [inputs, outputs], device);
    let view = tensor(weight, [outputs, inputs], device).transpose();
    [("own layout", own), ("transposed view", view)].map(|(name, weight)| {
        let (x, device) = (x.clone(), device.clone());
        let side: Side<'static> = Box::new(move |passes, wanted| {
            let last = (0..passes).map(|_| x.clone().matmul(weight.clone())).last();
            let y = last.filter(|_| wanted).map(|y| y.into_data().try_into_vec().expect("f32"));
            device.sync().expect("runs");
            y.unwrap_or_default()
        });
        (name, side)
    })
}

/// The network from rows in memory to logits in memory.
pub fn network<'a>(device: &'a Device, problem: &'a Problem) -> Side<'a> {
    let layers: Vec<(Tensor<2>, Tensor<1>)> = problem
        .weights
        .iter()
        .zip(&problem.biases)
        .enumerate()
        .map(|(layer, (weight, bias))| {
            let (inputs, outputs) = (problem.widths[layer], problem.widths[layer + 1]);
            let weight = tensor(&transposed(weight, inputs), [inputs, outputs], device);
            (weight, tensor(bias, [outputs], device))
        })
        .collect();
    Box::new(move |passes, _| {
        let pass = |_| -> Vec<f32> {
            let mut y = tensor(&problem.x, [problem.batch, problem.widths[0]], device);
            for (number, (weight, bias)) in layers.iter().enumerate() {
                y = burn::tensor::module::linear(y, weight.clone(), Some(bias.clone()));
                if number + 1 < layers.len() {
                    y = relu(y);
                }
            }
            y.into_data().try_into_vec().expect("f32")
        };
        (0..passes).map(pass).last().unwrap_or_default()
    })
}

//! Layers against values worked out by hand.

use super::{both, f32_bytes};
use tensorpress::ops::dense::{dense, dense_with};
use tensorpress::ops::linear::Variant;
use tensorpress::scheme::Activation;
use tensorpress::tensor::{FloatType, Matrix};

fn weights(rows: usize, cols: usize, data: &[u8]) -> Matrix<'_> {
    Matrix::new(FloatType::F32, rows, cols, data).expect("a matrix")
}

#[test]
fn a_layer_by_hand() {
    let data = f32_bytes(&[1.0, 2.0, 3.0, -1.0, 0.0, 0.5]);
    let w = weights(2, 3, &data);
    let x = [1.0, 1.0, 1.0, 2.0, 0.0, -2.0];
    for backend in both() {
        for variant in Variant::ALL {
            let run = |bias: Option<&[f32]>, activation| {
                dense_with(&backend, &x, w, bias, activation, Some(variant)).expect("runs")
            };
            assert_eq!(run(None, Activation::Identity), [6.0, -0.5, -4.0, -3.0]);
            assert_eq!(run(Some(&[1.0, 10.0]), Activation::Relu), [7.0, 9.5, 0.0, 7.0]);
            assert_eq!(run(None, Activation::LeakyRelu(0.5)), [6.0, -0.25, -2.0, -1.5]);
        }
    }
}

/// Weights in a buffer that is not the layer's, row by row, as training keeps them.
#[test]
fn a_layer_of_a_buffer() {
    use tensorpress::gpu::GpuOptions;
    use tensorpress::ops::Backend;
    use tensorpress::ops::dense::{bound, record_f32};
    use tensorpress::ops::linear::{pad, stride};

    let (batch, inputs, outputs) = (70, 37, 9);
    let value = |i: usize| (i * 7919 % 1009) as f32 / 500.0 - 1.0;
    let floats = |count: usize, from: usize| (from..from + count).map(value).collect::<Vec<_>>();
    let (x, w, b) = (floats(batch * inputs, 0), floats(outputs * inputs, 5), floats(outputs, 9));
    let Backend::Gpu(gpu) = super::gpu(GpuOptions::default()) else { panic!("no GPU") };
    for (software, batch) in [(true, batch), (false, batch), (false, 3), (true, 1)] {
        let mut recorder = gpu.recorder();
        let mut upload = |data: &[f32]| recorder.upload(bytemuck::cast_slice(data)).expect("up");
        let buffers = [
            upload(&pad(&w, outputs, inputs)),
            upload(&b),
            upload(&pad(&x[..batch * inputs], batch, inputs)),
            upload(&vec![f32::NAN; batch * stride(outputs)]),
        ];
        record_f32(&mut recorder, buffers.each_ref(), (batch, inputs, outputs), software)
            .expect("records");
        recorder.download(&buffers[3], batch * stride(outputs) * 4).expect("records");
        let y = super::f32_values(&recorder.run().expect("runs").downloads[0]);
        for (row, y) in y.chunks(stride(outputs)).enumerate() {
            let x = &x[row * inputs..][..inputs];
            for (output, y) in y.iter().enumerate() {
                if output >= outputs {
                    assert_eq!(*y, 0.0, "padding");
                    continue;
                }
                let terms = x.iter().zip(&w[output * inputs..]);
                let terms = terms.map(|(x, w)| f64::from(*x) * f64::from(*w));
                let terms: Vec<f64> = terms.chain([f64::from(b[output])]).collect();
                let error = f64::from(*y) - terms.iter().sum::<f64>();
                let magnitudes = terms.iter().map(|term| term.abs()).sum();
                assert!(error.abs() <= bound(inputs + 1, magnitudes), "{batch} {row} {output}");
            }
        }
    }
}

/// Far from zero nothing overflows: NaN would spread through a network.
#[test]
fn activations_far_from_zero() {
    let data = f32_bytes(&[1.0]);
    let w = weights(1, 1, &data);
    let x = [-1e4, -200.0, 200.0, 1e4];
    for backend in both() {
        let run = |activation| dense(&backend, &x, w, None, activation).expect("runs");
        let y = run(Activation::Sigmoid);
        assert!(y[..2].iter().all(|y| (0.0..1e-30).contains(y)) && y[2..] == [1.0, 1.0], "{y:?}");
        assert_eq!(run(Activation::Tanh), [-1.0, -1.0, 1.0, 1.0]);
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            let y = run(activation);
            assert_eq!(y[2..], x[2..], "{activation}");
            assert!(y[..2].iter().all(|y| y.abs() < 1e-30), "{activation}: {y:?}");
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let data = f32_bytes(&[1.0; 6]);
    let w = weights(2, 3, &data);
    for backend in both() {
        let run = |x: &[f32], bias: Option<&[f32]>| {
            dense(&backend, x, w, bias, Activation::Identity).map_err(|e| e.exit_code())
        };
        assert_eq!(run(&[1.0; 4], None), Err(65), "no whole rows");
        assert_eq!(run(&[1.0; 3], Some(&[1.0; 3])), Err(65), "another bias");
        assert_eq!(run(&[], None), Ok(vec![]), "no rows");
    }
}

use super::both;
use tensorpress::cpu::loss::Targets as Plain;
use tensorpress::ops::loss::{RowMetrics, cross_entropy, distillation, squared_error};
use tensorpress::ops::{Backend, Batch, Indices, Loss, Metrics, Stream, Values};

fn close(found: &[f32], expected: &[f32], backend: &Backend) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-6, "{found:?} for {expected:?} on {}", backend.name());
    }
}

#[test]
fn cross_entropy_by_hand() {
    let (ln2, ln3) = (2_f32.ln(), 3_f32.ln());
    // Softmax 1/6, 1/3, 1/2 and 1/4, 1/4, 1/2.
    let logits = [0.0, ln2, ln3, 7.0, 7.0, 7.0 + ln2];
    for backend in both() {
        let found = cross_entropy(&backend, &logits, 3, &[2, 0]).expect("runs");
        let losses: Vec<f32> = found.metrics.iter().map(|row| row.loss).collect();
        close(&losses, &[ln2, 2.0 * ln2], &backend);
        assert_eq!(found.metrics.iter().map(|row| row.correct).collect::<Vec<_>>(), [true, false]);
        // (p - e_y) / 2
        let gradient = [1.0 / 12.0, 1.0 / 6.0, -0.25, -0.375, 0.125, 0.25];
        close(&found.gradient, &gradient, &backend);
    }
}

#[test]
fn squared_error_by_hand() {
    let ln2 = 2_f32.ln();
    for backend in both() {
        // Softmax 2/3, 1/3 against 0, 1: errors 2/3 and -2/3.
        let labels = Plain::Labels(&[1]);
        let found = squared_error(&backend, &[ln2, 0.0], 2, labels, true).expect("runs");
        close(&[found.metrics[0].loss], &[4.0 / 9.0], &backend);
        assert!(!found.metrics[0].correct);
        // p_i (g_i - Σ g p) with g = 2/3, -2/3 and Σ g p = 2/9.
        close(&found.gradient, &[8.0 / 27.0, -8.0 / 27.0], &backend);
        let found = squared_error(&backend, &[3.0, -1.0], 2, Plain::Labels(&[0]), false);
        let found = found.expect("runs");
        assert_eq!(found.metrics, [RowMetrics { loss: 2.5, correct: true }]);
        assert_eq!(found.gradient, [2.0, -1.0]);
        let targets = Plain::Dense(&[1.0, 1.0, 0.0, 2.0]);
        let found = squared_error(&backend, &[3.0, -1.0, 0.0, 0.0], 2, targets, false);
        let found = found.expect("runs");
        assert_eq!(found.metrics.iter().map(|row| row.loss).collect::<Vec<_>>(), [4.0, 2.0]);
        assert_eq!(found.gradient, [1.0, -1.0, 0.0, -1.0]);
    }
}

#[test]
fn distillation_by_hand() {
    let (ln2, ln4) = (2_f32.ln(), 4_f32.ln());
    for backend in both() {
        // At T = 2 the student has 2/3, 1/3 and the teacher 1/2, 1/2; at T = 1 4/5, 1/5.
        let run = |alpha| {
            distillation(&backend, &[ln4, 0.0], 2, &[0], &[1.0, 1.0], 2.0, alpha).expect("runs")
        };
        let divergence = 0.5 * (0.75_f32.ln() + 1.5_f32.ln());
        let found = run(1.0);
        close(&[found.metrics[0].loss], &[4.0 * divergence], &backend);
        close(&found.gradient, &[1.0 / 3.0, -1.0 / 3.0], &backend);
        let found = run(0.0);
        close(&[found.metrics[0].loss], &[1.25_f32.ln()], &backend);
        close(&found.gradient, &[-0.2, 0.2], &backend);
        let found = run(0.5);
        close(&[found.metrics[0].loss], &[2.0 * divergence + 0.5 * 1.25_f32.ln()], &backend);
        close(&found.gradient, &[1.0 / 15.0, -1.0 / 15.0], &backend);
        // A teacher that says the same teaches nothing.
        let same = distillation(&backend, &[ln2, 0.0], 2, &[0], &[ln2 + 5.0, 5.0], 4.0, 1.0);
        let same = same.expect("runs");
        close(&[same.metrics[0].loss], &[0.0], &backend);
        close(&same.gradient, &[0.0, 0.0], &backend);
    }
}

/// Labels and teacher have the rows of the data set, logits and gradient those of the batch, and
/// metrics those of the epoch.
#[test]
fn a_batch_within_an_epoch() {
    for backend in both() {
        let values = |data: &[f32], shape| Values::new(&backend, data, shape).expect("uploads");
        let order = Indices::new(&backend, &[1, 3, 0, 2]).expect("uploads");
        let labels = Indices::new(&backend, &[0, 1, 0, 1]).expect("uploads");
        let teacher = values(&[0.0, 9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0], (4, 2));
        let logits = values(&[5.0, 0.0, 0.0, 5.0], (2, 2));
        let mut gradient = Values::empty(&backend).expect("allocates");
        let mut metrics = Metrics::new(&backend, 4).expect("allocates");
        let batch = Batch { order: &order, first: 2, rows: 2 };
        let mut stream = Stream::new(&backend);
        let loss =
            Loss::Distillation { labels: &labels, teacher: &teacher, temperature: 1.0, alpha: 1.0 };
        stream.loss(loss, &logits, batch, &mut gradient, &mut metrics).expect("runs");
        stream.finish().expect("runs");
        // Rows 0 and 2 of the data set: labels 0 and 0, teachers [0, 9] and [9, 0].
        let metrics = metrics.read(4).expect("reads");
        assert_eq!(metrics[..2], [RowMetrics { loss: 0.0, correct: false }; 2]);
        assert!(metrics[2].correct && !metrics[3].correct);
        assert!(metrics[2].loss > 4.9 && (metrics[2].loss - metrics[3].loss).abs() < 1e-5);
        assert!(gradient.read().expect("reads").iter().all(|g| g.abs() > 0.1));
    }
}

#[test]
fn ties_go_to_the_first_and_huge_logits_do_not_overflow() {
    for backend in both() {
        let logits = [1.0, 1.0, 0.0, -0.0, 1e30, -1e30];
        let found = cross_entropy(&backend, &logits, 2, &[1, 0, 0]).expect("runs");
        assert_eq!(
            found.metrics.iter().map(|m| m.correct).collect::<Vec<_>>(),
            [false, true, true]
        );
        assert_eq!(found.metrics[2].loss, 0.0);
        assert!(found.gradient.iter().all(|g| g.is_finite()));
    }
}

/// Training stops at such a row, so it must not be lost on any device.
#[test]
fn a_logit_that_is_not_finite_becomes_nan() {
    for backend in both() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = [0.0, 1.0, 0.0, bad, 1.0, 0.0];
            let all = [
                cross_entropy(&backend, &logits, 2, &[0, 0, 0]),
                squared_error(&backend, &logits, 2, Plain::Labels(&[0, 0, 0]), true),
                squared_error(&backend, &logits, 2, Plain::Labels(&[0, 0, 0]), false),
                distillation(&backend, &logits, 2, &[0, 0, 0], &[0.0; 6], 2.0, 0.5),
                distillation(&backend, &[0.0; 6], 2, &[0, 0, 0], &logits, 2.0, 0.5),
            ];
            for found in all {
                let found = found.expect("runs");
                assert!(found.metrics[1].loss.is_nan() && !found.metrics[1].correct);
                assert!(found.gradient[2..4].iter().all(|g| g.is_nan()));
                assert!(found.metrics[0].loss.is_finite() && found.metrics[2].loss.is_finite());
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for backend in both() {
        let refused = |labels: &[u32]| {
            let error = cross_entropy(&backend, &[0.0; 6], 3, labels).expect_err("refused");
            (error.exit_code(), error.to_string())
        };
        let (code, message) = refused(&[0, 3]);
        assert!(code == 65 && message.contains("label 1 is 3"), "{message}");
        assert_eq!(refused(&[0]).0, 2, "a row without label");
        let distill = |temperature, alpha| {
            distillation(&backend, &[0.0; 2], 2, &[0], &[0.0; 2], temperature, alpha)
                .map_err(|e| e.exit_code())
        };
        assert_eq!(distill(0.0, 0.5).err(), Some(2));
        assert_eq!(distill(f32::NAN, 0.5).err(), Some(2));
        assert_eq!(distill(1.0, 1.5).err(), Some(2));
        let teacher = distillation(&backend, &[0.0; 4], 2, &[0, 0], &[0.0; 3], 1.0, 1.0);
        assert_eq!(teacher.expect_err("half a teacher").exit_code(), 65);
    }
}

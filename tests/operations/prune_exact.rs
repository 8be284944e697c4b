use super::both;
use tensorpress::ops::prune_exact::prune_exact;
use tensorpress::ops::prune_nm;
use tensorpress::ops::{Stream, Values};
use tensorpress::scheme::NmPattern;
use tensorpress::tensor::FloatType;

#[test]
fn exactly_so_many_are_pruned_and_ties_keep_the_first() {
    for backend in both() {
        let mut weights = [3.0, -1.0, 1.0, 0.5, -1.0, 1.0, 2.0, -0.25, 1.0];
        prune_exact(&backend, &mut [(&mut weights, 3)], 5.0 / 9.0).expect("runs");
        assert_eq!(weights, [3.0, -1.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0], "{}", backend.name());
    }
}

#[test]
fn one_cut_for_several_tensors() {
    for backend in both() {
        let (mut first, mut second) = ([1.0, 5.0], [2.0, 4.0, 1.0]);
        let tensors = &mut [(&mut first[..], 2), (&mut second[..], 1)];
        prune_exact(&backend, tensors, 0.4).expect("runs");
        assert_eq!((first, second), ([0.0, 5.0], [2.0, 4.0, 0.0]));
        // One of two equal ones: the first tensor comes first.
        let (mut first, mut second) = ([1.0], [1.0]);
        prune_exact(&backend, &mut [(&mut first[..], 1), (&mut second[..], 1)], 0.5).expect("runs");
        assert_eq!((first, second), ([1.0], [0.0]));
    }
}

/// As a schedule does: what was pruned stays so, and each step is exact.
#[test]
fn a_growing_sparsity_adds_to_what_is_pruned() {
    for backend in both() {
        let mut weights: Vec<f32> =
            (0..37 * 13).map(|i| ((i * 7919 % 1009) as f32 - 504.5) / 100.0).collect();
        let mut before = 0;
        for sparsity in [0.1, 0.5, 0.75, 0.75, 0.9] {
            let old = weights.clone();
            prune_exact(&backend, &mut [(&mut weights, 13)], sparsity).expect("runs");
            let zeros = weights.iter().filter(|w| **w == 0.0).count();
            assert_eq!(zeros, (481.0 * sparsity).round_ties_even() as usize);
            assert!(zeros >= before && old.iter().zip(&weights).all(|(a, b)| *b == 0.0 || a == b));
            before = zeros;
        }
    }
}

#[test]
fn a_pattern_is_that_of_compression() {
    let weights: Vec<f32> = (0..9 * 30).map(|i| ((i * 7919 % 101) as f32 - 50.0) / 8.0).collect();
    for backend in both() {
        for (keep, of) in [(2, 4), (1, 3), (4, 8), (5, 7), (16, 32)] {
            let pattern = NmPattern { keep, of };
            let mut expected: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
            prune_nm::apply(&backend, FloatType::F32, &mut expected, 30, pattern).expect("runs");
            let mut values = Values::new(&backend, &weights, (9, 30)).expect("uploads");
            let mut stream = Stream::new(&backend);
            stream.prune_nm(&mut values, pattern).expect("runs");
            stream.finish().expect("runs");
            let found = values.read().expect("reads");
            assert_eq!(bytemuck::cast_slice::<f32, u8>(&found), expected, "{keep}:{of}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for backend in both() {
        for sparsity in [-0.1, 1.1, f64::NAN] {
            let error = prune_exact(&backend, &mut [(&mut [1.0], 1)], sparsity);
            assert_eq!(error.expect_err("refused").exit_code(), 2);
        }
        let mut values = Values::new(&backend, &[1.0], (1, 1)).expect("uploads");
        let pattern = NmPattern { keep: 3, of: 2 };
        let error = Stream::new(&backend).prune_nm(&mut values, pattern).expect_err("refused");
        assert_eq!(error.exit_code(), 2);
        prune_exact(&backend, &mut [(&mut [], 3)], 0.5).expect("nothing to do");
    }
}

use super::both;
use tensorpress::ops::gather::{bytes, floats};
use tensorpress::ops::{Batch, Features, Indices, Stream, Values};

#[test]
fn rows_in_any_order_and_more_than_once() {
    let order = [2, 0, 2];
    for backend in both() {
        let rows = floats(&backend, &[1.0, 2.0, 3.0, 4.0, 5.0, -0.0], 2, &order).expect("runs");
        assert_eq!(rows, [5.0, -0.0, 1.0, 2.0, 5.0, -0.0]);
        let rows = bytes(&backend, &[0, 51, 255, 1, 128, 254], 2, &order).expect("runs");
        assert_eq!(rows[..4], [128.0 / 255.0, 254.0 / 255.0, 0.0, 0.2]);
    }
}

/// A device may round the division of a byte either way; the network must not see which did.
#[test]
fn every_byte_is_divided_exactly() {
    let all: Vec<u8> = (0..=255).collect();
    for backend in both() {
        let shares = bytes(&backend, &all, 256, &[0]).expect("runs");
        for (byte, share) in shares.iter().enumerate() {
            assert_eq!(*share, byte as f32 / 255.0, "{byte} on {}", backend.name());
        }
    }
}

#[test]
fn a_batch_is_a_part_of_the_order() {
    for backend in both() {
        let order = Indices::new(&backend, &[3, 2, 1, 0]).expect("uploads");
        let features = Features::floats(&backend, &[0.0, 1.0, 2.0, 3.0], (4, 1)).expect("uploads");
        let mut x = Values::empty(&backend).expect("allocates");
        let mut stream = Stream::new(&backend);
        let batch = Batch { order: &order, first: 1, rows: 2 };
        stream.gather(&features, batch, &mut x).expect("runs");
        stream.finish().expect("runs");
        assert_eq!(x.read().expect("reads"), [2.0, 1.0]);
    }
}

#[test]
fn rows_that_are_not_there_are_refused() {
    for backend in both() {
        let error = floats(&backend, &[1.0, 2.0], 1, &[0, 2]).expect_err("no row 2");
        assert!(error.to_string().contains("a row of a batch is 2"), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(bytes(&backend, &[1, 2, 3], 2, &[0]).expect_err("half a row").exit_code(), 65);
        let order = Indices::new(&backend, &[0, 0]).expect("uploads");
        let features = Features::bytes(&backend, vec![1], (1, 1)).expect("uploads");
        let mut x = Values::empty(&backend).expect("allocates");
        for (first, rows) in [(1, 2), (3, 0), (usize::MAX, 2)] {
            let batch = Batch { order: &order, first, rows };
            let error = Stream::new(&backend).gather(&features, batch, &mut x);
            assert_eq!(error.expect_err("beyond the order").exit_code(), 2);
        }
    }
}

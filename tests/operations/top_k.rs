use tensorpress::ops::top_k::{argmax, top_k};

use super::both;

#[test]
fn worked_by_hand() {
    let low = f32::NEG_INFINITY;
    let values = [1.0, 3.0, -2.0, 3.0, low, 0.5, low, -1.0, low, f32::INFINITY];
    for backend in both() {
        let (columns, largest) = top_k(&backend, &values, 5, 3).expect("runs");
        assert_eq!(columns, [1, 3, 0, 4, 0, 2], "{}", backend.name());
        assert_eq!(largest, [3.0, 3.0, 1.0, f32::INFINITY, 0.5, -1.0]);
        assert_eq!(argmax(&backend, &values, 5).expect("runs"), [1, 4]);
    }
}

#[test]
fn zeros_of_both_signs_are_equal_and_keep_their_sign() {
    let values = [-1.0, -0.0, 0.0, -0.0];
    for backend in both() {
        let (columns, largest) = top_k(&backend, &values, 4, 4).expect("runs");
        assert_eq!(columns, [1, 2, 3, 0], "{}", backend.name());
        let bits: Vec<_> = largest.iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x8000_0000, 0, 0x8000_0000, (-1.0_f32).to_bits()]);
    }
}

/// Subnormals differ, even where a device would flush them.
#[test]
fn subnormals_are_ordered() {
    let values: Vec<f32> = (0..40_u32).map(|i| f32::from_bits(i * 17 % 41)).collect();
    let mut order: Vec<u32> = (0..40).collect();
    order.sort_by_key(|i| std::cmp::Reverse(values[*i as usize].to_bits()));
    for backend in both() {
        assert_eq!(top_k(&backend, &values, 40, 40).expect("runs").0, order);
    }
}

#[test]
fn a_sort_gives_the_same() {
    let (rows, cols, k) = (9, 777, 64);
    let values: Vec<f32> =
        (0..rows * cols).map(|i| ((i * 7919 + 13) % 211) as f32 - 100.0).collect();
    let expected: Vec<u32> = values
        .chunks_exact(cols)
        .flat_map(|row| {
            let mut columns: Vec<u32> = (0..cols as u32).collect();
            columns.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b)));
            columns.truncate(k);
            columns
        })
        .collect();
    for backend in both() {
        let (columns, largest) = top_k(&backend, &values, cols, k).expect("runs");
        assert_eq!(columns, expected, "{}", backend.name());
        for (i, (column, value)) in columns.iter().zip(&largest).enumerate() {
            assert_eq!(*value, values[i / k * cols + *column as usize]);
        }
    }
}

#[test]
fn a_k_out_of_range_is_refused() {
    for backend in both() {
        for (cols, k) in [(5, 0), (5, 6), (100, 65), (0, 1)] {
            let error = top_k(&backend, &vec![0.0; cols], cols, k).expect_err("refused");
            assert_eq!(error.exit_code(), 2, "{error}");
        }
        assert_eq!(top_k(&backend, &[], 5, 2).expect("nothing to do"), (vec![], vec![]));
    }
}

#[test]
fn broken_values_are_refused_with_their_place() {
    for backend in both() {
        for nan in [f32::NAN, -f32::NAN] {
            let error = argmax(&backend, &[1.0, 2.0, 3.0, nan], 2).expect_err("refused");
            assert_eq!(error.exit_code(), 65);
            assert!(error.to_string().contains("row 1, column 1"), "{error}");
        }
        assert_eq!(argmax(&backend, &[1.0; 7], 2).expect_err("half a row").exit_code(), 65);
    }
}

/// 256 rows a workgroup, and more workgroups than a dimension of a dispatch holds.
#[test]
fn more_than_65535_workgroups() {
    let values: Vec<f32> = (0..65_600 * 256).map(|i| i as f32).collect();
    let [_, gpu] = both();
    let (columns, largest) = top_k(&gpu, &values, 1, 1).expect("runs");
    assert!(columns.iter().all(|column| *column == 0));
    assert!(largest == values);
}

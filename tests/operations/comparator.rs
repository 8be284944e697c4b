//! How results are compared, and proof that the comparison can fail.

use tensorpress::ops::Output;

/// The first difference, in words; `None` where there is none.
pub fn difference(got: &Output, expected: &Output) -> Option<String> {
    if got.parts.len() != expected.parts.len() {
        return Some("another number of parts".into());
    }
    for ((name, got), (expected_name, expected)) in got.parts.iter().zip(&expected.parts) {
        if name != expected_name {
            return Some(format!("part {name} instead of {expected_name}"));
        }
        if got.len() != expected.len() {
            return Some(format!("{name}: {} bytes, expected {}", got.len(), expected.len()));
        }
        if let Some(at) = (0..got.len()).find(|i| got[*i] != expected[*i]) {
            let word = at & !3;
            let end = (word + 4).min(got.len());
            return Some(format!(
                "{name}: byte {at} differs: {:02x?}, expected {:02x?}",
                &got[word..end],
                &expected[word..end]
            ));
        }
    }
    None
}

/// Different words: swapping rows that are all alike would be no damage.
fn distinct(bytes: &[u8]) -> usize {
    bytes.chunks(4).collect::<std::collections::HashSet<_>>().len()
}

/// Flips a bit, drops the last element, swaps two rows, returns zeros: each must be seen, in the
/// real results of every operation.
#[test]
fn damage_is_seen() {
    let mut damaged = 0;
    for operation in tensorpress::ops::TABLE {
        let results = super::reference(operation);
        let (_, good) = results
            .iter()
            .max_by_key(|(_, output)| distinct(&output.parts[0].1))
            .expect("every operation has cases");
        assert_eq!(difference(good, good), None);
        let bytes = good.parts[0].1.len();
        assert!(bytes >= 64, "{}: too small to damage", operation.stem);
        let half = bytes / 2;
        let kinds: [fn(&mut Vec<u8>, usize); 4] = [
            |data, half| data[half] ^= 1,
            |data, _| data.truncate(data.len() - 1),
            |data, half| data.rotate_left(half),
            |data, _| data.fill(0),
        ];
        for damage in kinds {
            let mut bad = good.clone();
            damage(&mut bad.parts[0].1, half);
            assert!(difference(&bad, good).is_some(), "{}: damage went unseen", operation.stem);
            damaged += 1;
        }
    }
    assert_eq!(damaged, tensorpress::ops::TABLE.len() * 4);
}

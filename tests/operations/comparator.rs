//! Proof that the comparison of results can fail.

use super::f32_values;
use tensorpress::ops::{Bound, Expected, Operation, TABLE};

/// Spoils the bytes of one part.
type Damage = fn(&mut Vec<u8>, usize);

/// Different words: swapping rows that are all alike would be no damage.
fn distinct(bytes: &[u8]) -> usize {
    bytes.chunks(4).collect::<std::collections::HashSet<_>>().len()
}

/// The part to damage: the first, or the first that is compared with a bound.
fn part_of(expected: &Expected) -> usize {
    let Some(reference) = expected.references.first() else { return 0 };
    let part = expected.output.parts.iter().position(|(name, _)| *name == reference.part);
    part.expect("a reference names a part")
}

/// The case whose result has the most to damage, and its part.
fn victim(operation: &'static Operation) -> (&'static Expected, usize) {
    let (_, expected) = super::expected(operation)
        .iter()
        .max_by_key(|(_, expected)| distinct(&expected.output.parts[part_of(expected)].1))
        .expect("every operation has cases");
    (expected, part_of(expected))
}

/// Flips a bit, drops the last element, swaps two rows, returns zeros: each must be seen, in the
/// real results of every operation.
#[test]
fn damage_is_seen() {
    let exact: [Damage; 4] = [
        |data, half| data[half] ^= 1,
        |data, _| data.truncate(data.len() - 1),
        |data, half| data.rotate_left(half),
        |data, _| data.fill(0),
    ];
    let float: [Damage; 4] = [
        |data, _| {
            // A low bit may be within the bound, and so may any bit of a value near zero.
            let values = f32_values(data);
            let magnitude = |i: &usize| if values[*i].is_finite() { values[*i].abs() } else { 0.0 };
            let largest = (0..values.len())
                .max_by(|a, b| magnitude(a).total_cmp(&magnitude(b)))
                .expect("there are elements");
            data[largest * 4 + 2] ^= 0x40;
        },
        |data, _| data.truncate(data.len() - 4),
        |data, half| data.rotate_left(half),
        |data, _| data.fill(0),
    ];
    let mut damaged = 0;
    for operation in TABLE {
        let (expected, part) = victim(operation);
        let good = &expected.output;
        assert_eq!(expected.difference(good), None);
        let bytes = good.parts[part].1.len();
        assert!(bytes >= 64, "{}: too small to damage", operation.stem);
        let (kinds, half) = match operation.bound {
            Bound::Exact => (exact, bytes / 2),
            Bound::Float => (float, bytes / 8 * 4),
        };
        for damage in kinds {
            let mut bad = good.clone();
            damage(&mut bad.parts[part].1, half);
            assert!(expected.difference(&bad).is_some(), "{}: damage went unseen", operation.stem);
            damaged += 1;
        }
    }
    assert_eq!(damaged, TABLE.len() * 4);
}

/// Every element off by half its bound, as where a small term is missing: none is beyond its
/// bound, and the whole must be seen all the same.
#[test]
fn a_systematic_error_is_seen() {
    for operation in TABLE.iter().filter(|operation| operation.bound == Bound::Float) {
        let (expected, part) = victim(operation);
        let reference = &expected.references[0];
        let mut bad = expected.output.clone();
        bad.parts[part].1 = reference
            .values
            .iter()
            .zip(&reference.bounds)
            .flat_map(|(value, bound)| ((value + bound / 2.0) as f32).to_le_bytes())
            .collect();
        let seen = expected.difference(&bad).unwrap_or_default();
        assert!(seen.contains("root mean square"), "{}: {seen:?}", operation.stem);
    }
}

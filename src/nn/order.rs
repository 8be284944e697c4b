//! In which order layers follow each other.

use std::cmp::Ordering;
use std::collections::HashMap;

use crate::stored::parts;

/// Compares names as people count: `fc2` before `fc10`, `dense` before `dense_1`.
///
/// Of two words, those that say a place come in it: an encoder before its decoder, an output last.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let key = |name| parts(name).map(|part| (place(part), pieces(part))).collect::<Vec<_>>();
    // Leading zeros do not count, so distinct names can have equal keys.
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

/// Where a part of a name puts its layer.
fn place(part: &str) -> u8 {
    let word = part.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_').to_lowercase();
    match &*word {
        "input" | "encoder" => 0,
        "decoder" => 2,
        "output" | "out" | "head" | "classifier" | "logits" | "lm_head" => 3,
        _ => 1,
    }
}

/// A run of digits, or of anything else.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    /// Without leading zeros; of two numbers the longer is the larger.
    Number(usize, &'a str),
    Text(&'a str),
}

fn pieces(part: &str) -> Vec<Piece<'_>> {
    let same = |a: &u8, b: &u8| a.is_ascii_digit() == b.is_ascii_digit();
    let mut at = 0;
    let runs = part.as_bytes().chunk_by(same).map(|run| {
        let text = &part[at..at + run.len()];
        at += run.len();
        if !run[0].is_ascii_digit() {
            return Piece::Text(text);
        }
        let number = text.trim_start_matches('0');
        Piece::Number(number.len(), number)
    });
    runs.collect()
}

/// In how many orders layers chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Orders {
    /// In none.
    None,
    /// In this one alone, given as positions.
    One(Vec<usize>),
    /// In two at least.
    Several,
    /// There are too many layers to try.
    Untried,
}

/// Most layers whose order is looked for.
const MOST: usize = 1000;

/// In which orders layers of these inputs and outputs chain.
///
/// Sizes are the nodes of a graph and layers its edges, so an order is a path over every edge once.
/// There is one if no size but the first and the last is given and wanted unequally often, and all
/// edges hang together. Walking it, an edge may be next if all that are left can be reached behind
/// it; where two may, there are two orders.
pub(super) fn orders(layers: &[(usize, usize)]) -> Orders {
    if layers.len() > MOST {
        return Orders::Untried;
    }
    let mut surplus: HashMap<usize, i64> = HashMap::new();
    for (inputs, outputs) in layers {
        *surplus.entry(*inputs).or_default() += 1;
        *surplus.entry(*outputs).or_default() -= 1;
    }
    let starts: Vec<usize> =
        surplus.iter().filter(|(_, n)| **n > 0).map(|(size, _)| *size).collect();
    let mut left: Vec<usize> = (0..layers.len()).collect();
    let mut at = match starts[..] {
        // A circle: it can be entered at every size that is in it.
        [] if layers.is_empty() => return Orders::None,
        [] if reaches_all(layers, &left, layers[0].0) => {
            return if layers.len() == 1 { Orders::One(left) } else { Orders::Several };
        }
        [start] if surplus[&start] == 1 && reaches_all(layers, &left, start) => start,
        _ => return Orders::None,
    };
    let mut order = vec![];
    while !left.is_empty() {
        let rest = |place: usize| {
            let mut rest = left.clone();
            rest.remove(place);
            rest
        };
        let from_here = (0..left.len()).filter(|place| layers[left[*place]].0 == at);
        let mut next = from_here.filter(|p| reaches_all(layers, &rest(*p), layers[left[*p]].1));
        match (next.next(), next.next()) {
            (Some(place), None) => {
                let layer = left.remove(place);
                at = layers[layer].1;
                order.push(layer);
            }
            (Some(_), Some(_)) => return Orders::Several,
            (None, _) => return Orders::None,
        }
    }
    Orders::One(order)
}

/// Whether every layer of `left` can be reached from `start` over layers of `left`.
fn reaches_all(layers: &[(usize, usize)], left: &[usize], start: usize) -> bool {
    let mut by_inputs: HashMap<usize, Vec<usize>> = HashMap::new();
    for layer in left {
        by_inputs.entry(layers[*layer].0).or_default().push(layers[*layer].1);
    }
    let mut open = vec![start];
    while let Some(size) = open.pop() {
        open.extend(by_inputs.remove(&size).unwrap_or_default());
    }
    by_inputs.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_count() {
        let ordered = [
            ["fc1", "fc2", "fc10"].as_slice(),
            &["dense", "dense_1", "dense_2", "dense_10"],
            &["0.0", "0.2", "1.0", "10.0"],
            &["model.layer.2.fc", "model.layer.10.fc"],
            &["encoder.0", "encoder.2", "decoder.0"],
            &["input", "hidden1", "hidden2", "output"],
            &["features.0", "features.3", "classifier.0", "classifier.10"],
            &["l1", "l01", "l2", "l99999999999999999999998", "l99999999999999999999999"],
            &["a", "a.b", "ä1", "ä2"],
        ];
        for names in ordered {
            let mut sorted = names.to_vec();
            sorted.reverse();
            sorted.sort_by(|a, b| natural(a, b));
            // Equal numbers are ordered by their text.
            let expected: Vec<&str> = if names[0] == "l1" {
                [&["l01", "l1"], &names[2..]].concat()
            } else {
                names.to_vec()
            };
            assert_eq!(sorted, expected);
        }
    }

    /// Every order of up to six layers, tried naively.
    fn naive(layers: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = vec![vec![]];
        for _ in layers {
            let longer = found.iter().flat_map(|order| {
                let fits = |next: &usize| {
                    let chains =
                        order.last().is_none_or(|l: &usize| layers[*l].1 == layers[*next].0);
                    chains && !order.contains(next)
                };
                let nexts = (0..layers.len()).filter(fits);
                nexts.map(|next| [&order[..], &[next]].concat()).collect::<Vec<_>>()
            });
            found = longer.collect();
        }
        found
    }

    #[test]
    fn orders_are_those_of_trying_them_all() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % below) as usize
        };
        let mut seen = [0; 3];
        for _ in 0..20_000 {
            let (count, sizes) = (1 + random(6), 1 + random(6) as u64);
            let layers: Vec<_> = (0..count).map(|_| (random(sizes), random(sizes))).collect();
            let expected = match &naive(&layers)[..] {
                [] => Orders::None,
                [one] => Orders::One(one.clone()),
                _ => Orders::Several,
            };
            seen[match expected {
                Orders::None => 0,
                Orders::One(_) => 1,
                _ => 2,
            }] += 1;
            assert_eq!(orders(&layers), expected, "{layers:?}");
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    }

    #[test]
    fn many_layers_take_no_time() {
        let chain: Vec<_> = (0..MOST).map(|i| (i, i + 1)).rev().collect();
        assert_eq!(orders(&chain), Orders::One((0..MOST).rev().collect()));
        assert_eq!(orders(&vec![(5, 5); MOST]), Orders::Several);
        assert_eq!(orders(&vec![(5, 5); MOST + 1]), Orders::Untried);
    }
}

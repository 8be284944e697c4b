//! Cases of the operations that training needs, with their references in f64.

use std::sync::Arc;

use super::rows::f32_gaussian;
use super::{Case, Output, Reference, Work};
use crate::ops::dense::bound;
use crate::ops::dense_grad::{self, Variant};

pub(super) fn floats_bytes(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

/// `left[rows, terms] · right[terms, cols]` in f64, with the bound of so many f32 terms; `at` give
/// the elements.
fn product(
    part: &'static str,
    (rows, cols, terms): (usize, usize, usize),
    left: impl Fn(usize, usize) -> f32,
    right: impl Fn(usize, usize) -> f32,
) -> Reference {
    let (mut values, mut bounds) = (vec![], vec![]);
    for row in 0..rows {
        for col in 0..cols {
            let products = (0..terms).map(|k| f64::from(left(row, k)) * f64::from(right(k, col)));
            let (sum, magnitudes) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + p.abs()));
            values.push(sum);
            bounds.push(bound(terms, magnitudes));
        }
    }
    Reference { part, values, bounds }
}

pub(super) fn dense_grad_case(
    (batch, inputs, outputs): (usize, usize, usize),
    variant: Option<Variant>,
) -> Case {
    let x = f32_gaussian(batch * inputs, 1.0, 31);
    let weights = f32_gaussian(outputs * inputs, 0.3, 32);
    let dz = f32_gaussian(batch * outputs, 0.1, 33);
    let shared = Arc::new((x, weights, dz));
    let for_reference = Arc::clone(&shared);
    let floats = |n: usize| 4 * n as u64;
    Case {
        name: format!("{batch}×{inputs}→{outputs} {variant:?}"),
        work: Work {
            read: floats(batch * (inputs + outputs) + outputs * inputs),
            written: floats(batch * inputs + outputs * (inputs + 1)),
            flops: 4 * (batch * inputs * outputs) as u64,
        },
        run: Box::new(move |backend| {
            let (x, weights, dz) = &*shared;
            let shape = (batch, inputs, outputs);
            let found = dense_grad::dense_grad_with(backend, x, weights, dz, shape, variant)?;
            let parts = vec![
                ("dX", floats_bytes(&found.inputs)),
                ("dW", floats_bytes(&found.weights)),
                ("db", floats_bytes(&found.bias)),
            ];
            Ok(Output { parts })
        }),
        reference: Some(Box::new(move || {
            let (x, weights, dz) = &*for_reference;
            let dz = |row: usize, output: usize| dz[row * outputs + output];
            vec![
                product("dX", (batch, inputs, outputs), dz, |o, i| weights[o * inputs + i]),
                product("dW", (outputs, inputs, batch), |o, b| dz(b, o), |b, i| x[b * inputs + i]),
                product("db", (1, outputs, batch), |_, _| 1.0, dz),
            ]
        })),
    }
}

pub(super) fn dense_grad_cases() -> Vec<Case> {
    let mut cases = vec![];
    // Nothing, one, around the tiles and the vectors, primes, and many rows for few outputs.
    let shapes = [
        (0, 3, 5),
        (1, 0, 5),
        (1, 5, 0),
        (1, 1, 1),
        (2, 7, 9),
        (7, 64, 64),
        (8, 65, 63),
        (17, 129, 31),
        (65, 130, 67),
        (300, 33, 10),
    ];
    for shape in shapes {
        for variant in [Variant::Tiled { splits: 1 }, Variant::Tiled { splits: 3 }, Variant::Direct]
        {
            cases.push(dense_grad_case(shape, Some(variant)));
        }
    }
    cases
}

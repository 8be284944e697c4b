//! Which neurons of the hidden layers stay, and what that leaves of each tensor.

use std::collections::HashMap;
use std::ops::Range;

use super::pass::Context;
use super::plan::{Plan, TensorPlan};
use super::report::form_name;
use super::workers;
use crate::error::{Error, Result, UsageError};
use crate::io::{Model, SafetensorsFile};
use crate::nn::{Network, Origin};
use crate::stored::{Catalog, Form, Weight};

/// The hidden layers of a network that loses neurons.
#[derive(Clone, Debug)]
pub(super) struct Neurons {
    /// The share that stays.
    pub share: f64,
    /// What the network is taken for, and why.
    pub origin: Origin,
    /// A description for the metadata, where the model has none and will need one.
    pub description: Option<String>,
    layers: Vec<Hidden>,
    slimmed: HashMap<String, Slim>,
}

/// A hidden layer.
#[derive(Clone, Debug)]
struct Hidden {
    before: usize,
    after: usize,
    /// Those that stay, ascending; empty until [`choose`] has run.
    kept: Vec<usize>,
}

/// What becomes of a tensor of such a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slim {
    /// The tensor as it is. A bias is a column.
    pub whole: Weight,
    /// The tensor as it will be.
    pub rest: Weight,
    /// The hidden layer whose neurons are its rows.
    rows: Option<usize>,
    /// The hidden layer whose neurons are its columns.
    cols: Option<usize>,
}

impl Neurons {
    /// What stays when each hidden layer of `model` keeps `share` of its neurons. Reads headers
    /// only.
    pub(super) fn plan(model: &Model, share: f64) -> Result<Self> {
        let catalog = Catalog::new(model)?;
        if let Some(tensor) = catalog.tensors.iter().find(|t| !matches!(t.form, Form::Dense(_))) {
            let format = format!("{} is {}", tensor.name, form_name(&tensor.form));
            return Err(UsageError::AlreadyCompressed { format }.into());
        }
        let (network, origin) = Network::read(model, None).map_err(|error| {
            // What is not a network is no damaged file: it may well be compressed otherwise.
            Error::from(UsageError::NoNetwork { reason: error.to_string() })
        })?;
        let (_, hidden) = network.layers.split_last().ok_or(Error::Bug { what: "no layers" })?;
        if hidden.is_empty() {
            return Err(UsageError::NoHiddenLayer.into());
        }
        let layers = hidden.iter().map(|layer| Hidden {
            before: layer.outputs,
            after: ((layer.outputs as f64 * share).round_ties_even() as usize).max(1),
            kept: vec![],
        });
        let layers: Vec<Hidden> = layers.collect();
        let weights: HashMap<&str, Weight> =
            catalog.tensors.iter().filter_map(|t| Some((&*t.name, t.weight()?))).collect();
        let mut slimmed = HashMap::new();
        for (number, layer) in network.layers.iter().enumerate() {
            let rows = (number < layers.len()).then_some(number);
            let own = [(Some(&layer.weight), number.checked_sub(1)), (layer.bias.as_ref(), None)];
            for (name, cols) in own {
                if let Some(name) = name
                    && let Some(whole) = weights.get(&**name)
                    && (rows.is_some() || cols.is_some())
                {
                    let rest = Weight {
                        rows: rows.map_or(whole.rows, |layer| layers[layer].after),
                        cols: cols.map_or(whole.cols, |layer| layers[layer].after),
                        ..*whole
                    };
                    slimmed.insert(name.clone(), Slim { whole: *whole, rest, rows, cols });
                }
            }
        }
        let described = matches!(origin, Origin::Described(_)) || network.is_named_in_order();
        let description = (!described).then(|| network.to_json());
        Ok(Self { share, origin, description, layers, slimmed })
    }

    /// What becomes of the tensor of this name; `None` where it stays whole.
    pub(super) fn slim(&self, name: &str) -> Option<Slim> {
        self.slimmed.get(name).copied()
    }

    /// Rows `rows` of what stays of `tensor`; they are a copy, and what was read is released.
    pub(super) fn read(
        &self,
        file: &SafetensorsFile,
        tensor: &TensorPlan,
        slim: &Slim,
        rows: &Range<usize>,
    ) -> Result<Vec<u8>> {
        let kept = |layer: Option<usize>, range: &Range<usize>| match layer {
            None => Ok(range.clone().collect()),
            Some(layer) => {
                let kept = self.layers[layer].kept.get(range.clone());
                kept.map(<[usize]>::to_vec).ok_or(Error::Bug { what: "neurons were not chosen" })
            }
        };
        let (rows, cols) = (kept(slim.rows, rows)?, kept(slim.cols, &(0..slim.rest.cols))?);
        Ok(slim.whole.read_some(file, &tensor.input, &rows, &cols))
    }
}

impl Slim {
    /// The same in the order in which the elements lie, not transposed: what needs no output
    /// features together is several times faster so.
    pub(super) fn as_stored(&self) -> Self {
        let (rows, cols) =
            if self.whole.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) };
        Self { whole: self.whole.as_stored(), rest: self.rest.as_stored(), rows, cols }
    }

    /// The shape of what stays, as it is stored.
    pub(super) fn shape(&self, before: &[usize]) -> Vec<usize> {
        match before {
            [_] => vec![self.rest.rows],
            _ if self.rest.transposed => vec![self.rest.cols, self.rest.rows],
            _ => vec![self.rest.rows, self.rest.cols],
        }
    }
}

/// The tensors that neurons are judged by, with what becomes of them as they are stored.
fn judged(plan: &Plan) -> impl Iterator<Item = (&TensorPlan, Slim)> {
    let slimmed = plan.tensors.iter().filter_map(|t| Some((t, t.slim?.as_stored())));
    // Biases do not count.
    slimmed.filter(|(tensor, _)| tensor.input.shape.len() == 2)
}

/// Bytes that [`choose`] reads.
pub(super) fn bytes_to_read(plan: &Plan) -> u64 {
    judged(plan).map(|(_, slim)| slim.whole.bytes() as u64).sum()
}

/// Chooses the neurons that stay.
///
/// Squares are summed in `f64`, along a stored row from left to right, along a column slab after
/// slab. This is done on the host, so that the choice depends neither on the device nor on the
/// threads. Memory takes a few numbers a neuron.
pub(super) fn choose(context: &Context<'_>, plan: &mut Plan) -> Result<()> {
    let Some(neurons) = &plan.neurons else { return Ok(()) };
    let zeros = || neurons.layers.iter().map(|layer| vec![0.0; layer.before]).collect();
    let (mut inwards, mut outwards): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (zeros(), zeros());
    for (tensor, slim) in judged(plan) {
        let slabs: Vec<Range<usize>> = slim.whole.slabs().collect();
        // Few at once, because each has a sum a column.
        for slabs in slabs.chunks(context.threads * 4) {
            let parts = workers::map(context.threads, slabs, |rows| {
                let data = read_finite(context, plan, tensor, &slim.whole, rows)?;
                let sums = squares(&slim, &data);
                context.read(data.len());
                slim.whole.release(context.file(tensor), &tensor.input, rows);
                Ok(sums)
            })?;
            // What is inwards along a row is outwards along a column, and the other way round in
            // a kernel.
            let (along_rows, along_cols) = match tensor.slim.is_some_and(|s| s.whole.transposed) {
                false => (&mut inwards, &mut outwards),
                true => (&mut outwards, &mut inwards),
            };
            for (rows, (by_row, by_col)) in slabs.iter().zip(parts) {
                if let Some(layer) = slim.rows {
                    along_rows[layer][rows.clone()].copy_from_slice(&by_row);
                }
                if let Some(layer) = slim.cols {
                    along_cols[layer].iter_mut().zip(by_col).for_each(|(sum, part)| *sum += part);
                }
            }
        }
    }
    let kept =
        neurons.layers.iter().zip(inwards).zip(outwards).map(|((layer, inward), outward)| {
            let scores: Vec<f64> =
                inward.iter().zip(outward).map(|(i, o)| i.sqrt() * o.sqrt()).collect();
            largest(&scores, layer.after)
        });
    let kept: Vec<Vec<usize>> = kept.collect();
    let layers = plan.neurons.iter_mut().flat_map(|neurons| &mut neurons.layers);
    layers.zip(kept).for_each(|(layer, kept)| layer.kept = kept);
    Ok(())
}

fn read_finite<'a>(
    context: &Context<'a>,
    plan: &Plan,
    tensor: &TensorPlan,
    weight: &Weight,
    rows: &Range<usize>,
) -> Result<std::borrow::Cow<'a, [u8]>> {
    let data = weight.read(context.file(tensor), &tensor.input, rows);
    if context.refuses(weight.float, &data) {
        return Err(context.describe_non_finite(plan));
    }
    Ok(data)
}

/// Sums of squares of each row and of each column.
fn squares(slim: &Slim, data: &[u8]) -> (Vec<f64>, Vec<f64>) {
    let Weight { float, cols, .. } = slim.whole;
    let mut row = vec![0.0; cols];
    let mut by_col = vec![0.0; if slim.cols.is_some() { cols } else { 0 }];
    let by_row = data.chunks_exact((cols * float.size()).max(1)).map(|data| {
        float.decode(data, &mut row);
        let squares = row.iter().map(|w| f64::from(*w) * f64::from(*w));
        by_col.iter_mut().zip(squares.clone()).for_each(|(sum, square)| *sum += square);
        squares.sum()
    });
    let by_row = by_row.collect();
    (by_row, by_col)
}

/// Places of the `count` largest scores, ascending; of equal ones the first. What has no score,
/// because weights are not finite, counts as the largest.
fn largest(scores: &[f64], count: usize) -> Vec<usize> {
    let score = |place: usize| if scores[place].is_nan() { f64::INFINITY } else { scores[place] };
    let mut places: Vec<usize> = (0..scores.len()).collect();
    places.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
    places.truncate(count);
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_stay_in_order_and_the_first_of_equal_ones() {
        let scores = [2.0, 0.0, 3.0, 2.0, 0.0, f64::NAN, 2.0, -0.0];
        let expected = [
            &[5][..],
            &[2, 5],
            &[0, 2, 5],
            &[0, 2, 3, 5],
            &[0, 2, 3, 5, 6],
            &[0, 1, 2, 3, 5, 6],
            &[0, 1, 2, 3, 4, 5, 6],
        ];
        for (count, expected) in (1..).zip(expected) {
            assert_eq!(largest(&scores, count), expected, "{count}");
        }
    }
}

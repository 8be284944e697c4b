//! Layers of random weights, inputs for them, and what they must give.

/// A chain of dense layers with a relu between two, and rows to feed it.
pub struct Problem {
    /// Rows of input.
    pub batch: usize,
    /// Features from the input to the output.
    pub widths: Vec<usize>,
    /// `[batch, widths[0]]`.
    pub x: Vec<f32>,
    /// `[outputs, inputs]` of each layer.
    pub weights: Vec<Vec<f32>>,
    /// `[outputs]` of each layer; empty for a bare product.
    pub biases: Vec<Vec<f32>>,
}

/// Rows that are computed again in f64.
const CHECKED: usize = 16;

impl Problem {
    /// X · Wᵀ of square matrices.
    pub fn product(side: usize) -> Self {
        Self { biases: vec![], ..Self::network(side, &[side, side]) }
    }

    /// Weights of the size that training leaves.
    pub fn network(batch: usize, widths: &[usize]) -> Self {
        let mut random = Random(1);
        let mut floats = |count, scale| (0..count).map(|_| random.next() * scale).collect();
        let pairs: Vec<(usize, usize)> = widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let weight = |(i, o): &(usize, usize)| (i * o, (3.0 / *i as f32).sqrt());
        Self {
            batch,
            widths: widths.to_vec(),
            x: floats(batch * widths[0], 1.0),
            weights: pairs.iter().map(weight).map(|(count, scale)| floats(count, scale)).collect(),
            biases: pairs.iter().map(|(_, outputs)| floats(*outputs, 0.1)).collect(),
        }
    }

    /// Multiplications and additions.
    pub fn flops(&self) -> f64 {
        let products: usize = self.weights.iter().map(Vec::len).sum();
        2.0 * (products * self.batch) as f64
    }

    /// Fails where `y` is not what the layers give in f64.
    pub fn check(&self, who: &str, y: &[f32]) {
        let outputs = self.widths[self.widths.len() - 1];
        assert_eq!(y.len(), self.batch * outputs, "{who}: another shape");
        for row in (0..self.batch).step_by(self.batch.div_ceil(CHECKED)) {
            let expected = self.row(row);
            let scale = expected.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
            for (found, expected) in y[row * outputs..][..outputs].iter().zip(&expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error < 1e-4 * scale, "{who}: {found} in row {row}, expected {expected}");
            }
        }
    }

    fn row(&self, row: usize) -> Vec<f64> {
        let inputs = self.widths[0];
        let mut x: Vec<f64> =
            self.x[row * inputs..][..inputs].iter().map(|v| f64::from(*v)).collect();
        for (layer, weight) in self.weights.iter().enumerate() {
            let last = layer + 1 == self.weights.len();
            let dot = |w: &[f32]| w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
            let mut y: Vec<f64> = weight.chunks(x.len()).map(dot).collect();
            for (y, bias) in y.iter_mut().zip(self.biases.get(layer).into_iter().flatten()) {
                *y += f64::from(*bias);
            }
            x = y.into_iter().map(|y| if last { y } else { y.max(0.0) }).collect();
        }
        x
    }
}

/// A 64-bit congruential generator; the high bits, as numbers in −1 … 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

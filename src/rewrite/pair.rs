//! ΔW of a low-rank pair, without ever forming the matrix: its singular values, its norm, and its distance from another ΔW.
//!
//! With the QR decompositions of both factors, B = Q₁R₁ and Aᵀ = Q₂R₂, the product is B·A = Q₁ (R₁R₂ᵀ) Q₂ᵀ. The small
//! matrix R₁R₂ᵀ has its singular values and its norm, because the columns of the Q are orthonormal. All of this is in f64.

use nalgebra::DMatrix;

use super::Basis;
use crate::adapter::names::Part;
use crate::adapter::{Adapter, Module};
use crate::error::Result;

/// Rounds of the decomposition's iteration. A rank of 256 takes some hundreds.
const MOST_ROUNDS: usize = 100_000;

/// ΔW = B·A with the scaling in it, convolutions flattened.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Aᵀ: (inputs, rank)
    inputs: DMatrix<f64>,
    /// scaling · B: (outputs, rank)
    outputs: DMatrix<f64>,
}

/// A [`Pair`] as a sum of products of two vectors, ΔW = left · diag(values) · rightᵀ, the most important first: its thin singular
/// value decomposition, or what another [`Basis`] makes of it.
pub struct Decomposition {
    /// (outputs, values)
    pub left: DMatrix<f64>,
    pub values: Vec<f64>,
    /// (inputs, values)
    pub right: DMatrix<f64>,
}

impl Pair {
    /// From `a` (rank, inputs) and `b` (outputs, rank), both by rows.
    pub fn new(a: &[f32], b: &[f32], rank: usize, scaling: f64) -> Self {
        let (inputs, outputs) = (a.len() / rank.max(1), b.len() / rank.max(1));
        Self {
            inputs: DMatrix::from_iterator(inputs, rank, a.iter().map(|&value| f64::from(value))),
            outputs: DMatrix::from_row_iterator(outputs, rank, b.iter().map(|&value| f64::from(value) * scaling)),
        }
    }

    /// The rank of a module's pair; `None` where its change is not a product of two matrices.
    pub fn rank_of(adapter: &Adapter, module: &Module) -> Option<usize> {
        if !adapter.config.method.is_low_rank() || module.parameter.is_some() {
            return None;
        }
        let (a, b) = module.pair()?;
        let (shape_a, shape_b) = (&adapter.weights.get(a)?.shape, &adapter.weights.get(b)?.shape);
        let rank = *shape_a.first()?;
        // A convolution's second factor looks at single places (PEFT, `_ConvNd.update_layer`).
        let is_flat = shape_b.len() >= 2 && shape_b[1] == rank && shape_b[2..].iter().all(|&size| size == 1);
        let is_empty = shape_a.contains(&0) || shape_b.contains(&0);
        (is_flat && !is_empty).then_some(rank)
    }

    /// The pair of a module; `None` where its change is not a product of two matrices.
    pub fn load(adapter: &Adapter, module: &Module) -> Result<Option<Self>> {
        let pair = Self::rank_of(adapter, module).zip(module.pair());
        let Some((rank, (a, b))) = pair else { return Ok(None) };
        let scaling = adapter.config.scaling_of(&module.name);
        let mut pair = Self::new(&adapter.weights.load_finite(a)?, &adapter.weights.load_finite(b)?, rank, scaling);
        if let Some(name) = module.tensor(Part::LoraE) {
            let values = adapter.weights.load_finite(name)?;
            for (mut column, value) in pair.inputs.column_iter_mut().zip(values) {
                column *= f64::from(value);
            }
        }
        Ok(Some(pair))
    }

    pub fn rank(&self) -> usize {
        self.inputs.ncols()
    }

    /// `None` if the iteration does not converge.
    pub fn decompose(&self) -> Option<Decomposition> {
        let (outputs, inputs) = (self.outputs.clone().qr(), self.inputs.clone().qr());
        let (left, values, right) = singular_values(&(outputs.r() * inputs.r().transpose()))?;
        Some(Decomposition { left: outputs.q() * left, values, right: inputs.q() * right })
    }

    /// The pair in another basis of its rank. The columns of both factors have length 1, and `values` the rest.
    pub fn in_basis(&self, basis: &Basis) -> Decomposition {
        let (mut left, mut right) = (&self.outputs * &basis.outputs, &self.inputs * basis.inputs.transpose());
        let mut normalise = |place: usize| {
            let lengths = [&mut left, &mut right].map(|factor| {
                let mut column = factor.column_mut(place);
                let length = column.norm();
                if length > 0.0 {
                    column /= length;
                }
                length
            });
            lengths[0] * lengths[1]
        };
        let values = (0..self.rank()).map(&mut normalise).collect();
        Decomposition { left, values, right }
    }

    /// ‖ΔW‖, the Frobenius norm.
    pub fn norm(&self) -> f64 {
        (self.outputs.clone().qr().r() * self.inputs.clone().qr().r().transpose()).norm()
    }

    /// ‖ΔW − ΔW'‖, as the norm of the pair [B −B'] · [A; A'], which subtracts no squares. `None` for pairs of other sizes.
    pub fn distance(&self, other: &Self) -> Option<f64> {
        let beside = |one: &DMatrix<f64>, other: &DMatrix<f64>| {
            let columns: Vec<_> = one.column_iter().chain(other.column_iter()).collect();
            DMatrix::from_columns(&columns)
        };
        let fits = self.inputs.nrows() == other.inputs.nrows() && self.outputs.nrows() == other.outputs.nrows();
        fits.then(|| {
            let (inputs, outputs) = (beside(&self.inputs, &other.inputs), beside(&self.outputs, &-&other.outputs));
            Self { inputs, outputs }.norm()
        })
    }
}

/// The singular values of a small matrix C, the largest first, and its left and right singular vectors as columns.
///
/// The values are the positive eigenvalues of the symmetric [0 C; Cᵀ 0], whose eigenvectors stack both vectors
/// (Golub and Van Loan, Matrix Computations, 8.6.1). nalgebra's own decomposition is not used: in version 0.35, its product is off
/// by more than a tenth for some matrices without full rank, and pairs often have none.
fn singular_values(core: &DMatrix<f64>) -> Option<(DMatrix<f64>, Vec<f64>, DMatrix<f64>)> {
    let (rows, columns) = core.shape();
    let mut symmetric = DMatrix::zeros(rows + columns, rows + columns);
    symmetric.view_mut((0, rows), (rows, columns)).copy_from(core);
    symmetric.view_mut((rows, 0), (columns, rows)).copy_from(&core.transpose());
    let eigen = symmetric.try_symmetric_eigen(f64::EPSILON, MOST_ROUNDS)?;
    let mut order: Vec<usize> = (0..rows + columns).collect();
    order.sort_by(|&one, &other| eigen.eigenvalues[other].total_cmp(&eigen.eigenvalues[one]));
    order.truncate(rows.min(columns));
    let vectors = eigen.eigenvectors.select_columns(&order) * f64::sqrt(2.0);
    let values = order.iter().map(|&place| eigen.eigenvalues[place].max(0.0)).collect();
    Some((vectors.rows(0, rows).into_owned(), values, vectors.rows(rows, columns).into_owned()))
}

impl Decomposition {
    /// The first factor of the first `rank` products, times `scale`: (rank, inputs), by rows. For singular values they are the best
    /// approximation of that rank (Eckart and Young).
    /// Each factor takes the square root of a singular value: were one large and the other small, narrow types would lose more.
    pub fn first(&self, rank: usize, scale: f64) -> Vec<f32> {
        let columns = self.right.column_iter().zip(self.roots(rank, scale));
        columns
            .flat_map(|(column, root)| column.iter().map(|value| (value * root) as f32).collect::<Vec<_>>())
            .collect()
    }

    /// The second factor: (outputs, rank), by rows.
    pub fn second(&self, rank: usize, scale: f64) -> Vec<f32> {
        let roots = self.roots(rank, scale);
        let rows = self.left.row_iter();
        rows.flat_map(|row| row.iter().zip(&roots).map(|(value, root)| (value * root) as f32).collect::<Vec<_>>())
            .collect()
    }

    fn roots(&self, rank: usize, scale: f64) -> Vec<f64> {
        self.values.iter().take(rank).map(|value| (value * scale).sqrt()).collect()
    }
}

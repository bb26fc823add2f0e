//! The directions of a module's rank, the one that the loss needs most first.
//!
//! A pair B·A becomes B·M·A of a smaller rank. To second order, and with h = A·x and the gradient d of the loss by h taken for
//! independent, the expected square of what a token's loss changes is tr((M − 1)ᵀ·F·(M − 1)·C), with C = E h·hᵀ and F = E d·dᵀ. The
//! best M of rank k is C^½·V·Vᵀ·C^−½, where V has the k eigenvectors of C^½·F·C^½ with the largest eigenvalues (Eckart and Young, for
//! F^½·(M − 1)·C^½), and the change is the sum of the other eigenvalues. Without F and C it would be the truncated singular value
//! decomposition, which knows nothing of the inputs that occur and of what the loss makes of the outputs.

use nalgebra::{DMatrix, DVector};

use crate::measure::Sensitivity;

/// Added to the diagonal of C, as a share of its mean: directions that no sample takes have an inverse, too.
const RIDGE: f64 = 1e-6;

/// Rounds of an eigenvalue decomposition.
const MOST_ROUNDS: usize = 100_000;

/// Directions of a rank, the most important first. Both matrices are (rank, rank).
#[derive(Debug, Clone)]
pub struct Basis {
    /// Columns that B is multiplied with.
    pub outputs: DMatrix<f64>,
    /// Rows that A is multiplied with: the inverse of `outputs`.
    pub inputs: DMatrix<f64>,
    /// The expected square of what the loss changes without a direction, in squared nats, summed over tokens.
    pub importance: Vec<f64>,
}

impl Basis {
    /// The directions by what was measured; `None` if an iteration does not converge.
    pub fn new(sensitivity: &Sensitivity) -> Option<Self> {
        let rank = sensitivity.values.nrows();
        let tokens = sensitivity.tokens.max(1) as f64;
        let mut values = &sensitivity.values / tokens;
        let ridge = RIDGE * values.trace() / rank.max(1) as f64;
        // Without any input the directions are those that there are.
        let ridge = if ridge > 0.0 { ridge } else { 1.0 };
        values += DMatrix::identity(rank, rank) * ridge;
        let (root, inverse) = roots(values)?;
        let weighted = &root * &sensitivity.gradients * &root;
        let eigen = symmetric(weighted).try_symmetric_eigen(f64::EPSILON, MOST_ROUNDS)?;
        let mut order: Vec<usize> = (0..rank).collect();
        order.sort_by(|&one, &other| eigen.eigenvalues[other].total_cmp(&eigen.eigenvalues[one]));
        let vectors = eigen.eigenvectors.select_columns(&order);
        let importance = order.iter().map(|&place| eigen.eigenvalues[place].max(0.0)).collect();
        Some(Self { outputs: root * &vectors, inputs: vectors.transpose() * inverse, importance })
    }
}

/// The square root of a positive definite matrix, and its inverse.
fn roots(matrix: DMatrix<f64>) -> Option<(DMatrix<f64>, DMatrix<f64>)> {
    let eigen = symmetric(matrix).try_symmetric_eigen(f64::EPSILON, MOST_ROUNDS)?;
    let least = eigen.eigenvalues.max() * f64::EPSILON;
    let with = |power: f64| {
        let values = DVector::from_iterator(
            eigen.eigenvalues.len(),
            eigen.eigenvalues.iter().map(|&value| value.max(least).powf(power)),
        );
        &eigen.eigenvectors * DMatrix::from_diagonal(&values) * eigen.eigenvectors.transpose()
    };
    Some((with(0.5), with(-0.5)))
}

/// The matrix without what rounding made different on the two sides of its diagonal.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        DMatrix::from_fn(rows, columns, |_, _| random.f64() * 2.0 - 1.0)
    }

    /// Σ over tokens of h·hᵀ and of d·dᵀ.
    fn sensitivity(h: &DMatrix<f64>, d: &DMatrix<f64>) -> Sensitivity {
        Sensitivity { values: h.tr_mul(h), gradients: d.tr_mul(d), slope: d.tr_mul(h), tokens: h.nrows() }
    }

    #[test]
    fn all_directions_together_change_nothing() {
        let (h, d) = (random(40, 5, 1), random(40, 5, 2));
        let basis = Basis::new(&sensitivity(&h, &d)).unwrap();
        assert!((&basis.outputs * &basis.inputs - DMatrix::identity(5, 5)).norm() < 1e-9);
        assert!(basis.importance.windows(2).all(|pair| pair[0] >= pair[1]));
    }

    /// What is lost is the sum of the importance of what is left out, and no other projection of the rank loses less.
    #[test]
    fn the_first_directions_lose_least() {
        let (h, d) = (random(60, 4, 3) * random(4, 4, 4), random(60, 4, 5) * random(4, 4, 6));
        let (values, gradients) = (h.tr_mul(&h) / 60.0, d.tr_mul(&d));
        let lost = |m: &DMatrix<f64>| {
            let change = m - DMatrix::identity(4, 4);
            (change.transpose() * &gradients * &change * &values).trace()
        };
        let basis = Basis::new(&sensitivity(&h, &d)).unwrap();
        for rank in 0..4 {
            let m = basis.outputs.columns(0, rank) * basis.inputs.rows(0, rank);
            let expected: f64 = basis.importance[rank..].iter().sum();
            assert!((lost(&m) - expected).abs() < 1e-4 * expected, "{} instead of {expected}", lost(&m));
            for seed in 10..60 {
                let other = random(4, rank, seed) * random(rank, 4, seed + 100);
                assert!(lost(&other) > expected * (1.0 - 1e-4));
            }
        }
    }

    #[test]
    fn what_no_sample_reaches_is_worth_nothing() {
        let zero = DMatrix::zeros(8, 3);
        let basis = Basis::new(&sensitivity(&zero, &zero)).unwrap();
        assert_eq!(basis.importance, [0.0; 3]);
        assert!(basis.outputs.iter().chain(basis.inputs.iter()).all(|value| value.is_finite()));
    }
}

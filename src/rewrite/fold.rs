//! One scaling for all modules of an adapter that has several: the difference goes into their factors.

/// The most frequent value, the first of several such; 1 where there is none. As the scaling of all, it changes the fewest modules.
pub fn most_common(values: impl Iterator<Item = f64>) -> f64 {
    let mut counts: Vec<(f64, usize)> = Vec::new();
    for value in values {
        match counts.iter_mut().find(|(known, _)| is_same(*known, value)) {
            Some((_, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    counts.into_iter().find(|(_, count)| *count == most).map_or(1.0, |(value, _)| value)
}

/// What to multiply a second factor with where the scaling of its module changes from `before` to `after`.
pub fn factor(before: f64, after: f64) -> f64 {
    if is_same(before, after) { 1.0 } else { before / after }
}

/// Multiplies values, each rounded once.
pub fn fold(values: &mut [f32], factor: f64) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}

/// Equal up to rounding in f64.
fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-14 * other.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_common_is_the_first_of_equals() {
        assert_eq!(most_common([8.0, 16.0, 16.0].into_iter()), 16.0);
        assert_eq!(most_common([16.0, 8.0].into_iter()), 16.0);
        assert_eq!(most_common(std::iter::empty()), 1.0);
    }

    #[test]
    fn rounding_is_no_factor() {
        assert_eq!(factor(8.0 / 3.0 * 3.0, 8.0), 1.0);
        assert_eq!(factor(16.0, 8.0), 2.0);
    }
}

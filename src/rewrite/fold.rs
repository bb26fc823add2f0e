//! One scaling for all modules, where an adapter has several: what they differ by goes into their factors.

/// The value that comes most often, the first of such; 1 where there is none. With it for all, the fewest modules change.
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

/// What a second factor is multiplied with, for a module that wants one scaling and gets another.
pub fn factor(wanted: f64, given: f64) -> f64 {
    if is_same(wanted, given) { 1.0 } else { wanted / given }
}

/// Multiplies values, each rounded once.
pub fn fold(values: &mut [f32], factor: f64) {
    if factor != 1.0 {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}

/// Equal but for rounding in f64.
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

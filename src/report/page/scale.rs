//! A linear axis of a chart: from values to places, and round numbers to mark.

/// A linear axis.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Values at the two ends.
    values: (f64, f64),
    /// Places of the two ends, in units of the chart.
    places: (f64, f64),
    /// Between two marks.
    step: f64,
}

impl Scale {
    pub fn new(values: (f64, f64), places: (f64, f64)) -> Self {
        Self { values, places, step: step(values.1 - values.0, 1) }
    }

    /// Wide enough for `values`, with round ends and about `marks` steps.
    pub fn round(values: (f64, f64), marks: usize, places: (f64, f64)) -> Self {
        let step = step(values.1 - values.0, marks);
        let (low, high) = ((values.0 / step).floor() * step, (values.1 / step).ceil() * step);
        Self { values: (low, if high > low { high } else { low + step }), places, step }
    }

    pub fn place(&self, value: f64) -> f64 {
        let ((low, high), (from, to)) = (self.values, self.places);
        from + (to - from) * (value - low) / (high - low)
    }

    /// The round values from end to end, and the decimals that they need.
    pub fn marks(&self) -> (Vec<f64>, usize) {
        let ((low, high), step) = (self.values, self.step);
        let first = (low / step - 1e-9).ceil();
        let count = ((high / step + 1e-9).floor() - first).max(0.0) as usize;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        ((0..=count).map(|index| (first + index as f64) * step).collect(), decimals)
    }
}

/// The round number, 1, 2 or 5 with zeros, that goes about `marks` times into `span`.
fn step(span: f64, marks: usize) -> f64 {
    let rough = span.max(1e-9) / marks.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * power >= rough * 0.999).unwrap_or(10.0);
    factor * power
}

/// The step from one marked number to the next, so that there is room for all that are marked of `count` numbers.
pub fn stride(count: usize, room: usize) -> usize {
    [1, 2, 5, 10, 20, 50, 100].into_iter().find(|stride| count / stride <= room).unwrap_or(200)
}

/// Two places, moved apart so that their texts do not overlap.
pub fn apart([one, other]: [f64; 2], room: f64) -> [f64; 2] {
    let missing = room - (one - other).abs();
    if missing <= 0.0 {
        return [one, other];
    }
    let sign = if one <= other { -0.5 } else { 0.5 };
    [one + sign * missing, other - sign * missing]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        let scale = Scale::round((1.9247, 2.8408), 5, (300.0, 0.0));
        let (marks, decimals) = scale.marks();
        let shown: Vec<String> = marks.iter().map(|mark| format!("{mark:.decimals$}")).collect();
        assert_eq!(shown, ["1.8", "2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]);
        assert_eq!((scale.place(1.8), scale.place(3.0)), (300.0, 0.0));
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        for values in [(1.0, 1.0), (0.0, 0.0), (1e-12, 2e-12)] {
            let scale = Scale::round(values, 5, (0.0, 100.0));
            assert!(scale.place(values.0).is_finite() && scale.marks().0.len() < 20, "{scale:?}");
        }
        assert_eq!((stride(81, 16), stride(81, 15), stride(6, 16)), (5, 10, 1));
    }

    #[test]
    fn names_make_room_for_each_other() {
        assert_eq!(apart([10.0, 100.0], 30.0), [10.0, 100.0]);
        assert_eq!(apart([50.0, 60.0], 30.0), [40.0, 70.0]);
        assert_eq!(apart([60.0, 50.0], 30.0), [70.0, 40.0]);
    }
}

//! What sizes cost: the share of the adapter's gain that each gives up, by the measure and by the guard.

use super::chart::{Chart, Frame, Strip};
use super::scale::Scale;
use crate::report::minimized::{Against, FrontierPoint};
use crate::report::{Minimized, Report};

/// The largest share that is drawn: beyond it a size is no candidate. Lines end where they reach it.
const MOST: f64 = 0.1;

pub fn charts(report: &Report) -> Vec<Chart> {
    let frames = [Frame::wide(300.0), Frame::narrow(280.0)].into_iter();
    frames.filter_map(|frame| draw(report, report.minimized.as_ref()?, frame)).collect()
}

fn draw(report: &Report, minimized: &Minimized, frame: Frame) -> Option<Chart> {
    let margin = report.options.as_ref()?.margin;
    // From the smallest to the largest.
    let points: Vec<&FrontierPoint> = minimized.frontier.iter().rev().collect();
    let size = |point: &FrontierPoint| (point.bytes as f64 / 1024.0).log2();
    let span = (size(points.first()?), size(points.last()?).max(size(points.first()?) + 1.0));
    let x = Scale::new(span, (frame.left + 8.0, frame.right - 8.0));
    let most = MOST.max(2.0 * margin) * 100.0;
    let y = Scale::round((0.0, most), frame.rows, (frame.bottom, frame.top));
    // Where nothing may be given up, there is no share of it.
    let given_up = |one: &Against| match one.margin > 0.0 {
        true => (100.0 * margin * one.difference / one.margin).max(0.0),
        false if one.difference > 0.0 => f64::INFINITY,
        false => 0.0,
    };
    let strip = |point: &&FrontierPoint| {
        let worst = point.against.iter().map(given_up).max_by(f64::total_cmp)?;
        let sign = match point.holds {
            _ if worst > most => "",
            Some(true) => "point",
            _ => "dropped",
        };
        Some(Strip { x: x.place(size(point)), y: y.place(worst.min(most)), sign, chosen: point.chosen })
    };
    let mut chart = Chart::new(frame, x, y, points.iter().filter_map(strip).collect());
    chart.columns = marks(span, frame.columns.div_ceil(2)).map(|(size, name)| (x.place(size), name)).collect();
    for (index, class) in ["line", "line base"].into_iter().enumerate() {
        let shares = points.iter().filter_map(|point| Some((size(point), given_up(point.against.get(index)?))));
        let line: Vec<(f64, f64)> = up_to(most, &shares.collect::<Vec<_>>());
        if line.len() > 1 {
            chart.line(
                class,
                &line.into_iter().map(|(size, share)| (x.place(size), y.place(share))).collect::<Vec<_>>(),
            );
        }
    }
    let height = y.place(100.0 * margin);
    chart.line("margin", &[(frame.left, height), (frame.right, height)]);
    if let Some(chosen) = points.iter().find(|point| point.chosen) {
        let middle = x.place(size(chosen)).clamp(frame.left + 40.0, frame.right - 40.0);
        chart.choice = Some((middle, crate::format::bytes(chosen.bytes)));
    }
    Some(chart)
}

/// Round sizes within `span`, at most about `most`: powers of two, and where these are few, sizes between them. As powers of two of
/// KiB, and as text.
fn marks(span: (f64, f64), most: usize) -> impl Iterator<Item = (f64, String)> {
    let octaves = span.1 - span.0;
    let fits = |factors: &&[f64]| factors.len() as f64 * octaves <= most as f64;
    let factors: [&[f64]; 2] = [&[1.0, 1.25, 1.5, 1.75], &[1.0, 1.5]];
    let between = factors.into_iter().find(fits).unwrap_or(&[1.0]);
    let stride = octaves as usize / most + 1;
    let powers = (span.0.floor() as i32..=span.1.floor() as i32).step_by(stride);
    let sizes = powers.flat_map(move |power| between.iter().map(move |factor| factor * 2f64.powi(power)));
    let within = sizes.filter(move |size| (span.0..=span.1).contains(&size.log2()));
    within.map(|size| (size.log2(), size_name(size)))
}

/// `96 KiB`, `1.25 MiB`: with the digits that a mark needs.
fn size_name(kib: f64) -> String {
    match kib {
        kib if kib < 1024.0 => format!("{kib} KiB"),
        kib if kib < 1048576.0 => format!("{} MiB", kib / 1024.0),
        kib => format!("{} GiB", kib / 1048576.0),
    }
}

/// A line without what comes before it falls to `most` for the last time. It begins where it does.
fn up_to(most: f64, points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let Some(beyond) = points.iter().rposition(|(_, share)| *share > most) else { return points.to_vec() };
    let mut within = points[beyond + 1..].to_vec();
    let (before, share) = points[beyond];
    if let Some(&(size, next)) = within.first().filter(|_| share.is_finite()) {
        within.insert(0, (before + (size - before) * (share - most) / (share - next), most));
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_sizes() {
        let names = |low: f64, high: f64| marks((low.log2(), high.log2()), 8).map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names(1000.0, 2100.0), ["1 MiB", "1.25 MiB", "1.5 MiB", "1.75 MiB", "2 MiB"]);
        assert_eq!(names(0.6, 19.0), ["1 KiB", "2 KiB", "4 KiB", "8 KiB", "16 KiB"]);
        assert_eq!(names(6e5, 3e6), ["768 MiB", "1 GiB", "1.5 GiB", "2 GiB"]);
    }

    #[test]
    fn a_line_begins_where_it_falls_to_the_border() {
        let points = [(0.0, 50.0), (1.0, 30.0), (3.0, 5.0), (4.0, 1.0)];
        assert_eq!(up_to(10.0, &points), [(2.6, 10.0), (3.0, 5.0), (4.0, 1.0)]);
        assert_eq!(up_to(50.0, &points), points);
        assert_eq!(up_to(0.5, &points), []);
        assert_eq!(up_to(10.0, &[(0.0, f64::INFINITY), (1.0, 2.0)]), [(1.0, 2.0)]);
    }
}

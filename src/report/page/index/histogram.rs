//! How much of their bytes adapters keep: a bar for each twentieth.

use crate::report::batch::{KeyFigures, Record, Status};
use crate::report::page::chart::{Chart, Frame, Strip};
use crate::report::page::filters::plural;
use crate::report::page::scale::Scale;

const BINS: usize = 20;

/// A drawing for wide and one for narrow screens; none if there is nothing to compare.
pub fn charts(records: &[Record]) -> Vec<Chart> {
    let counts = counts(records);
    let wide = Frame { right: 856.0, top: 30.0, columns: BINS, rows: 4, ..Frame::wide(220.0) };
    let narrow = Frame { right: 338.0, top: 30.0, columns: 5, rows: 4, ..Frame::narrow(200.0) };
    let frames = [wide, narrow].into_iter().filter(|_| counts.iter().sum::<usize>() > 1);
    frames.map(|frame| draw(&counts, frame)).collect()
}

/// What is shown for each bar when it is pointed at.
pub fn readouts(records: &[Record]) -> Vec<String> {
    let readout = |(bin, count): (usize, usize)| {
        let (from, to) = (100 * bin / BINS, 100 * (bin + 1) / BINS);
        format!("{from} to {to} % of the bytes are kept: {}", plural(count, "adapter", None))
    };
    counts(records).into_iter().enumerate().map(readout).collect()
}

fn counts(records: &[Record]) -> [usize; BINS] {
    let done = records.iter().filter(|record| record.status == Status::Done);
    let shares = done.filter_map(|record| record.found.as_ref().and_then(KeyFigures::bytes_kept));
    let mut counts = [0; BINS];
    // What keeps all of its bytes, or has more, is in the last one.
    shares.for_each(|share| counts[((share * BINS as f64) as usize).min(BINS - 1)] += 1);
    counts
}

fn draw(counts: &[usize; BINS], frame: Frame) -> Chart {
    let half = (frame.right - frame.left) / BINS as f64 / 2.0;
    let x = Scale::new((0.0, BINS as f64), (frame.left + half, frame.right + half));
    let most = counts.iter().copied().max().unwrap_or(0).max(frame.rows);
    let y = Scale::round((0.0, most as f64), frame.rows, (frame.bottom, frame.top));
    let strip = |(bin, &count): (usize, &usize)| Strip {
        x: x.place(bin as f64),
        y: y.place(count as f64),
        sign: if count > 0 { "bar kept" } else { "" },
        chosen: false,
    };
    let mut chart = Chart::new(frame, x, y, counts.iter().enumerate().map(strip).collect());
    let marks = (0..=BINS).step_by(BINS / 5);
    chart.columns = marks.map(|bin| (x.place(bin as f64 - 0.5), format!("{} %", 100 * bin / BINS))).collect();
    chart
}

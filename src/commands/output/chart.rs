//! Charts with marks at places, fitted to a width: the marks move together, and the axis above them ends with them.

/// The mark of what falls together with another, and those of which each row has at least one.
const BOTH: char = '◉';
pub const MARKS: [char; 2] = ['●', BOTH];

/// What stands behind a row that is chosen.
const NOTE: usize = " ◀ chosen".len() - "◀".len() + 1;

/// Whether a line is the heading of a chart.
pub fn is_axis(line: &str) -> bool {
    line.contains("  0 ")
}

/// An axis and its rows, which the chart of `columns` columns begins in the same column of.
pub fn fit(axis: &str, rows: &[&str], width: usize) -> Option<Vec<String>> {
    let start = axis.find("  0 ")? + 2;
    let (axis, rows): (Vec<char>, Vec<Vec<char>>) =
        (axis.trim_end().chars().collect(), rows.iter().map(|row| row.trim_end().chars().collect()).collect());
    let (columns, available) = (axis.len().checked_sub(start)?, width.checked_sub(start + NOTE)?);
    if columns <= available || available < 2 {
        return None;
    }
    let end: String = axis[start + 1..].iter().collect::<String>().trim_start().into();
    let head = |line: &[char]| line.iter().take(start).collect::<String>();
    let mut fitted = vec![format!("{}0{end:>width$}\n", head(&axis), width = available - 1)];
    fitted.extend(rows.iter().map(|row| {
        let place = |column: usize| (column * (available - 1) + (columns - 1) / 2) / (columns - 1);
        let mut cells: Vec<char> = Vec::new();
        let marks = row.iter().enumerate().skip(start).take_while(|(_, mark)| **mark != '◀');
        for (column, mark) in marks.filter(|(_, mark)| **mark == 'o' || MARKS.contains(mark)) {
            let place = place(column - start);
            cells.resize(cells.len().max(place + 1), ' ');
            cells[place] = if cells[place] == ' ' { *mark } else { BOTH };
        }
        let note = if row.contains(&'◀') { " ◀ chosen" } else { "" };
        format!("{}{}{note}\n", head(row), cells.iter().collect::<String>())
    }));
    Some(fitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_their_places_on_the_axis() {
        let axis = "   layers      base   adapter  0                                   0.37";
        let rows =
            ["        1    0.1234    0.3456  o         ●", "        2    0.1234    0.3456            ◉ ◀ chosen"];
        assert_eq!(axis.chars().count(), 71);
        let fitted = fit(axis, &rows, 60).unwrap();
        assert!(fitted.iter().all(|line| line.trim_end().chars().count() <= 60), "{fitted:?}");
        assert!(fitted[0].ends_with(" 0.37\n") && fitted[0].trim_end().chars().count() == 51, "{fitted:?}");
        assert_eq!(fitted[1], "        1    0.1234    0.3456  o    ●\n");
        assert_eq!(fitted[2], "        2    0.1234    0.3456       ◉ ◀ chosen\n");
        assert_eq!(fit(axis, &rows, 100), None);
    }
}

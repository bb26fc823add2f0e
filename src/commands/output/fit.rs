//! Lines fitted to the width of a terminal: sentences are wrapped between words; tables lose blanks between their columns, and
//! their bars become shorter, all by the same share.

use super::chart;

/// The shortest longest bar that is worth more than the blanks of a table, in cells.
const WORTHWHILE_BAR: usize = 16;

/// The width that long texts are broken to where there is no terminal, and the least column that their lines begin in.
const TEXT_WIDTH: usize = crate::report::text::WIDTH;
const BROKEN_FROM: usize = 8;

/// How far the rest of a sentence is indented that begins at the edge.
const HANGING: usize = 4;

/// The longest code in a sentence that stays on one line.
const LONGEST_CODE: usize = 30;

/// What stays on the line of its number.
const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "nats", "GB"];

/// The cells of a whole bar, as [`crate::format::bar`] draws it.
const BAR: usize = crate::format::BAR;

/// Eighths of a cell, from the left.
const EIGHTHS: [char; 8] = ['█', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// The same lines, none longer than `width` if words allow it.
pub fn fit(text: &str, width: usize) -> String {
    let whole = if width < TEXT_WIDTH { unbroken(text) } else { text.into() };
    let mut fitted = String::new();
    let mut lines = whole.split_inclusive('\n').peekable();
    while let Some(first) = lines.next() {
        let mut marked = Vec::new();
        while let Some(row) = lines.next_if(|line| chart::is_axis(first) && line.contains(chart::MARKS)) {
            marked.push(row);
        }
        if !marked.is_empty() {
            let as_it_is = || [&[first], &marked[..]].concat().concat();
            fitted += &chart::fit(first, &marked, width).map_or_else(as_it_is, |chart| chart.concat());
            continue;
        }
        if !is_row(first) {
            fitted += &wrapped(first, width);
            continue;
        }
        let mut rows = vec![first];
        while let Some(row) = lines.next_if(|line| is_row(line)) {
            rows.push(row);
        }
        fitted += &table(&rows, width);
        fitted += if rows.last().is_some_and(|row| row.ends_with('\n')) { "\n" } else { "" };
    }
    fitted
}

fn length(text: &str) -> usize {
    text.trim_end_matches('\n').chars().count()
}

/// Whether a line has columns: blanks side by side behind its first word.
fn is_row(line: &str) -> bool {
    (line.trim().contains("  ") || has_bar(line)) && !line.contains(chart::MARKS)
}

fn has_bar(line: &str) -> bool {
    line.contains(EIGHTHS)
}

/// A sentence over several lines, and what follows indented, so that the next sentence can be told from it. Columns before it
/// stay as they are.
fn wrapped(line: &str, width: usize) -> String {
    let is_chart = line.contains(chart::MARKS) && line.trim().contains("  ");
    if length(line) <= width || is_command(line) || is_chart {
        return line.into();
    }
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let (head, sentence) = text.split_at(start_of_sentence(text));
    let indent = match length(head) {
        head if head >= width / 2 => HANGING,
        head => head.max(HANGING),
    };
    let mut lines = vec![head.to_string()];
    for word in unbreakable(sentence) {
        let is_first = lines.last().is_some_and(|line| line.trim().is_empty() || line.ends_with(' '));
        if !is_first && lines.last().is_some_and(|line| length(line) + 1 + length(&word) > width) {
            lines.push(" ".repeat(indent) + &word);
        } else if let Some(line) = lines.last_mut() {
            line.push_str(if is_first { "" } else { " " });
            line.push_str(&word);
        }
    }
    lines.join("\n") + end
}

/// Where the last column of a line begins.
fn start_of_sentence(line: &str) -> usize {
    line.trim_end().rfind("  ").map_or(line.len() - line.trim_start().len(), |gap| gap + 2)
}

/// Words, numbers with their units, and code between backticks.
fn unbreakable(sentence: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in sentence.split_whitespace() {
        let is_unit = word.starts_with(['%', '×']) || UNITS.contains(&word.trim_end_matches([',', ')', ';', ':']));
        let is_code = |last: &String| last.matches('`').count() % 2 == 1 && length(last) < LONGEST_CODE;
        match words.last_mut().filter(|last| is_unit || is_code(last)) {
            Some(last) => *last += &format!(" {word}"),
            None => words.push(word.into()),
        }
    }
    words
}

/// Sentences in one line each that the text itself has broken to its own width, under the column that they begin in.
fn unbroken(text: &str) -> String {
    let mut whole = String::new();
    let (mut column, mut last) = (0, 0);
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let first_word = line.split_whitespace().next().map_or(0, length);
        let is_under = indent == column.max(HANGING) && (column == 0 || column >= BROKEN_FROM);
        let follows = is_under && last + 1 + first_word > TEXT_WIDTH;
        if follows {
            whole.truncate(whole.trim_end().len());
            whole.push(' ');
            whole += line.trim_start();
        } else {
            whole += line;
            column = length(&line[..start_of_sentence(line)]);
        }
        last = length(line);
    }
    whole
}

/// Whether a line is to be copied: the terminal itself breaks it, and forgets the break when it is copied.
fn is_command(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.iter().any(|word| word.starts_with("--")) && !line.contains(['`', ':', ';'])
}

/// Rows that belong together.
fn table(rows: &[&str], width: usize) -> String {
    let rows: Vec<String> = rows.iter().map(|row| row.trim_end_matches('\n').to_string()).collect();
    // A column of sentences is wrapped instead.
    let is_sentence = |row: &String| row[start_of_sentence(row)..].split_whitespace().count() > 5;
    let narrow = if rows.iter().any(is_sentence) { rows.clone() } else { narrowed(&rows, width) };
    let rows = if fits(&narrow, width, 1) { narrow } else { rows };
    let cells = bar_cells(&rows, width);
    let fitted = rows.iter().map(|row| if has_bar(row) { with_bar(row, cells) } else { wrapped(row, width) });
    fitted.collect::<Vec<_>>().join("\n")
}

/// Rows with fewer blanks between their columns, as few as it takes.
fn narrowed(rows: &[String], width: usize) -> Vec<String> {
    let mut rows = rows.to_vec();
    while !fits(&rows, width, WORTHWHILE_BAR) {
        let Some(column) = spare_column(&rows) else { break };
        for row in &mut rows {
            *row = row.chars().enumerate().filter(|(place, _)| *place != column).map(|(_, letter)| letter).collect();
        }
    }
    rows
}

/// Whether all rows fit, with bars of so many cells.
fn fits(rows: &[String], width: usize, cells: usize) -> bool {
    let is_wide = |row: &String| !has_bar(row) && length(row) > width;
    bar_cells(rows, width) >= cells && !rows.iter().any(is_wide)
}

/// The last blank column with another beside it in all rows, or at the left edge.
fn spare_column(rows: &[String]) -> Option<usize> {
    let letters: Vec<Vec<char>> = rows.iter().map(|row| row.chars().collect()).collect();
    // The last column has no end of its own.
    let columns = letters.iter().map(Vec::len).min()?;
    let is_blank = |column: usize| letters.iter().all(|row| row[column] == ' ');
    (0..columns).rev().find(|&column| is_blank(column) && (column == 0 || is_blank(column - 1)))
}

/// The cells that a whole bar may have, so that each row with a bar fits.
fn bar_cells(rows: &[String], width: usize) -> usize {
    let fits = |cells: usize| rows.iter().filter(|row| has_bar(row)).all(|row| length(&with_bar(row, cells)) <= width);
    (1..=BAR).rev().find(|&cells| fits(cells)).unwrap_or(1)
}

/// A row whose bar has its share of fewer cells.
fn with_bar(row: &str, cells: usize) -> String {
    let Some(start) = row.find(EIGHTHS).filter(|_| cells < BAR) else { return row.into() };
    let end = row[start..].find(|letter| !EIGHTHS.contains(&letter)).map_or(row.len(), |end| start + end);
    let eighths = |letter: char| {
        EIGHTHS.iter().position(|one| *one == letter).map_or(0, |place| if place == 0 { 8 } else { place })
    };
    let all: usize = row[start..end].chars().map(eighths).sum();
    // What had a bar keeps one.
    let kept = (all * cells).div_ceil(BAR).max(1);
    let part = if kept.is_multiple_of(8) { String::new() } else { EIGHTHS[kept % 8].to_string() };
    format!("{}{}{part}{}", &row[..start], "█".repeat(kept / 8), &row[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: &str = " boundary      loss  gain kept        size
        0    6.3950          —         0 B  █▎ lowest
        5    6.5210     12.0 %    36.2 KiB  ████████████████████████████████ ◀ chosen
        6    6.4598    100.0 %    43.5 KiB  █████████████████▏
";

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let text = "one sentence\n\n  indented, of words\n";
        assert_eq!(fit(text, 60), text);
        assert_eq!(fit(CURVE, 100), CURVE);
        assert_eq!(fit("", 60), "");
        assert_eq!(fit("no end", 60), "no end");
    }

    #[test]
    fn tables_fit_with_bars_in_proportion() {
        for width in [60, 70, 80] {
            let fitted = fit(CURVE, width);
            assert!(widest(&fitted) <= width, "{width}: {fitted}");
            assert_eq!(fitted.lines().count(), CURVE.lines().count(), "{fitted}");
            let cells = |line: usize| fitted.lines().nth(line).unwrap().matches('█').count();
            assert!(cells(2) >= 14 && cells(2).abs_diff(2 * cells(3)) <= 2, "{fitted}");
            assert!(fitted.contains("◀ chosen") && fitted.contains("gain kept"), "{fitted}");
        }
    }

    #[test]
    fn sentences_are_wrapped_between_words() {
        let text = "error: `a-path-that-is-rather-long/with/many/parts` is a sentence of many words, and longer than a line\nhint: short\n";
        let fitted = fit(text, 60);
        assert!(widest(&fitted) <= 60, "{fitted}");
        let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        assert_eq!(words(&fitted), words(text));
        assert!(fitted.contains("\n    ") && fitted.ends_with("\nhint: short\n"), "{fitted}");
        let path = format!("{}\n", "x".repeat(90));
        assert_eq!(fit(&path, 60), path, "a word is never broken");
    }

    #[test]
    fn a_column_of_sentences_is_wrapped_behind_the_others() {
        let row = "vLLM            differs   it computes something else, for a reason that takes more words than a line has\n";
        let fitted = fit(row, 60);
        assert!(widest(&fitted) <= 60 && fitted.starts_with("vLLM            differs   it computes"), "{fitted}");
        assert!(fitted.lines().skip(1).all(|line| line.starts_with(&" ".repeat(26))), "{fitted}");
    }

    #[test]
    fn what_the_text_broke_itself_is_broken_anew() {
        let row = format!("vLLM            differs   {}\n{}more words\n", "word ".repeat(14).trim(), " ".repeat(26));
        let long = row.replace("word\n", "words-until-100\n");
        assert_eq!(unbroken(&row), row, "the first line had room for the word");
        assert_eq!(unbroken(&long).lines().count(), 1, "{long}");
        assert!(widest(&fit(&long, 70)) <= 70 && fit(&long, 120) == long);
    }

    #[test]
    fn a_hanging_sentence_and_code_are_broken_anew() {
        let text = "loads in PEFT, transformers, vLLM, SGLang, TensorRT-LLM, llama.cpp, mistral.rs, and OpenVINO GenAI,\n    exllamav2\n";
        assert!(fit(text, 60).contains("OpenVINO GenAI, exllamav2\n"), "{}", fit(text, 60));
        let text = "computes something else in LoRAX, TGI, and Ollama (`--format gguf`)\n";
        assert!(fit(text, 60).contains("(`--format gguf`)"), "{}", fit(text, 60));
        let text = "\nhow likely the true tokens are behind each layer: base model o, whole adapter ●\n\n";
        assert!(widest(&fit(text, 60)) <= 60, "{}", fit(text, 60));
    }

    #[test]
    fn numbers_keep_their_units() {
        let text =
            " WARN correct tokens 0.0 % (base 0.0 %, whole adapter 12.5 %), answers 10.0 % (base 0.0 %, whole)\n";
        for width in 60..90 {
            let fitted = fit(text, width);
            assert!(widest(&fitted) <= width && fitted.starts_with(" WARN correct"), "{fitted}");
            assert!(fitted.lines().all(|line| !line.trim().starts_with('%')), "{fitted}");
        }
    }

    #[test]
    fn commands_are_left_to_the_terminal() {
        let command = format!(
            "  vllm serve base --enable-lora --max-lora-rank 8 {}\n",
            "--lora-target-modules q_proj ".repeat(3)
        );
        assert_eq!(fit(&command, 60), command);
    }
}

//! Colours of lines, by what they begin with or hold. The text says everything without them.

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();
const CHOSEN: Style = AnsiColor::Green.on_default().bold();

/// What a line begins with, which alone is coloured.
const BEGINNINGS: [(&str, Style); 9] = [
    ("error:", ERROR),
    ("ERROR ", ERROR),
    (" WARN ", WARNING),
    ("hint:", HINT),
    ("note:", HINT),
    ("gate passed:", CHOSEN),
    ("gate FAILED:", ERROR),
    ("verified:", CHOSEN),
    ("NOT verified:", ERROR),
];

/// What a line holds that is coloured as a whole: the mark of what is chosen.
const WHOLE: [(&str, Style); 1] = [("◀", CHOSEN)];

/// Adds the colours.
pub fn paint(text: &str) -> String {
    text.split_inclusive('\n').map(line).collect()
}

fn line(line: &str) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    if let Some((_, style)) = WHOLE.iter().find(|(mark, _)| text.contains(mark)) {
        return format!("{style}{text}{style:#}{end}");
    }
    match BEGINNINGS.iter().find_map(|(beginning, style)| Some((beginning, style, text.strip_prefix(beginning)?))) {
        Some((beginning, style, rest)) => format!("{style}{beginning}{style:#}{rest}{end}"),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_add_nothing_but_colours() {
        let text = " WARN few samples\nerror: `x`\n    3  0.5 █ ◀ chosen\nplain\n\nhint: none";
        let painted = paint(text);
        assert!(
            painted.contains("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m `x`\n") && painted.contains("\nplain\n\n"),
            "{painted:?}"
        );
        let mut rest = painted.as_str();
        let mut plain = String::new();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain += before;
            rest = after.split_once('m').unwrap().1;
        }
        assert_eq!(plain + rest, text);
    }
}

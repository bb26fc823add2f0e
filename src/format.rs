//! Numbers as people read them: sizes, times, shares, counts, lists of layers.

/// Characters of a bar at full length.
pub const BAR: usize = 32;

/// A bar of `share` (0 to 1) of the full length, in eighths of a character.
pub fn bar(share: f64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (BAR * 8) as f64).round() as usize;
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// A size for people: `4.7 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time for people: `1.5 s`, `12 min`, `3.4 h`.
pub fn duration(time: std::time::Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds < 90.0 => format!("{seconds:.1} s"),
        seconds if seconds < 5400.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// Layers as people write them: `0-13, 20`.
pub fn ranges(layers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &layer in layers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == layer => *end = layer,
            _ => runs.push((layer, layer)),
        }
    }
    let run = |&(from, to): &(usize, usize)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

/// What a boundary means for an adapter that has the upper layers alone, `None` for any other. Those with gaps are of hybrids, which
/// have a kind of module in some layers.
pub fn upper_layers(layers: &[usize]) -> Option<String> {
    let (first, last) = (*layers.first()?, *layers.last()?);
    let most = last - first;
    match most {
        _ if first == 0 || layers.len() != most + 1 => None,
        0 => Some(format!("the adapter has layer {first} alone: a boundary keeps all of it or nothing")),
        most => Some(format!(
            "the adapter has layers {first}-{last} alone: a boundary keeps the lower of these and drops at most {most}; `--search window` \
             also drops from below, and `cut --keep-layers` keeps any of them"
        )),
    }
}

/// A share with one digit behind the point: `97.6 %`.
pub fn percent_text(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A share in percent, without the digits that a product with 100 leaves behind.
pub fn percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// A scale for people: at most four digits behind the point.
pub fn scale(scale: f64) -> String {
    let text = format!("{scale:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The first names, and how many more there are: "`a`, `b` and 3 more".
pub fn first_names<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<String> = names.iter().take(most).map(|name| format!("`{}`", name.as_ref())).collect();
    match names.len().saturating_sub(most) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// All names, the last after a word: "a, b and c".
pub fn listed<S: AsRef<str>>(names: &[S], word: &str) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {word} {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// A count with its noun: `1 adapter`, `2 adapters`. The plural takes an s.
pub fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Reads a share from `least` to below 1: `0.02` or `2%`.
pub fn parse_share(text: &str, least: f64) -> Result<f64, String> {
    // Moving the point rather than dividing, so that 99.9 % is the same number as 0.999.
    let number = match text.strip_suffix('%') {
        Some(percent) => format!("{}e-2", percent.trim_end()),
        None => text.into(),
    };
    let share = number.parse().ok().filter(|share| (least..1.0).contains(share));
    share.ok_or_else(|| format!("`{text}` is not a share from {least} to below 1, such as 0.02 or 2%"))
}

/// A word of a command line, quoted if a shell would read it differently.
pub fn shell_word(word: &str) -> String {
    let is_plain = |word: &str| word.chars().all(|char| char.is_ascii_alphanumeric() || "/._-+@:=,~%".contains(char));
    if !word.is_empty() && is_plain(word) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ranges_are_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(9_823_216), "9.4 MiB");
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2, 5, 7-8");
        assert_eq!(bar(0.5), "█".repeat(BAR / 2));
    }

    #[test]
    fn shares_are_read_as_written() {
        for (text, share) in
            [("0.02", 0.02), ("2%", 0.02), ("2 %", 0.02), ("0", 0.0), ("99.9%", 0.999), ("1e-3", 1e-3), ("50%", 0.5)]
        {
            assert_eq!(parse_share(text, 0.0), Ok(share), "{text}");
        }
        for wrong in ["", "%", "2", "1", "100%", "-1%", "two", "NaN", "inf", "2%%"] {
            assert!(parse_share(wrong, 0.0).is_err(), "{wrong}");
        }
        assert!(parse_share("49%", 0.5).is_err());
    }

    #[test]
    fn one_has_no_plural() {
        assert_eq!([plural(0, "layer"), plural(1, "layer"), plural(2, "layer")], ["0 layers", "1 layer", "2 layers"]);
    }
}

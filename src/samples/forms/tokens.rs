//! Samples that are tokens already, as trainers save them: with labels or masks, padded, or several packed into a row.

use std::ops::Range;

use serde_json::Value;

use super::row::{Parsed, Problem, Row};
use crate::samples::SampleContent;

/// What labels have at tokens that are not scored.
const UNSCORED: i64 = -100;

/// Masks of the tokens that are scored, which count where there are no labels, as in TRL.
const MASKS: [&str; 3] = ["completion_mask", "assistant_masks", "loss_mask"];

/// Reads a row of tokens, which holds several samples if it is packed.
pub fn read(row: &mut Row, [column, _]: [&str; 2]) -> Parsed<Vec<SampleContent>> {
    let wrong = || "`input_ids` should be a list of token ids";
    let ids = row.numbers(column).map_err(|_| wrong())?.ok_or_else(wrong)?;
    let ids: Vec<u32> = ids.into_iter().map(|id| id.try_into().ok()).collect::<Option<_>>().ok_or_else(wrong)?;
    let scored = scored(row, &ids)?;
    let columns = Columns {
        mask: of_length(row, "attention_mask", ids.len())?,
        positions: of_length(row, "position_ids", ids.len())?,
    };
    if let Some(types) = of_length(row, "token_type_ids", ids.len())?
        && types.iter().any(|&kind| kind != types[0])
    {
        return Err(Problem::unsupported("token_type_ids", "tokens of several types are not supported"));
    }
    row.numbers("special_tokens_mask")?;
    refuse_numbers_of_tokens(row, ids.len())?;
    let pieces = pieces(row, &columns, &scored)?;
    let is_packed = pieces.len() > 1;
    let mut contents = Vec::new();
    for piece in pieces {
        // The first token of a sample is never scored: it follows nothing.
        if is_packed && !scored[piece.clone()].iter().skip(1).any(|&scored| scored) {
            row.remarks.leave_out("that are parts of packed rows and have no scored token");
            continue;
        }
        contents.push(SampleContent::Tokens { ids: ids[piece.clone()].into(), scored: scored[piece].into() });
    }
    Ok(contents)
}

/// Columns with a number for each token.
struct Columns {
    mask: Option<Vec<i64>>,
    positions: Option<Vec<i64>>,
}

/// Refuses a column that nobody knows and that says something of each token.
fn refuse_numbers_of_tokens(row: &Row, tokens: usize) -> Parsed<()> {
    let is_number = |item: &Value| item.is_number() || item.is_boolean();
    let says_something = |items: &Vec<Value>| tokens > 1 && items.len() == tokens && items.iter().all(is_number);
    for column in row.unread() {
        if row.peek(column).and_then(Value::as_array).is_some_and(says_something) {
            return Err(Problem::unsupported(column, "it has a number for each token, and none of this name is known"));
        }
    }
    Ok(())
}

/// Numbers, one for each token.
fn of_length(row: &Row, name: &str, tokens: usize) -> Parsed<Option<Vec<i64>>> {
    let numbers = row.numbers(name)?;
    match &numbers {
        Some(numbers) if numbers.len() != tokens => Err(format!("`{name}` and `input_ids` differ in length").into()),
        _ => Ok(numbers),
    }
}

/// Whether each token is scored: by `labels`, else by masks, else all are.
fn scored(row: &mut Row, ids: &[u32]) -> Parsed<Vec<bool>> {
    let mut masked = None;
    for name in MASKS {
        let Some(mask) = of_length(row, name, ids.len())? else { continue };
        if mask.iter().any(|&mark| mark != 0 && mark != 1) {
            return Err(Problem::unsupported(name, "a token is scored or not: 0 or 1"));
        }
        let all = masked.get_or_insert_with(|| vec![true; ids.len()]);
        all.iter_mut().zip(mask).for_each(|(all, mark)| *all &= mark == 1);
    }
    let is_scored = |(&label, &id): (&i64, &u32)| match label {
        UNSCORED => Ok(false),
        label if label == i64::from(id) => Ok(true),
        _ => Err("each label should be -100 or the token id at its place"),
    };
    let Some(labels) = row.numbers("labels").map_err(|_| "`labels` should be a list")? else {
        return Ok(masked.unwrap_or_else(|| vec![true; ids.len()]));
    };
    if labels.len() != ids.len() {
        return Err("`labels` and `input_ids` differ in length".into());
    }
    let scored = labels.iter().zip(ids).map(is_scored).collect::<Result<Vec<_>, _>>()?;
    if masked.is_some_and(|masked| masked != scored) {
        row.remarks.say("where a mask of the scored tokens differs from `labels`, the labels count, as in TRL");
    }
    Ok(scored)
}

/// The samples of a row, as ranges of its tokens: without padding, and split where a row is packed.
fn pieces(row: &Row, columns: &Columns, scored: &[bool]) -> Parsed<Vec<Range<usize>>> {
    let tokens = scored.len();
    let mut pieces = match &columns.mask {
        Some(mask) => unmasked(mask, scored)?,
        None => std::iter::once(0..tokens).collect(),
    };
    if let Some(lengths) = row.numbers("seq_lengths")? {
        pieces = split_at_lengths(&pieces, &lengths)?;
    }
    if let Some(positions) = &columns.positions {
        pieces = split_at_zeros(&pieces, positions)?;
    }
    Ok(pieces)
}

/// Runs of tokens with the same mask: 0 is padding, which has no place inside a sample; Axolotl numbers the samples of a packed row
/// from 1.
fn unmasked(mask: &[i64], scored: &[bool]) -> Parsed<Vec<Range<usize>>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut seen = Vec::new();
    let mut start = 0;
    for run in mask.chunk_by(|one, other| one == other) {
        let piece = start..start + run.len();
        start = piece.end;
        if run[0] == 0 {
            // Without labels everything is scored, padding too.
            let is_scored = scored[piece.clone()].iter().any(|&scored| scored) && !scored.iter().all(|&scored| scored);
            if is_scored {
                return Err("a token that `attention_mask` hides is scored".into());
            }
            continue;
        }
        if run[0] < 0 || seen.last().is_some_and(|&last| run[0] <= last) {
            let reason = "it hides tokens inside a sample, and only padding at the ends is supported";
            return Err(Problem::unsupported("attention_mask", reason));
        }
        seen.push(run[0]);
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Splits rows at the lengths of their samples.
fn split_at_lengths(pieces: &[Range<usize>], lengths: &[i64]) -> Parsed<Vec<Range<usize>>> {
    let wrong = || "`seq_lengths` should add up to the number of tokens";
    let [row] = pieces else {
        return Err(Problem::unsupported("seq_lengths", "the row is already split by `attention_mask`"));
    };
    let mut split = Vec::new();
    let mut start = row.start;
    for &length in lengths {
        let length = usize::try_from(length).map_err(|_| wrong())?;
        let end = start.checked_add(length).filter(|end| *end <= row.end).ok_or_else(wrong)?;
        split.extend((length > 0).then_some(start..end));
        start = end;
    }
    if start == row.end { Ok(split) } else { Err(wrong().into()) }
}

/// Splits rows where positions start at 0 again. Other positions than 0, 1, 2 … are not supported.
fn split_at_zeros(pieces: &[Range<usize>], positions: &[i64]) -> Parsed<Vec<Range<usize>>> {
    let mut split = Vec::new();
    for piece in pieces {
        let mut start = piece.start;
        for place in piece.clone() {
            if positions[place] == 0 && place > start {
                split.push(start..place);
                start = place;
            }
            if positions[place] != (place - start) as i64 {
                let reason = "only positions that count from 0, or start at 0 again, are supported";
                return Err(Problem::unsupported("position_ids", reason));
            }
        }
        split.extend((start < piece.end).then_some(start..piece.end));
    }
    Ok(split)
}

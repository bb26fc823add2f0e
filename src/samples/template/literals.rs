//! The literals of a template's expressions: numbers, and the escapes of strings.

use super::lexer::{Lexed, Token};

/// A number as Python's lexer of templates reads it, and its length.
pub fn number(text: &str, after_dot: bool) -> Lexed<(Token, usize)> {
    let digits = |text: &str, radix: u32| {
        let mut end = 0;
        for (at, character) in text.char_indices() {
            let digit = character.is_digit(radix);
            let joins = character == '_' && text[at + 1..].chars().next().is_some_and(|next| next.is_digit(radix));
            if !digit && !joins {
                break;
            }
            end = at + 1;
        }
        end
    };
    let whole = digits(text, 10);
    if !after_dot {
        let fraction = text[whole..].strip_prefix('.').map_or(0, |rest| match digits(rest, 10) {
            0 => 0,
            _ if rest.starts_with('_') => 0,
            length => length + 1,
        });
        let tail = &text[whole + fraction..];
        let exponent = tail.strip_prefix(['e', 'E']).map_or(0, |rest| {
            let sign = usize::from(rest.starts_with(['+', '-']));
            match digits(&rest[sign..], 10) {
                0 => 0,
                _ if rest[sign..].starts_with('_') => 0,
                length => 1 + sign + length,
            }
        });
        if fraction + exponent > 0 {
            let length = whole + fraction + exponent;
            let value: f64 =
                text[..length].replace('_', "").parse().map_err(|_| "a number is malformed".to_string())?;
            return Ok((Token::Float(value), length));
        }
    }
    let prefixed = [("0b", 2), ("0o", 8), ("0x", 16)];
    let lower = text.get(..2).map(str::to_ascii_lowercase);
    let radix = prefixed.iter().find(|(prefix, radix)| {
        lower.as_deref() == Some(prefix) && digits(text[2..].strip_prefix('_').unwrap_or(&text[2..]), *radix) > 0
    });
    let (value, length) = match radix {
        Some(&(_, radix)) => {
            let skipped = 2 + usize::from(text[2..].starts_with('_'));
            let length = skipped + digits(&text[skipped..], radix);
            (i128::from_str_radix(&text[2..length].replace('_', ""), radix), length)
        }
        None if text.starts_with('0') => {
            let zeros = text.find(|character| character != '0' && character != '_').unwrap_or(text.len());
            (Ok(0), text[..zeros].trim_end_matches('_').len())
        }
        None => (text[..whole].replace('_', "").parse(), whole),
    };
    Ok((Token::Int(value.map_err(|_| "an integer is too large".to_string())?), length))
}

/// The escapes of Python's string literals.
pub fn unescape(text: &str) -> Lexed<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let Some(escape) = rest[at + 1..].chars().next() else { return Err("a string ends with a backslash".into()) };
        rest = &rest[at + 1 + escape.len_utf8()..];
        let hex = |digits: usize| {
            let code = rest.get(..digits).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
            let character = code.and_then(char::from_u32);
            character
                .ok_or_else(|| format!("the escape `\\{escape}` is malformed or no character"))
                .map(|c| (c, digits))
        };
        let (character, length) = match escape {
            '\n' => continue,
            'n' => ('\n', 0),
            't' => ('\t', 0),
            'r' => ('\r', 0),
            'a' => ('\x07', 0),
            'b' => ('\x08', 0),
            'f' => ('\x0c', 0),
            'v' => ('\x0b', 0),
            '\\' | '\'' | '"' => (escape, 0),
            'x' => hex(2)?,
            'u' => hex(4)?,
            'U' => hex(8)?,
            'N' => return Err("the escape `\\N` is not supported".into()),
            '0'..='7' => {
                let more = rest.bytes().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let code = u32::from_str_radix(&format!("{escape}{}", &rest[..more]), 8).ok();
                (code.and_then(char::from_u32).ok_or("an octal escape is malformed")?, more)
            }
            // Python keeps the backslash of an escape that it does not know.
            other => {
                out.push('\\');
                (other, 0)
            }
        };
        out.push(character);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Ok(out)
}

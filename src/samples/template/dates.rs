//! `strftime_now`: a day in a template's own format.

use super::fuel::{Evaluated, Fuel};

/// A day of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: i32,
    month: u32,
    day: u32,
}

/// The day that templates see unless another is asked for. With today's, a loss would depend on the day it was computed. It is the
/// day that Llama 3.2's template names where it is given none.
impl Default for Date {
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn is_leap(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i32, month: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl std::str::FromStr for Date {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return None };
            let digits =
                |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
                return None;
            }
            let date = Self { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? };
            let exists = date.year > 0
                && (1..=12).contains(&date.month)
                && (1..=days_in(date.year, date.month)).contains(&date.day);
            exists.then_some(date)
        };
        parse().ok_or_else(|| format!("`{text}` is no day: write it as 2024-07-26"))
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Date {
    /// The number of the day in its year, from 1.
    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_in(self.year, month)).sum::<u32>() + self.day
    }

    /// The day of the week, from Sunday, which is 0.
    fn weekday(self) -> usize {
        let before = self.year - 1;
        let days = 365 * before + before / 4 - before / 100 + before / 400 + self.day_of_year() as i32;
        usize::try_from(days.rem_euclid(7)).unwrap_or_default()
    }

    /// C's `strftime` at midnight in the C locale. What depends on a time zone, a locale or the week is refused.
    pub fn format(self, format: &str, fuel: &Fuel) -> Evaluated<String> {
        fuel.spend(format.len())?;
        let mut out = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            let directive = characters.next().unwrap_or('%');
            let (flag, directive) = match directive {
                '-' => ('-', characters.next().unwrap_or('%')),
                directive => (' ', directive),
            };
            let part = self.directive(directive)?;
            match flag {
                // GNU's flag against zeros before a number.
                '-' if part.bytes().all(|byte| byte.is_ascii_digit()) => {
                    let number = part.trim_start_matches('0');
                    out.push_str(if number.is_empty() { "0" } else { number });
                }
                _ => out.push_str(&part),
            }
        }
        Ok(out)
    }

    fn directive(self, directive: char) -> Evaluated<String> {
        let Self { year, month, day } = self;
        let day_name = DAYS[self.weekday()];
        let month_name = MONTHS[month as usize - 1];
        Ok(match directive {
            'Y' => format!("{year}"),
            'y' => format!("{:02}", year % 100),
            'C' => format!("{:02}", year / 100),
            'm' => format!("{month:02}"),
            'd' => format!("{day:02}"),
            'e' => format!("{day:2}"),
            'B' => month_name.into(),
            'b' | 'h' => month_name[..3].into(),
            'A' => day_name.into(),
            'a' => day_name[..3].into(),
            'j' => format!("{:03}", self.day_of_year()),
            'w' => self.weekday().to_string(),
            'u' => (if self.weekday() == 0 { 7 } else { self.weekday() }).to_string(),
            'F' => format!("{year}-{month:02}-{day:02}"),
            'D' | 'x' => format!("{month:02}/{day:02}/{:02}", year % 100),
            'H' | 'M' | 'S' => "00".into(),
            'I' => "12".into(),
            'p' => "AM".into(),
            'f' => "000000".into(),
            'T' | 'X' => "00:00:00".into(),
            'R' => "00:00".into(),
            'c' => format!("{} {} {day:2} 00:00:00 {year}", &day_name[..3], &month_name[..3]),
            'Z' | 'z' => String::new(),
            'n' => "\n".into(),
            't' => "\t".into(),
            '%' => "%".into(),
            other => return Err(format!("`strftime_now` does not know `%{other}`")),
        })
    }
}

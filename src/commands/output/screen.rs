//! What a stream leads to: how wide it is and whether it takes colours. Only a terminal has a width.

use std::io::{self, IsTerminal};

use anstream::{AutoStream, ColorChoice};

use super::{fit, paint};

/// The narrowest terminal that lines are fitted to.
const NARROWEST: usize = 60;

/// Where lines appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Screen {
    /// Columns, if it is a terminal.
    pub width: Option<usize>,
    /// As `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` say, and else on terminals.
    pub has_colours: bool,
}

impl Screen {
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let width = terminal_size::terminal_size_of(&stdout).filter(|_| stdout.is_terminal());
        Self::of(width, AutoStream::choice(&stdout))
    }

    pub fn of_stderr() -> Self {
        let stderr = io::stderr();
        let width = terminal_size::terminal_size_of(&stderr).filter(|_| stderr.is_terminal());
        Self::of(width, AutoStream::choice(&stderr))
    }

    fn of(size: Option<(terminal_size::Width, terminal_size::Height)>, colours: ColorChoice) -> Self {
        let width = size.map(|(width, _)| usize::from(width.0)).filter(|&width| width > 0);
        Self { width: width.map(|width| width.max(NARROWEST)), has_colours: colours != ColorChoice::Never }
    }

    /// Lines as they appear here: the same, unless this is a terminal or colours are forced.
    pub fn show(self, text: &str) -> String {
        let fitted = self.width.map_or_else(|| text.to_string(), |width| fit::fit(text, width));
        if self.has_colours { paint::paint(&fitted) } else { fitted }
    }
}

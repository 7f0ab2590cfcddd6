//! What is written to: how wide it is, whether it takes colours, what time it is there. Writes
//! nothing itself.

use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use jiff::tz::TimeZone;

/// The place that people read.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// Columns, of a terminal; lines are not cut otherwise.
    pub(crate) width: Option<usize>,
    /// Whether a person looks at it now, and not a program.
    pub(crate) is_terminal: bool,
    /// Whether colours are wanted.
    pub(crate) colors: bool,
    /// The present moment.
    pub(crate) now: Timestamp,
    /// Where the person is.
    pub(crate) zone: TimeZone,
}

/// What a piece of text is, as shown by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As the rest.
    Plain,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// At work.
    Busy,
    /// Needs attention.
    Warn,
}

impl Tone {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Dim => Style::new().dimmed(),
            Self::Bold => Style::new().bold(),
            Self::Good => color(AnsiColor::Green),
            Self::Bad => color(AnsiColor::Red),
            Self::Busy => color(AnsiColor::Cyan),
            Self::Warn => color(AnsiColor::Yellow),
        }
    }
}

/// The tone of a state.
pub(crate) fn state_tone(status: Status) -> Tone {
    match status {
        Status::Completed => Tone::Good,
        Status::Failed => Tone::Bad,
        Status::Cancelled => Tone::Warn,
        Status::Running | Status::Dispatching | Status::Starting | Status::Postprocessing => {
            Tone::Busy
        }
        Status::NewObject | Status::PendingReuse | Status::PendingReplacement => Tone::Dim,
    }
}

impl Screen {
    /// The standard output of this process. Colours, if not asked for, are for terminals that
    /// take them, and for nobody who has set `NO_COLOR`.
    pub(crate) fn of_stdout(color: ColorChoice, now: Timestamp) -> Self {
        let out = std::io::stdout();
        let is_terminal = out.is_terminal();
        let columns = terminal_size::terminal_size_of(&out).map(|(width, _)| usize::from(width.0));
        let width = is_terminal.then(|| columns.filter(|width| *width > 0).unwrap_or(80));
        let zone = if is_terminal { TimeZone::system() } else { TimeZone::UTC };
        Self { width, is_terminal, colors: wants_colors(color, is_terminal), now, zone }
    }

    /// A text in its tone.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        match (self.colors, tone) {
            (false, _) | (true, Tone::Plain) => text.to_owned(),
            (true, tone) => {
                let style = tone.style();
                format!("{style}{text}{style:#}")
            }
        }
    }

    /// A state in its colour.
    pub(crate) fn status(&self, status: Status) -> String {
        self.paint(state_tone(status), status.as_str())
    }
}

fn wants_colors(color: ColorChoice, is_terminal: bool) -> bool {
    let forbidden = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let able = || std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal && able() && !forbidden(),
    }
}

#[cfg(test)]
impl Screen {
    /// A terminal at a fixed time, without colours.
    pub(crate) fn for_tests(width: usize) -> Self {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let zone = TimeZone::UTC;
        Self { width: Some(width), is_terminal: true, colors: false, now, zone }
    }

    /// A pipe at the same time.
    pub(crate) fn pipe() -> Self {
        Self { width: None, is_terminal: false, ..Self::for_tests(80) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_as_they_were_asked_for() {
        assert!(wants_colors(ColorChoice::Always, false));
        assert!(!wants_colors(ColorChoice::Never, true));
        assert!(!wants_colors(ColorChoice::Auto, false));
        let screen = Screen { colors: true, ..Screen::for_tests(80) };
        assert_eq!(screen.status(Status::Failed), "\u{1b}[31mFAILED\u{1b}[0m");
        assert_eq!(Screen::for_tests(80).status(Status::Failed), "FAILED");
    }
}

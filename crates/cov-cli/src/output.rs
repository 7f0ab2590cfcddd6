//! What commands say, and the two forms in which it is shown: text for people and JSON for
//! programs. Decides nothing.

mod screen;
mod server;
mod table;
pub(crate) mod units;

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

pub(crate) use self::screen::{Screen, Tone, state_tone};
pub(crate) use self::server::{
    AlreadyRunning, BackedUp, NotRunning, Purged, Restored, Running, Started, Stopped, Version,
};
pub(crate) use self::table::{Cell, Table};

use crate::error::Error;

/// Something that a command has to say. As JSON it is one object, with `event` as its first
/// member; its shape changes only by further members.
pub(crate) trait Report: Serialize {
    /// The name of its kind.
    const EVENT: &'static str;

    /// For people: lines without the last line break.
    fn text(&self, screen: &Screen) -> String;
}

#[derive(Serialize)]
struct Tagged<'a, T> {
    event: &'static str,
    #[serde(flatten)]
    report: &'a T,
}

/// Shows reports on the standard output.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    screen: Screen,
}

impl Printer {
    pub(crate) fn new(json: bool, screen: Screen) -> Self {
        Self { json, screen }
    }

    /// Shows a report.
    pub(crate) fn print<T: Report>(&self, report: &T) -> Result<(), Error> {
        let text = match self.json {
            true => json_line(report)?,
            false => report.text(&self.screen),
        };
        match text.is_empty() {
            true => Ok(()),
            false => self.raw(format!("{text}\n").as_bytes()),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::Output)
    }

    /// Tells a person something beside the output. Nothing that reads the output sees it.
    pub(crate) fn aside(&self, text: &str) {
        if !self.json && io::stderr().is_terminal() {
            // Nobody is left to tell if the error stream is closed.
            writeln!(io::stderr(), "{}", self.screen.paint(Tone::Dim, text)).ok();
        }
    }

    /// Whether data is wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// What is written to.
    pub(crate) fn screen(&self) -> &Screen {
        &self.screen
    }
}

/// A report as JSON, in one line.
pub(crate) fn json_line<T: Report>(report: &T) -> Result<String, Error> {
    let tagged = Tagged { event: T::EVENT, report };
    serde_json::to_string(&tagged).map_err(|error| Error::Output(error.into()))
}

/// Chooses how errors are shown: lines are not broken, so that paths and commands can be copied.
pub(crate) fn prepare(color: Option<bool>) {
    let chosen = miette::set_hook(Box::new(move |_| {
        let options = miette::MietteHandlerOpts::new().wrap_lines(false).terminal_links(false);
        let options = match color {
            Some(color) => options.color(color),
            None => options,
        };
        Box::new(options.build())
    }));
    debug_assert!(chosen.is_ok(), "nobody chose before");
}

//! Tokens and the audit, for people.

use cov_client::{AuditEntry, NewToken, Token};
use cov_core::time::Timestamp;
use serde::Serialize;

use crate::output::units::{count, moment};
use crate::output::{Cell, Report, Screen, Table, Tone};

/// A token that was made, alone on its line, so that a shell can take it.
#[derive(Debug, Serialize)]
pub(crate) struct MadeToken {
    #[serde(flatten)]
    pub(crate) made: NewToken,
}

impl Report for MadeToken {
    const EVENT: &'static str = "token_made";

    fn text(&self, _: &Screen) -> String {
        self.made.secret.clone()
    }
}

/// A token that is not valid any more.
#[derive(Debug, Serialize)]
pub(crate) struct RevokedToken {
    #[serde(flatten)]
    pub(crate) token: Token,
}

impl Report for RevokedToken {
    const EVENT: &'static str = "token_revoked";

    fn text(&self, _: &Screen) -> String {
        format!("token {} is revoked", self.token.name)
    }
}

/// All tokens.
#[derive(Debug, Serialize)]
pub(crate) struct TokenList {
    pub(crate) tokens: Vec<Token>,
}

impl Report for TokenList {
    const EVENT: &'static str = "tokens";

    fn text(&self, screen: &Screen) -> String {
        if self.tokens.is_empty() {
            return "there are no tokens; `cov token create NAME` makes one".to_owned();
        }
        let mut table = Table::new(["NAME", "SCOPE", "MADE", "EXPIRES", "REVOKED"]);
        for token in &self.tokens {
            let time = |at: Option<Timestamp>| {
                let text = at.map_or_else(|| "–".to_owned(), |at| moment(at, screen));
                Cell::new(text)
            };
            let made = token.rotated_at.unwrap_or(token.created_at);
            let tone = if token.revoked_at.is_some() { Tone::Dim } else { Tone::Plain };
            table.row([
                Cell::new(token.name.as_str()).tone(tone),
                Cell::new(token.scope.as_str()).tone(tone),
                time(Some(made)).tone(tone),
                time(token.expires_at).tone(tone),
                time(token.revoked_at).tone(tone),
            ]);
        }
        table.text(screen)
    }
}

/// A part of the audit.
#[derive(Debug, Serialize)]
pub(crate) struct AuditRows {
    pub(crate) entries: Vec<AuditEntry>,
    /// There are older ones.
    pub(crate) more: bool,
}

impl Report for AuditRows {
    const EVENT: &'static str = "audit";

    fn text(&self, screen: &Screen) -> String {
        let mut table = Table::new(["WHEN", "WHO", "FROM", "WHAT", "ABOUT", "ANSWER"]).flexible(4);
        for entry in &self.entries {
            let status = entry.status.map_or_else(|| "–".to_owned(), |status| status.to_string());
            table.row([
                Cell::new(moment(entry.at, screen)),
                Cell::new(entry.who.as_str()),
                Cell::new(entry.origin.as_str()),
                Cell::new(entry.action.as_str()),
                Cell::new(entry.target.as_str()),
                Cell::new(status).right(),
            ]);
        }
        let mut text = table.text(screen);
        if self.more {
            let said = "\n\nThere are older rows; -n shows more of them.";
            text.push_str(&screen.paint(Tone::Dim, said));
        }
        text
    }
}

/// How many rows were removed.
#[derive(Debug, Serialize)]
pub(crate) struct AuditPurged {
    pub(crate) entries: u64,
}

impl Report for AuditPurged {
    const EVENT: &'static str = "audit_purged";

    fn text(&self, _: &Screen) -> String {
        let rows = usize::try_from(self.entries).unwrap_or(usize::MAX);
        format!("{} removed", count(rows, "row"))
    }
}

//! What can be asked about triggers, and done to them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Subcommand};

use super::values::age;

/// What can be done with triggers. TRIGGER is an id or the beginning of one.
#[derive(Debug, Subcommand)]
pub(crate) enum Triggers {
    /// List triggers, newest first
    Ls(TriggersLs),
    /// Show one trigger with its settings
    Show(Of),
    /// Show what a trigger has decided, latest first: why it fired, and why it did not
    History(History),
    /// Register a trigger of a dispatch: it starts the dispatch if it never ran, and later ones of
    /// the same workflow
    Add(Add),
    /// Let a trigger fire no more until it is resumed
    Pause(Pause),
    /// Let a paused trigger go on
    Resume(Of),
    /// Fire by hand
    Fire(Fire),
    /// Remove a trigger with its history
    Rm(Of),
    /// Show when a trigger is due next
    Next(Next),
    /// Look at what a trigger watches, and say what would fire; fires nothing
    Test(Of),
}

/// Which triggers to list.
#[derive(Debug, ClapArgs)]
pub(crate) struct TriggersLs {
    /// Only those of this dispatch
    #[arg(long, short, value_name = "DISPATCH")]
    pub(crate) dispatch: Option<String>,
    /// Only those in this state
    #[arg(long, short, value_name = "STATE", value_parser = ["active", "paused", "stopped"])]
    pub(crate) state: Option<String>,
    /// How many to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
}

/// A trigger.
#[derive(Debug, ClapArgs)]
pub(crate) struct Of {
    /// The trigger
    #[arg(value_name = "TRIGGER")]
    pub(crate) trigger: String,
}

/// Which part of a history.
#[derive(Debug, ClapArgs)]
pub(crate) struct History {
    /// The trigger
    #[arg(value_name = "TRIGGER")]
    pub(crate) trigger: String,
    /// How many decisions to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}

/// A trigger to be registered.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("what").required(true).args(["every", "cron", "dir", "webhook", "file"]))]
pub(crate) struct Add {
    /// The dispatch
    #[arg(value_name = "DISPATCH")]
    pub(crate) dispatch: String,
    /// Fire this often, such as 90s, 15min, 12h or 1d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) every: Option<Duration>,
    /// Fire by this pattern of minute, hour, day, month and weekday, such as "30 2 * * MON-FRI"
    #[arg(long, value_name = "PATTERN")]
    pub(crate) cron: Option<String>,
    /// The zone of --cron, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub(crate) zone: Option<String>,
    /// Fire when files are made or changed below this folder of the server's machine
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
    /// With --dir: the events that fire [default: created,modified]
    #[arg(long, value_name = "EVENTS", requires = "dir", value_delimiter = ',',
          value_parser = ["created", "modified", "deleted", "moved", "closed"])]
    pub(crate) events: Vec<String>,
    /// Fire when its address is called
    #[arg(long)]
    pub(crate) webhook: bool,
    /// A dictionary in JSON, as a trigger's `to_dict` makes it; `-` for the standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A further field, such as overlap=skip or catch_up=last; may be repeated
    #[arg(long = "set", value_name = "FIELD=VALUE", value_parser = field)]
    pub(crate) fields: Vec<(String, serde_json::Value)>,
}

/// A name and its value: JSON, or else a text.
fn field(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("give a name and a value: FIELD=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_error| value.into());
    Ok((name.to_owned(), value))
}

/// What to pause, and why.
#[derive(Debug, ClapArgs)]
pub(crate) struct Pause {
    /// The trigger
    #[arg(value_name = "TRIGGER")]
    pub(crate) trigger: String,
    /// Why, for people
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) note: Option<String>,
}

/// What to fire.
#[derive(Debug, ClapArgs)]
pub(crate) struct Fire {
    /// The trigger
    #[arg(value_name = "TRIGGER")]
    pub(crate) trigger: String,
    /// Names the event: the same one fires once
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

/// Which ticks to show.
#[derive(Debug, ClapArgs)]
pub(crate) struct Next {
    /// The trigger
    #[arg(value_name = "TRIGGER")]
    pub(crate) trigger: String,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5)]
    pub(crate) count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_json_or_else_texts() {
        assert_eq!(field("jitter=2.5"), Ok(("jitter".into(), 2.5.into())));
        assert_eq!(field("overlap=skip"), Ok(("overlap".into(), "skip".into())));
        assert_eq!(field("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(field("overlap").is_err());
    }
}

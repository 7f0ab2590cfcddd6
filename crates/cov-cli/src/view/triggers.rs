//! Triggers: lists, one with its settings, what it has decided, when it is due.

use cov_client::{Decision, Trigger};
use cov_core::time::Timestamp;
use cov_core::trigger::{Outcome, TriggerId, TriggerState};
use serde::Serialize;
use serde_json::Value;

use super::{id_chars, short};
use crate::output::units::{duration, moment, time};
use crate::output::{Cell, Report, Screen, Table, Tone};

/// Some triggers.
#[derive(Debug, Serialize)]
pub(crate) struct TriggerListing {
    pub(crate) triggers: Vec<Trigger>,
    /// There are more.
    pub(crate) more: bool,
    /// Not all triggers were asked for.
    #[serde(skip)]
    pub(crate) filtered: bool,
}

impl Report for TriggerListing {
    const EVENT: &'static str = "triggers";

    fn text(&self, screen: &Screen) -> String {
        if self.triggers.is_empty() {
            return if screen.is_terminal {
                match self.filtered {
                    true => "No trigger matches.".to_owned(),
                    false => "There is no trigger: `cov triggers add` adds one.".to_owned(),
                }
            } else {
                String::new()
            };
        }
        let mut table = Table::new(["ID", "TYPE", "STATE", "DISPATCH", "FIRED", "NEXT", "WATCHES"]);
        let ids: Vec<_> =
            self.triggers.iter().filter_map(|one| one.record.id.as_str().parse().ok()).collect();
        let chars = if screen.is_terminal { id_chars(ids.iter()) } else { usize::MAX };
        for trigger in &self.triggers {
            let record = &trigger.record;
            let begin = |id: &str| id.chars().take(chars).collect::<String>();
            let next = trigger.next_due.map_or(String::new(), |next| moment(next, screen));
            let watches = match &record.trouble {
                Some(trouble) => Cell::new(format!("fails: {}", trouble.error)).tone(Tone::Bad),
                None => Cell::new(watched(trigger)),
            };
            table.row([
                Cell::new(begin(record.id.as_str())).tone(Tone::Bold),
                kind(&record.name).into(),
                Cell::new(state(record.state)).tone(state_tone(record.state)),
                begin(record.lattice_dispatch_id.as_str()).into(),
                Cell::new(record.fired_count.to_string()).right(),
                Cell::new(next).right(),
                watches,
            ]);
        }
        let more = if self.more { "\n… and more; -n lists them" } else { "" };
        format!("{}{}", table.text(screen), if screen.is_terminal { more } else { "" })
    }
}

/// `CronTrigger` is a cron.
fn kind(name: &str) -> String {
    name.strip_suffix("Trigger").filter(|kind| !kind.is_empty()).unwrap_or(name).to_lowercase()
}

fn state(state: TriggerState) -> &'static str {
    match state {
        TriggerState::Active => "active",
        TriggerState::Paused => "paused",
        TriggerState::Stopped => "stopped",
    }
}

fn state_tone(state: TriggerState) -> Tone {
    match state {
        TriggerState::Active => Tone::Good,
        TriggerState::Paused => Tone::Warn,
        TriggerState::Stopped => Tone::Dim,
    }
}

/// What a trigger watches, in a few words.
fn watched(trigger: &Trigger) -> String {
    let settings = &trigger.record.settings;
    let text = |field: &str| match settings.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(items)) => Some(
            items
                .iter()
                .map(|item| item.as_str().map_or(item.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(","),
        ),
        Some(other) => Some(other.to_string()),
    };
    match trigger.record.name.as_str() {
        "TimeTrigger" => settings.get("time_gap").and_then(Value::as_f64).and_then(|gap| {
            let gap = std::time::Duration::try_from_secs_f64(gap).ok()?;
            Some(format!("every {}", duration(gap)))
        }),
        "CronTrigger" => text("cron").map(|cron| match text("time_zone") {
            Some(zone) if zone != "UTC" => format!("{cron} {zone}"),
            _ => format!("{cron} UTC"),
        }),
        "DirTrigger" => text("dir_path").map(|dir| match text("event_names") {
            Some(events) => format!("{dir} ({events})"),
            None => dir,
        }),
        "WebhookTrigger" => Some(format!("POST /api/v3/triggers/{}/webhook", trigger.record.id)),
        _ => text("table_name").map(|table| format!("table {table}")),
    }
    .unwrap_or_default()
}

/// One trigger.
#[derive(Debug, Serialize)]
pub(crate) struct TriggerShown {
    /// What was done to it.
    pub(crate) action: &'static str,
    pub(crate) trigger: Trigger,
}

impl Report for TriggerShown {
    const EVENT: &'static str = "trigger";

    fn text(&self, screen: &Screen) -> String {
        let Trigger { record, next_due, new_dispatch_ids } = &self.trigger;
        let mut table = Table::new(["", ""]);
        let mut line =
            |name: &str, value: Cell| table.row([Cell::new(name).tone(Tone::Dim), value]);
        line("id", record.id.as_str().into());
        line("type", record.name.as_str().into());
        line("state", Cell::new(state(record.state)).tone(state_tone(record.state)));
        if let Some(note) = &record.note {
            line("note", note.as_str().into());
        }
        line("dispatch", record.lattice_dispatch_id.as_str().into());
        line("watches", watched(&self.trigger).into());
        line("fired", format!("{} times", record.fired_count).into());
        if let Some(next) = next_due {
            line("next", format!("{} ({})", time(*next, screen), moment(*next, screen)).into());
        }
        line("registered", time(record.created_at, screen).into());
        if let Some(trouble) = &record.trouble {
            let since = moment(trouble.since, screen);
            line("trouble", Cell::new(format!("{}, since {since}", trouble.error)).tone(Tone::Bad));
        }
        let made: Vec<String> = new_dispatch_ids.iter().take(5).map(short).collect();
        if !made.is_empty() {
            let more = if new_dispatch_ids.len() > made.len() { " …" } else { "" };
            line("made", format!("{}{more}", made.join(" ")).into());
        }
        for (field, value) in record.settings.iter().filter(|(_, value)| !value.is_null()) {
            let known = [
                "name",
                "lattice_dispatch_id",
                "new_dispatch_ids",
                "dir_path",
                "event_names",
                "time_gap",
                "cron",
                "time_zone",
            ];
            if !known.contains(&field.as_str()) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                line(field, value.into());
            }
        }
        table.text(screen)
    }
}

/// A trigger was removed.
#[derive(Debug, Serialize)]
pub(crate) struct Removed {
    pub(crate) id: TriggerId,
}

impl Report for Removed {
    const EVENT: &'static str = "trigger_removed";

    fn text(&self, _screen: &Screen) -> String {
        format!(
            "Trigger {} and its history are removed; the dispatches that it made stay.",
            self.id
        )
    }
}

/// What a trigger has decided.
#[derive(Debug, Serialize)]
pub(crate) struct Decisions {
    pub(crate) id: TriggerId,
    /// Latest first.
    pub(crate) firings: Vec<Decision>,
    pub(crate) more: bool,
}

impl Report for Decisions {
    const EVENT: &'static str = "trigger_history";

    fn text(&self, screen: &Screen) -> String {
        if self.firings.is_empty() {
            return if screen.is_terminal {
                "It has decided nothing yet.".to_owned()
            } else {
                String::new()
            };
        }
        let mut table = Table::new(["DUE", "", "DISPATCH", "WHY"]);
        for firing in &self.firings {
            let (word, tone) = match firing.outcome {
                Outcome::Fired => ("fired", Tone::Good),
                Outcome::Queued => ("queued", Tone::Busy),
                Outcome::Skipped => ("skipped", Tone::Warn),
                Outcome::Failed => ("failed", Tone::Bad),
            };
            let dispatch =
                firing.dispatch_id.as_ref().map_or(String::new(), |id| match screen.is_terminal {
                    true => short(id),
                    false => id.to_string(),
                });
            let again = firing
                .next_try
                .map_or(String::new(), |next| format!("; tried again {}", moment(next, screen)));
            table.row([
                moment(firing.due_at, screen).into(),
                Cell::new(word).tone(tone),
                dispatch.into(),
                format!("{}{again}", firing.reason).into(),
            ]);
        }
        let more = if self.more && screen.is_terminal {
            "\n… and earlier ones; -n shows more"
        } else {
            ""
        };
        format!("{}{more}", table.text(screen))
    }
}

/// When a trigger is due.
#[derive(Debug, Serialize)]
pub(crate) struct Ticks {
    pub(crate) id: TriggerId,
    pub(crate) next: Vec<Timestamp>,
}

impl Report for Ticks {
    const EVENT: &'static str = "trigger_next";

    fn text(&self, screen: &Screen) -> String {
        if self.next.is_empty() {
            return if screen.is_terminal {
                "It has no schedule, or is paused.".to_owned()
            } else {
                String::new()
            };
        }
        let mut table = Table::new(["", ""]);
        for at in &self.next {
            let age = if screen.is_terminal { moment(*at, screen) } else { String::new() };
            table.row([time(*at, screen).into(), Cell::new(age).tone(Tone::Dim).right()]);
        }
        table.text(screen)
    }
}

/// A trigger fired by hand.
#[derive(Debug, Serialize)]
pub(crate) struct Fired {
    pub(crate) id: TriggerId,
    #[serde(flatten)]
    pub(crate) decision: Decision,
}

impl Report for Fired {
    const EVENT: &'static str = "trigger_fired";

    fn text(&self, screen: &Screen) -> String {
        let Decision { outcome, reason, dispatch_id, .. } = &self.decision;
        match (outcome, dispatch_id) {
            (Outcome::Fired, Some(id)) if screen.is_terminal => {
                format!("It made dispatch {id}; `cov watch {}` follows it.", short(id))
            }
            (Outcome::Fired, Some(id)) => id.to_string(),
            (Outcome::Fired | Outcome::Queued, _) => format!("It is queued: {reason}"),
            (Outcome::Skipped, _) => format!("It was skipped: {reason}"),
            (Outcome::Failed, _) => format!("It failed: {reason}"),
        }
    }
}

/// What a trigger would see.
#[derive(Debug, Serialize)]
pub(crate) struct WouldFire {
    pub(crate) id: TriggerId,
    pub(crate) would_fire: Vec<String>,
}

impl Report for WouldFire {
    const EVENT: &'static str = "trigger_test";

    fn text(&self, screen: &Screen) -> String {
        match self.would_fire.is_empty() {
            true if screen.is_terminal => "It would not fire now.".to_owned(),
            _ => self.would_fire.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use cov_core::trigger::{TriggerRecord, Trouble};
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::view::samples::at;

    fn trigger(id: &str, name: &str, settings: Value) -> Trigger {
        let record = TriggerRecord {
            id: id.parse().unwrap(),
            name: name.into(),
            lattice_dispatch_id: "3f2a9c10-7d1e".parse().unwrap(),
            settings: settings.as_object().unwrap().clone(),
            state: TriggerState::Active,
            note: None,
            created_at: at(-3_600_000),
            updated_at: at(0),
            decided_until: at(0),
            trouble: None,
            fired_count: 12,
        };
        Trigger {
            record,
            next_due: Some(at(90_000)),
            new_dispatch_ids: vec!["91c0ffee-1".parse().unwrap()],
        }
    }

    fn some() -> TriggerListing {
        let cron = trigger(
            "aaaaaaaa-1",
            "CronTrigger",
            json!({"cron": "30 2 * * MON-FRI", "time_zone": "Europe/Berlin"}),
        );
        let mut dir = trigger(
            "bbbbbbbb-1",
            "DirTrigger",
            json!({"dir_path": "/data/in", "event_names": ["created"], "overlap": "skip"}),
        );
        dir.record.state = TriggerState::Paused;
        dir.next_due = None;
        let mut table = trigger("cccccccc-1", "SQLiteTrigger", json!({"table_name": "jobs"}));
        table.record.trouble = Some(Trouble {
            error: "no such table: jobs".into(),
            since: at(-60_000),
            next_try: None,
        });
        TriggerListing { triggers: vec![cron, dir, table], more: true, filtered: false }
    }

    #[test]
    fn triggers_are_listed_and_shown() {
        assert_snapshot!(some().text(&Screen::for_tests(120)), @"
        ID        TYPE    STATE   DISPATCH  FIRED      NEXT  WATCHES
        aaaaaaaa  cron    active  3f2a9c10     12  in 1 min  30 2 * * MON-FRI Europe/Berlin
        bbbbbbbb  dir     paused  3f2a9c10     12            /data/in (created)
        cccccccc  sqlite  active  3f2a9c10     12  in 1 min  fails: no such table: jobs
        … and more; -n lists them
        ");
        assert_snapshot!(some().text(&Screen::pipe()), @"
        ID          TYPE    STATE   DISPATCH       FIRED                  NEXT  WATCHES
        aaaaaaaa-1  cron    active  3f2a9c10-7d1e     12  2026-03-01T12:01:30Z  30 2 * * MON-FRI Europe/Berlin
        bbbbbbbb-1  dir     paused  3f2a9c10-7d1e     12                        /data/in (created)
        cccccccc-1  sqlite  active  3f2a9c10-7d1e     12  2026-03-01T12:01:30Z  fails: no such table: jobs
        ");
        let mut trigger = some().triggers.remove(1);
        trigger.record.note = Some("while the disk is swapped".into());
        assert_snapshot!(TriggerShown { action: "shown", trigger }.text(&Screen::for_tests(100)), @"
        id          bbbbbbbb-1
        type        DirTrigger
        state       paused
        note        while the disk is swapped
        dispatch    3f2a9c10-7d1e
        watches     /data/in (created)
        fired       12 times
        registered  2026-03-01 11:00:00 UTC
        made        91c0ffee
        overlap     skip
        ");
    }

    #[test]
    fn decisions_have_their_reasons() {
        let decision = |millis, outcome, reason: &str, dispatch: Option<&str>| Decision {
            event_key: "tick".into(),
            due_at: at(millis),
            decided_at: at(millis),
            outcome,
            reason: reason.into(),
            dispatch_id: dispatch.map(|id| id.parse().unwrap()),
            next_try: None,
            has_payload: false,
        };
        let firings = vec![
            decision(-10_000, Outcome::Skipped, "91c0ffee still runs", None),
            decision(-70_000, Outcome::Fired, "its time had come", Some("91c0ffee-1")),
        ];
        let history = Decisions { id: "aaaaaaaa-1".parse().unwrap(), firings, more: false };
        assert_snapshot!(history.text(&Screen::for_tests(80)), @"
        DUE                 DISPATCH  WHY
        10 s ago   skipped            91c0ffee still runs
        1 min ago  fired    91c0ffee  its time had come
        ");
        let ticks = Ticks { id: history.id.clone(), next: vec![at(60_000), at(7_200_000)] };
        assert_snapshot!(ticks.text(&Screen::for_tests(80)), @"
        2026-03-01 12:01:00 UTC  in 1 min
        2026-03-01 14:00:00 UTC    in 2 h
        ");
        let fired = Fired { id: history.id.clone(), decision: history.firings[1].clone() };
        assert_snapshot!(fired.text(&Screen::for_tests(80)), @"It made dispatch 91c0ffee-1; `cov watch 91c0ffee` follows it.");
        assert_eq!(fired.text(&Screen::pipe()), "91c0ffee-1");
    }
}

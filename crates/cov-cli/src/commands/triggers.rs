//! `cov triggers`: what is registered, what it has decided, and what can be done to it.

use std::io::Read as _;
use std::path::Path;

use cov_client::{Client, TriggerFilter};
use cov_core::ids::DispatchId;
use cov_core::trigger::{Dictionary, Outcome, TriggerState};
use serde_json::Value;

use crate::args::{Add, Triggers, TriggersLs};
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::find;
use crate::view::triggers::{
    Decisions, Fired, Removed, Ticks, TriggerListing, TriggerShown, WouldFire,
};

pub(super) async fn run(context: &Context, triggers: Triggers) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let told = |error| context.told(error);
    let find = async |text: &str| find::trigger(context, &client, text).await;
    let show = |action, trigger| context.printer.print(&TriggerShown { action, trigger });
    match triggers {
        Triggers::Ls(asked) => list(context, &client, &asked).await?,
        Triggers::Show(asked) => show("shown", find(&asked.trigger).await?)?,
        Triggers::History(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            let page = client.trigger_history(&id, asked.limit, None).await.map_err(told)?;
            let more = page.before.is_some();
            context.printer.print(&Decisions { id, firings: page.firings, more })?;
        }
        Triggers::Add(asked) => {
            let dispatch = find::dispatch(context, &client, &asked.dispatch).await?;
            let dictionary = dictionary(&asked, &dispatch)?;
            show("added", client.register_trigger(&dictionary).await.map_err(told)?)?;
        }
        Triggers::Pause(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            show("paused", client.pause_trigger(&id, asked.note.as_deref()).await.map_err(told)?)?;
        }
        Triggers::Resume(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            show("resumed", client.resume_trigger(&id).await.map_err(told)?)?;
        }
        Triggers::Fire(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            let decision = client.fire_trigger(&id, asked.key.as_deref()).await.map_err(told)?;
            let has_failed = decision.outcome == Outcome::Failed;
            context.printer.print(&Fired { id, decision })?;
            return Ok(if has_failed { Code::Failed } else { Code::Done });
        }
        Triggers::Rm(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            client.delete_trigger(&id).await.map_err(told)?;
            context.printer.print(&Removed { id })?;
        }
        Triggers::Next(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            let next = client.trigger_ticks(&id, asked.count).await.map_err(told)?;
            context.printer.print(&Ticks { id, next })?;
        }
        Triggers::Test(asked) => {
            let id = find(&asked.trigger).await?.record.id;
            let would_fire = client.test_trigger(&id).await.map_err(told)?;
            context.printer.print(&WouldFire { id, would_fire })?;
        }
    }
    Ok(Code::Done)
}

async fn list(context: &Context, client: &Client, asked: &TriggersLs) -> Result<(), Error> {
    let dispatch_id = match &asked.dispatch {
        Some(text) => Some(find::dispatch(context, client, text).await?),
        None => None,
    };
    let state = asked.state.as_deref().map(|state| match state {
        "paused" => TriggerState::Paused,
        "stopped" => TriggerState::Stopped,
        _ => TriggerState::Active,
    });
    let filtered = dispatch_id.is_some() || state.is_some();
    let filter = TriggerFilter { dispatch_id, state, limit: asked.limit, cursor: None };
    let page = client.triggers(&filter).await.map_err(|error| context.told(error))?;
    let more = page.cursor.is_some();
    context.printer.print(&TriggerListing { triggers: page.triggers, more, filtered })
}

/// The dictionary that describes a new trigger.
fn dictionary(asked: &Add, dispatch: &DispatchId) -> Result<Dictionary, Error> {
    let mut dictionary = match &asked.file {
        Some(file) => read(file)?,
        None => Dictionary::new(),
    };
    let mut set = |field: &str, value: Value| dictionary.insert(field.to_owned(), value);
    if let Some(every) = asked.every {
        set("name", "TimeTrigger".into());
        set("time_gap", every.as_secs().into());
    }
    if let Some(cron) = &asked.cron {
        set("name", "CronTrigger".into());
        set("cron", cron.as_str().into());
        set("time_zone", asked.zone.as_deref().unwrap_or("UTC").into());
    }
    if let Some(dir) = &asked.dir {
        let dir = std::path::absolute(dir)
            .map_err(|source| Error::System { what: "the current folder", source })?;
        set("name", "DirTrigger".into());
        set("dir_path", dir.to_string_lossy().into());
        let events = match asked.events.is_empty() {
            true => vec!["created".to_owned(), "modified".to_owned()],
            false => asked.events.clone(),
        };
        set("event_names", events.into());
    }
    if asked.webhook {
        set("name", "WebhookTrigger".into());
    }
    for (field, value) in &asked.fields {
        set(field, value.clone());
    }
    set("lattice_dispatch_id", dispatch.as_str().into());
    Ok(dictionary)
}

fn read(file: &Path) -> Result<Dictionary, Error> {
    let failed = |source| Error::File { what: "the dictionary", path: file.to_path_buf(), source };
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(file).map_err(failed)?;
    }
    serde_json::from_str(&text).map_err(|error| Error::Usage {
        said: format!("{} is no JSON object: {error}", file.display()),
        hint: "give what a trigger's `to_dict` makes".to_owned(),
    })
}

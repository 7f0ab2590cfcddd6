//! `cov import-covalent`: takes over what a Covalent server has kept. What cannot be taken over is
//! told at the end, and stops nothing else.

use std::collections::HashSet;
use std::path::PathBuf;

use cov_client::Client;
use cov_core::status::Status;
use serde::Serialize;

use crate::args::{ImportCovalent, Unfinished};
use crate::context::{Context, Patience};
use crate::covalent::{self, Database, Listed, Taken};
use crate::error::{Code, Error};
use crate::output::{Report, Screen, Tone};

/// How many dispatches lie between two words about how far it is.
const TOLD_EVERY: usize = 200;

/// What was taken over, and what was not.
#[derive(Debug, Default, Serialize)]
struct Summary {
    dry_run: bool,
    /// Now there, and not before.
    imported: u64,
    /// There since an earlier import.
    already_there: u64,
    /// Left out because of what they are.
    skipped: Vec<Told>,
    /// Taken over, but something of them was missing.
    incomplete: Vec<Told>,
    /// Not taken over because of some trouble.
    failed: Vec<Told>,
}

/// A dispatch of which there is something to say.
#[derive(Debug, Serialize)]
struct Told {
    dispatch_id: String,
    name: String,
    reason: String,
}

impl Told {
    fn of(listed: &Listed, reason: impl Into<String>) -> Self {
        let Listed { dispatch_id, name, .. } = listed;
        Self { dispatch_id: dispatch_id.clone(), name: name.clone(), reason: reason.into() }
    }
}

/// What became of one dispatch.
enum Fate {
    Imported,
    AlreadyThere,
}

pub(super) async fn run(context: &Context, asked: &ImportCovalent) -> Result<Code, Error> {
    let path = match &asked.database {
        Some(path) => path.clone(),
        None => covalent::default_database(|name| std::env::var_os(name).map(PathBuf::from))
            .ok_or(Error::NoStateFolder)?,
    };
    let mut database = Database::open(&path, asked.results.clone()).await.map_err(unusable)?;
    let listed = database.list().await.map_err(unusable)?;
    let client = match asked.dry_run {
        true => None,
        false => {
            let client = context.client(Patience::OverRestarts)?;
            // Told once, and not of every dispatch.
            client.health().await.map_err(|error| context.told(error))?;
            Some(client)
        }
    };
    let mut summary = Summary { dry_run: asked.dry_run, ..Summary::default() };
    let mut left_out: HashSet<i64> = HashSet::new();
    for (index, one) in listed.iter().enumerate() {
        if index % TOLD_EVERY == 0 {
            context.printer.aside(&format!("{index} of {} dispatches", listed.len()));
        }
        let skipped = skip_reason(one, asked.unfinished, &left_out);
        let taken = match skipped {
            Some(reason) => Err((&mut summary.skipped, reason)),
            None => import(&mut database, client.as_ref(), one, &mut summary.incomplete)
                .await
                .map_err(|reason| (&mut summary.failed, reason)),
        };
        match taken {
            Ok(Fate::Imported) => summary.imported += 1,
            Ok(Fate::AlreadyThere) => summary.already_there += 1,
            Err((list, reason)) => {
                left_out.insert(one.id);
                list.push(Told::of(one, reason));
            }
        }
    }
    let code = if summary.failed.is_empty() { Code::Done } else { Code::Failed };
    context.printer.print(&summary)?;
    Ok(code)
}

/// Why a dispatch is left out, if it is.
fn skip_reason(one: &Listed, unfinished: Unfinished, left_out: &HashSet<i64>) -> Option<String> {
    if one.is_deleted {
        return Some("it was deleted there".to_owned());
    }
    if one.parent.is_some_and(|above| left_out.contains(&above)) {
        return Some("the dispatch above it is not taken over".to_owned());
    }
    match (&one.status, unfinished) {
        (Ok(status), _) if status.is_terminal() => None,
        (Ok(Status::NewObject), _) => Some("it was never started".to_owned()),
        (Ok(_), Unfinished::Fail) => None,
        (Ok(status), Unfinished::Skip) => Some(format!("it is {status}, and has not ended")),
        (Err(text), _) => Some(format!("its state is `{text}`")),
    }
}

async fn import(
    database: &mut Database,
    client: Option<&Client>,
    one: &Listed,
    incomplete: &mut Vec<Told>,
) -> Result<Fate, String> {
    let taken = database.take(one).await.map_err(|error| with_causes(&error))?;
    let Taken { workflow, outcome, missing } = taken;
    let fate = match client {
        None => Fate::Imported,
        Some(client) => {
            let imported = client.import(&workflow, &outcome).await;
            let imported = imported.map_err(|error| match error.problem() {
                Some(problem) => format!("{} ({})", problem.detail, problem.code),
                None => with_causes(&error),
            })?;
            match (imported.new, imported.status.is_terminal()) {
                (_, false) => return Err("some of its contents did not arrive".to_owned()),
                (true, true) => Fate::Imported,
                (false, true) => Fate::AlreadyThere,
            }
        }
    };
    if let Some(first) = missing.first() {
        let reason = match missing.len() {
            1 => format!("{} is missing", first.display()),
            count => format!("{count} files are missing, the first is {}", first.display()),
        };
        incomplete.push(Told::of(one, reason));
    }
    Ok(fate)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.ends_with(&text) {
            said = format!("{said}: {text}");
        }
        next = cause.source();
    }
    said
}

fn unusable(error: covalent::Error) -> Error {
    let hint = match &error {
        covalent::Error::Foreign { .. } => {
            "only databases of Covalent 0.240.0 are read; `covalent db migrate`, of that release, brings an older one to its form"
        }
        _ => {
            "name the database with --database; `covalent config` shows where it is (dispatcher.db_path)"
        }
    };
    Error::Impossible { said: with_causes(&error), hint: hint.to_owned() }
}

impl Report for Summary {
    const EVENT: &'static str = "imported";

    fn text(&self, screen: &Screen) -> String {
        let verb = if self.dry_run { "Would take over" } else { "Took over" };
        let mut lines = vec![format!("{verb} {}.", dispatches(self.imported))];
        if self.already_there > 0 {
            lines.push(format!("There already: {}.", dispatches(self.already_there)));
        }
        let lists = [
            (&self.incomplete, Tone::Warn, "Taken over, but not whole"),
            (&self.skipped, Tone::Dim, "Left out"),
            (&self.failed, Tone::Bad, "Not taken over"),
        ];
        for (list, tone, heading) in lists {
            if !list.is_empty() {
                lines.push(screen.paint(tone, &format!("{heading}:")));
            }
            for Told { dispatch_id, name, reason } in list {
                lines.push(format!("  {dispatch_id} {name}: {reason}"));
            }
        }
        lines.join("\n")
    }
}

fn dispatches(count: u64) -> String {
    match count {
        1 => "1 dispatch".to_owned(),
        count => format!("{count} dispatches"),
    }
}

//! What a text on the command line means: the dispatch or the trigger that it names, by its id, by
//! the beginning of one, or as the newest. Says what may be meant when it means nothing.

use cov_client::{Client, Filter, Trigger, TriggerFilter};
use cov_core::ids::DispatchId;
use cov_core::result::Summary;

use crate::context::Context;
use crate::error::Error;

/// How many ids are listed of those that a text may mean.
const LISTED_MAX: u32 = 6;

/// How many dispatches are looked at to guess what is meant.
const GUESSED_MAX: u32 = 200;

/// How alike two texts must be for one to be suggested for the other, from 0 to 1.
const ALIKE_MIN: f64 = 0.7;

/// The name that is most like `text`, if one is like it.
pub(crate) fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = names.into_iter().map(|name| (strsim::jaro_winkler(text, name), name));
    let best = alike.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= ALIKE_MIN).then_some(best.1)
}

/// The dispatch that a text names.
pub(crate) async fn dispatch(
    context: &Context,
    client: &Client,
    text: &str,
) -> Result<DispatchId, Error> {
    let told = |error| context.told(error);
    if matches!(text, "@" | "last") {
        let newest = Filter { roots_only: true, limit: 1, ..Filter::default() };
        let page = client.list(&newest).await.map_err(told)?;
        let first = page.dispatches.into_iter().next().map(|first| first.dispatch_id);
        return first.ok_or_else(|| Error::NotFound {
            said: "there is no dispatch yet".to_owned(),
            hint: "`cov run` or `cov dispatch` makes one of a file, the SDK one of a lattice"
                .to_owned(),
        });
    }
    let begun = Filter { prefix: Some(text.to_owned()), limit: LISTED_MAX, ..Filter::default() };
    let found = match text.parse::<DispatchId>() {
        Ok(_) => client.list(&begun).await.map_err(told)?.dispatches,
        Err(_) => Vec::new(),
    };
    if let Some(same) = found.iter().find(|one| one.dispatch_id.as_str() == text) {
        return Ok(same.dispatch_id.clone());
    }
    match found.as_slice() {
        [one] => Ok(one.dispatch_id.clone()),
        [] => {
            let recent = Filter { limit: GUESSED_MAX, ..Filter::default() };
            let recent = client.list(&recent).await.map_err(told)?.dispatches;
            Err(unknown(text, &recent))
        }
        several => Err(ambiguous(text, several)),
    }
}

/// Nothing begins so: what may be meant.
fn unknown(text: &str, recent: &[Summary]) -> Error {
    let named = recent.iter().find(|one| one.name.eq_ignore_ascii_case(text));
    let begin = |id: &'_ DispatchId| id.as_str().chars().take(text.len().max(8)).collect();
    let ids: Vec<String> = recent.iter().map(|one| begin(&one.dispatch_id)).collect();
    let like = nearest(text, ids.iter().map(String::as_str));
    let hint = match (named, like) {
        (Some(named), _) => format!(
            "`{text}` is the name of a lattice; its newest dispatch is {} ({}); `cov ls --name {text}` lists all",
            named.dispatch_id, named.status
        ),
        (None, Some(like)) => format!("did you mean {like}? `cov ls` lists dispatches"),
        (None, None) => "`cov ls` lists dispatches; `@` is the newest".to_owned(),
    };
    Error::NotFound { said: format!("no dispatch has an id that begins with `{text}`"), hint }
}

fn ambiguous(text: &str, several: &[Summary]) -> Error {
    let shown = several.iter().take(LISTED_MAX as usize - 1);
    let mut lines: Vec<String> =
        shown.map(|one| format!("{}  {}  {}", one.dispatch_id, one.status, one.name)).collect();
    if several.len() >= LISTED_MAX as usize {
        lines.push("…".to_owned());
    }
    Error::NotFound {
        said: format!("`{text}` is the beginning of more than one id"),
        hint: format!("give more of it; it may mean\n{}", lines.join("\n")),
    }
}

/// The trigger that a text names.
pub(crate) async fn trigger(
    context: &Context,
    client: &Client,
    text: &str,
) -> Result<Trigger, Error> {
    let mut filter = TriggerFilter { limit: 1_000, ..TriggerFilter::default() };
    let mut begun = Vec::new();
    loop {
        let page = client.triggers(&filter).await.map_err(|error| context.told(error))?;
        begun.extend(
            page.triggers.into_iter().filter(|one| one.record.id.as_str().starts_with(text)),
        );
        filter.cursor = page.cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    if let Some(same) = begun.iter().position(|one| one.record.id.as_str() == text) {
        return Ok(begun.swap_remove(same));
    }
    match begun.len() {
        1 => Ok(begun.swap_remove(0)),
        0 => Err(Error::NotFound {
            said: format!("no trigger has an id that begins with `{text}`"),
            hint: "`cov triggers ls` lists triggers".to_owned(),
        }),
        _ => {
            let shown = begun.iter().take(LISTED_MAX as usize);
            let lines: Vec<String> =
                shown.map(|one| format!("{}  {}", one.record.id, one.record.name)).collect();
            Err(Error::NotFound {
                said: format!("`{text}` is the beginning of more than one id"),
                hint: format!("give more of it; it may mean\n{}", lines.join("\n")),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use cov_core::status::Status;

    use super::*;
    use crate::view::samples;

    fn told(error: Error) -> String {
        let text = error.told(false);
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_may_be_meant_is_suggested() {
        crate::output::prepare(Some(false));
        let recent = [
            samples::summary("3f2a9c10-aaaa", "etl", Status::Failed),
            samples::summary("91c0ffee-bbbb", "sweep", Status::Completed),
        ];
        insta::assert_snapshot!(told(unknown("3f2b9c10", &recent)), @"
        × no dispatch has an id that begins with `3f2b9c10`
        help: did you mean 3f2a9c10? `cov ls` lists dispatches
        ");
        insta::assert_snapshot!(told(unknown("ETL", &recent)), @"
        × no dispatch has an id that begins with `ETL`
        help: `ETL` is the name of a lattice; its newest dispatch is 3f2a9c10-aaaa (FAILED); `cov ls --name ETL` lists all
        ");
        insta::assert_snapshot!(told(unknown("zzz", &recent)), @"
        × no dispatch has an id that begins with `zzz`
        help: `cov ls` lists dispatches; `@` is the newest
        ");
        insta::assert_snapshot!(told(ambiguous("3f", &recent)), @"
        × `3f` is the beginning of more than one id
        help: give more of it; it may mean
              3f2a9c10-aaaa  FAILED  etl
              91c0ffee-bbbb  COMPLETED  sweep
        ");
        assert_eq!(nearest("resutl", ["result", "show"]), Some("result"));
    }
}

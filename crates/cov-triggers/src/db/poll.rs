//! The observing task of one database trigger: asks at fixed points of time, without drift, and
//! says what it found. Knows no dialect.

use std::time::Duration;

use tokio::time::Instant;

use super::cursor::Cursor;
use super::session::Session;
use super::statement::{Column, ColumnKind};
use super::{Mode, Watch};
use crate::{Error, Event, Observer};

/// The mark of an edge trigger.
const CURSOR: &str = "cursor";
/// How many new rows are read at once.
const PAGE: u64 = 500;
/// So many rows may share one value of the cursor's column.
const TIES_MAX: u64 = 10_000;
/// A connection that is not used for longer than this is closed meanwhile.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Observes until it is stopped.
pub(super) async fn observe(watch: &Watch, observer: &mut Observer) -> Result<(), Error> {
    let mut session = None;
    let ended = observe_with(watch, observer, &mut session).await;
    if let Some(session) = session.filter(|_| ended.is_ok()) {
        session.close().await;
    }
    ended
}

async fn observe_with(
    watch: &Watch,
    observer: &mut Observer,
    session: &mut Option<Session>,
) -> Result<(), Error> {
    let mut edge = match &watch.mode {
        Mode::Level => None,
        Mode::Edge(column) => Some(Edge::new(watch, column, observer)),
    };
    let began = (Instant::now(), observer.now());
    let mut number = 0;
    let mut healthy = false;
    loop {
        let offset = multiplied(watch.interval, number);
        tokio::select! {
            () = observer.stopped() => return Ok(()),
            () = tokio::time::sleep_until(began.0 + offset) => {}
        }
        let asked = async {
            let session = connected(watch, session).await?;
            match &mut edge {
                None => level(watch, session, observer, began.1.after(offset)).await,
                Some(edge) => edge.poll(session, observer).await,
            }
        };
        tokio::select! {
            () = observer.stopped() => return Ok(()),
            asked = asked => asked?,
        }
        if !std::mem::replace(&mut healthy, true) {
            observer.healthy().await;
        }
        if watch.interval > IDLE_MAX
            && let Some(session) = session.take()
        {
            session.close().await;
        }
        number = next_number(number, watch.interval, began.0.elapsed());
    }
}

/// The connection; a new one if there is none.
async fn connected<'a>(
    watch: &Watch,
    session: &'a mut Option<Session>,
) -> Result<&'a mut Session, Error> {
    let open = match session.take() {
        Some(open) => open,
        None => Session::open(&watch.address, watch.limit).await?,
    };
    Ok(session.insert(open))
}

/// The seed's way: a poll that finds rows is an event.
async fn level(
    watch: &Watch,
    session: &mut Session,
    observer: &Observer,
    due: cov_core::time::Timestamp,
) -> Result<(), Error> {
    if session.any(&watch.rows.any()).await? {
        let detail = format!("{} has rows", watch.table);
        let key = format!("poll:{}", due.as_micros());
        observer.event(Event { key, at: due, detail, marks: Vec::new(), payload: None }).await;
    }
    Ok(())
}

/// Follows a column: each new row is an event.
#[derive(Debug)]
struct Edge<'a> {
    watch: &'a Watch,
    column: &'a Column,
    kind: Option<ColumnKind>,
    /// `None` before the first look of all, which only finds out where the rows end.
    cursor: Option<Cursor>,
}

impl<'a> Edge<'a> {
    fn new(watch: &'a Watch, column: &'a Column, observer: &Observer) -> Self {
        // One that is not resumed begins anew: what came since the last time does not count.
        let mark = observer.marks().get(CURSOR).filter(|_| observer.resumed());
        Self { watch, column, kind: None, cursor: mark.and_then(|mark| Cursor::decode(mark)) }
    }

    async fn poll(&mut self, session: &mut Session, observer: &Observer) -> Result<(), Error> {
        let kind = match &self.kind {
            Some(kind) => kind.clone(),
            None => self.begin(session).await?,
        };
        let Some(cursor) = &mut self.cursor else {
            let cursor = self.last(session, &kind).await?;
            observer.set_marks(vec![(CURSOR.to_owned(), Some(cursor.encode()))]).await;
            self.cursor = Some(cursor);
            return Ok(());
        };
        loop {
            let limit = PAGE + cursor.present;
            let from_value = cursor.value.is_some();
            let statement = self.watch.rows.page(self.column, &kind, from_value, limit);
            let rows = session.rows(&statement, cursor.value.as_ref()).await?;
            let is_last = (rows.len() as u64) < limit;
            for fresh in cursor.advance(rows) {
                let marks = vec![(CURSOR.to_owned(), Some(fresh.cursor.encode()))];
                let detail = format!("{} has the new row {}", self.watch.table, fresh.shown);
                let event =
                    Event { key: fresh.key, at: observer.now(), detail, marks, payload: None };
                observer.event(event).await;
            }
            if cursor.present > TIES_MAX {
                return Err(Error::Observe(format!(
                    "more than {TIES_MAX} rows of {} share one value of the `cursor_column`; \
                     choose one that tells them apart",
                    self.watch.table
                )));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Learns what the column holds.
    async fn begin(&mut self, session: &mut Session) -> Result<ColumnKind, Error> {
        let kind = session.kind(&self.watch.rows.column(self.column)).await?;
        let kind = kind.map_err(|name| {
            Error::Observe(format!(
                "the `cursor_column` is of the type {name}, which cannot be followed; numbers, \
                 texts, dates and times can"
            ))
        })?;
        if session.any(&self.watch.rows.nulls(self.column)).await? {
            tracing::warn!(
                "{} has rows without a value in the `cursor_column`: they never count",
                self.watch.table
            );
        }
        self.kind = Some(kind.clone());
        Ok(kind)
    }

    /// Where the rows end now.
    async fn last(&self, session: &mut Session, kind: &ColumnKind) -> Result<Cursor, Error> {
        let rows = session.rows(&self.watch.rows.last(self.column, kind), None).await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(Cursor::start());
        };
        let ties = self.watch.rows.ties(self.column, kind);
        let count = session.count(&ties, &row.value).await?;
        Ok(Cursor::at(row.value, count.max(1)))
    }
}

fn multiplied(interval: Duration, number: u64) -> Duration {
    let micros = interval.as_micros().saturating_mul(u128::from(number));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// The poll that comes next: those that a slow one has run over are left out.
fn next_number(number: u64, interval: Duration, elapsed: Duration) -> u64 {
    let passed = elapsed.as_micros() / interval.as_micros().max(1);
    let over = multiplied(interval, u64::try_from(passed).unwrap_or(u64::MAX)) < elapsed;
    let next = u64::try_from(passed).unwrap_or(u64::MAX).saturating_add(u64::from(over));
    next.max(number + 1)
}

/// What one look would find, for people; remembers nothing.
pub(super) async fn preview(watch: &Watch) -> Result<Vec<String>, Error> {
    let mut session = Session::open(&watch.address, watch.limit).await?;
    let mut lines = Vec::new();
    let any = session.any(&watch.rows.any()).await?;
    let has = if any { "has rows" } else { "has no row" };
    lines.push(format!("{} {has} that meet the conditions", watch.table));
    if let Mode::Edge(column) = &watch.mode {
        let mut edge = Edge { watch, column, kind: None, cursor: None };
        let kind = edge.begin(&mut session).await?;
        let last = edge.last(&mut session, &kind).await?;
        lines.push(match last.value {
            Some(value) => format!("the last one has {} in the `cursor_column`", value.shown()),
            None => "the first one will be new".to_owned(),
        });
        if session.any(&watch.rows.nulls(column)).await? {
            lines.push("rows without a value in the `cursor_column` never count".to_owned());
        }
    }
    session.close().await;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_stay_on_their_grid_and_leave_out_what_has_passed() {
        let interval = Duration::from_millis(250);
        let millis = Duration::from_millis;
        assert_eq!(next_number(0, interval, millis(1)), 1);
        assert_eq!(next_number(1, interval, millis(250)), 2);
        assert_eq!(next_number(1, interval, millis(251)), 2);
        assert_eq!(next_number(1, interval, millis(1_010)), 5);
        assert_eq!(multiplied(interval, 4), Duration::from_secs(1));
        assert_eq!(multiplied(Duration::MAX, u64::MAX), Duration::from_micros(u64::MAX));
    }
}

//! Lists of dispatches.

use std::cmp::Reverse;

use cov_core::result::Summary;
use serde::Serialize;

use super::id_chars;
use crate::args::{Column, Sort};
use crate::output::units::{duration, moment, took};
use crate::output::{Cell, Report, Screen, Table, Tone, state_tone};

/// Dispatches in the order in which they are shown.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    pub(crate) dispatches: Vec<Summary>,
    /// How many match, shown or not.
    pub(crate) total: u64,
    #[serde(skip)]
    pub(crate) columns: Vec<Column>,
    #[serde(skip)]
    pub(crate) quiet: bool,
    /// Not all dispatches were asked for.
    #[serde(skip)]
    pub(crate) filtered: bool,
}

impl Report for Listing {
    const EVENT: &'static str = "dispatches";

    fn text(&self, screen: &Screen) -> String {
        if self.quiet {
            let ids: Vec<&str> =
                self.dispatches.iter().map(|one| one.dispatch_id.as_str()).collect();
            return ids.join("\n");
        }
        if self.dispatches.is_empty() {
            let none = match (self.total, self.filtered) {
                (0, true) => "No dispatch matches.",
                (0, false) => {
                    "There is no dispatch yet: `cov run` and `cov dispatch` make one of a file, the \
                     SDK one of a lattice."
                }
                _ => "Nothing is to be listed.",
            };
            return if screen.is_terminal { none.to_owned() } else { String::new() };
        }
        let head = self.columns.iter().map(|column| heading(*column).to_owned()).collect();
        let name = self.columns.iter().position(|column| *column == Column::Name);
        let mut table = Table::with_head(head);
        if let Some(name) = name {
            table = table.flexible(name);
        }
        let id_chars = match screen.is_terminal {
            true => id_chars(self.dispatches.iter().map(|one| &one.dispatch_id)),
            false => usize::MAX,
        };
        for one in &self.dispatches {
            table.row(self.columns.iter().map(|column| cell(*column, one, id_chars, screen)));
        }
        table.text(screen)
    }
}

fn heading(column: Column) -> &'static str {
    match column {
        Column::Id => "ID",
        Column::Name => "NAME",
        Column::Status => "STATUS",
        Column::Nodes => "NODES",
        Column::Took => "TOOK",
        Column::Created => "CREATED",
        Column::Started => "STARTED",
        Column::Ended => "ENDED",
        Column::Parent => "PARENT",
        Column::Root => "ROOT",
    }
}

fn cell(column: Column, one: &Summary, id_chars: usize, screen: &Screen) -> Cell {
    let begin = |id: &str| id.chars().take(id_chars).collect::<String>();
    let time = |at| Option::map_or(at, String::new(), |at| moment(at, screen));
    match column {
        Column::Id => Cell::new(begin(one.dispatch_id.as_str())).tone(Tone::Bold),
        Column::Name => Cell::new(one.name.as_str()),
        Column::Status => Cell::new(one.status.as_str()).tone(state_tone(one.status)),
        Column::Nodes => {
            Cell::new(format!("{}/{}", one.completed_node_count, one.node_count)).right()
        }
        Column::Took => {
            let span = took(one.started_at, one.ended_at, screen.now);
            Cell::new(span.map_or(String::new(), duration)).right()
        }
        Column::Created => Cell::new(time(Some(one.created_at))).right(),
        Column::Started => Cell::new(time(one.started_at)).right(),
        Column::Ended => Cell::new(time(one.ended_at)).right(),
        Column::Parent => {
            let parent = one.parent_dispatch_id.as_ref();
            Cell::new(parent.map_or(String::new(), |id| begin(id.as_str())))
        }
        Column::Root => Cell::new(begin(one.root_dispatch_id.as_str())),
    }
}

/// Puts dispatches that came newest first into an order.
pub(crate) fn sort(dispatches: &mut [Summary], by: Sort, reverse: bool, screen: &Screen) {
    match by {
        Sort::Created => {}
        Sort::Name => dispatches.sort_by(|one, other| one.name.cmp(&other.name)),
        Sort::Status => dispatches.sort_by_key(|one| one.status),
        Sort::Took => {
            dispatches.sort_by_key(|one| Reverse(took(one.started_at, one.ended_at, screen.now)));
        }
        Sort::Nodes => dispatches.sort_by_key(|one| Reverse(one.node_count)),
    }
    if reverse {
        dispatches.reverse();
    }
}

#[cfg(test)]
mod tests {
    use cov_core::status::Status;
    use insta::assert_snapshot;

    use super::*;
    use crate::output::json_line;
    use crate::view::samples::{at, summary};

    fn listing() -> Listing {
        let mut waiting =
            summary("0b5e77aa-4f10-4d0e-8d5c-33a1c2f0e9b1", "nightly report", Status::NewObject);
        (waiting.started_at, waiting.completed_node_count) = (None, 0);
        let mut running = summary("3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3", "etl", Status::Running);
        running.created_at = at(-500);
        let failed = summary(
            "3f2a9c11-0000-4a53-9a8e-0c51e7a1b2d3",
            "a sweep over ß and 漢字",
            Status::Failed,
        );
        let columns = vec![
            Column::Id,
            Column::Name,
            Column::Status,
            Column::Nodes,
            Column::Took,
            Column::Created,
        ];
        Listing {
            dispatches: vec![waiting, running, failed],
            total: 134,
            columns,
            quiet: false,
            filtered: true,
        }
    }

    #[test]
    fn a_terminal_shows_short_ids_and_ages() {
        assert_snapshot!(listing().text(&Screen::for_tests(100)), @"
        ID        NAME                     STATUS      NODES        TOOK    CREATED
        0b5e77aa  nightly report           NEW_OBJECT    0/6              3 min ago
        3f2a9c10  etl                      RUNNING       4/6  3 min 19 s        now
        3f2a9c11  a sweep over ß and 漢字  FAILED        4/6      19.9 s  3 min ago
        ");
        assert_snapshot!(listing().text(&Screen::for_tests(60)), @"
        ID        NAME      STATUS      NODES        TOOK    CREATED
        0b5e77aa  nightly…  NEW_OBJECT    0/6              3 min ago
        3f2a9c10  etl       RUNNING       4/6  3 min 19 s        now
        3f2a9c11  a sweep…  FAILED        4/6      19.9 s  3 min ago
        ");
    }

    #[test]
    fn a_pipe_gets_whole_ids_and_times() {
        assert_snapshot!(listing().text(&Screen::pipe()), @"
        ID                                    NAME                     STATUS      NODES        TOOK               CREATED
        0b5e77aa-4f10-4d0e-8d5c-33a1c2f0e9b1  nightly report           NEW_OBJECT    0/6              2026-03-01T11:56:40Z
        3f2a9c10-7d1e-4a53-9a8e-0c51e7a1b2d3  etl                      RUNNING       4/6  3 min 19 s  2026-03-01T11:59:59Z
        3f2a9c11-0000-4a53-9a8e-0c51e7a1b2d3  a sweep over ß and 漢字  FAILED        4/6      19.9 s  2026-03-01T11:56:40Z
        ");
    }

    #[test]
    fn programs_get_json_or_ids() {
        let mut listing = listing();
        listing.dispatches.truncate(1);
        assert_snapshot!(json_line(&listing).unwrap(), @r#"{"event":"dispatches","dispatches":[{"dispatch_id":"0b5e77aa-4f10-4d0e-8d5c-33a1c2f0e9b1","root_dispatch_id":"0b5e77aa-4f10-4d0e-8d5c-33a1c2f0e9b1","parent_dispatch_id":null,"name":"nightly report","status":"NEW_OBJECT","node_count":6,"completed_node_count":0,"created_at":"2026-03-01T11:56:40.000000","updated_at":"2026-03-01T11:57:00.000000","started_at":null,"ended_at":null}],"total":134}"#);
        listing.quiet = true;
        assert_snapshot!(listing.text(&Screen::pipe()), @"0b5e77aa-4f10-4d0e-8d5c-33a1c2f0e9b1");
    }

    #[test]
    fn nothing_is_said_in_a_sentence_to_people_and_in_no_line_to_programs() {
        let empty = Listing { dispatches: Vec::new(), total: 0, ..listing() };
        assert_eq!(empty.text(&Screen::for_tests(80)), "No dispatch matches.");
        let none = Listing { filtered: false, dispatches: Vec::new(), total: 0, ..listing() };
        assert!(none.text(&Screen::for_tests(80)).starts_with("There is no dispatch yet"));
        assert_eq!(empty.text(&Screen::pipe()), "");
    }

    #[test]
    fn every_column_can_be_asked_for() {
        let columns = vec![Column::Started, Column::Ended, Column::Parent, Column::Root];
        let listing = Listing { columns, ..listing() };
        assert_snapshot!(listing.text(&Screen::for_tests(80)), @"
          STARTED      ENDED  PARENT  ROOT
                                      0b5e77aa
        3 min ago                     3f2a9c10
        3 min ago  3 min ago          3f2a9c11
        ");
    }

    #[test]
    fn lists_are_sorted() {
        let order = |by, reverse| {
            let mut found = listing().dispatches;
            sort(&mut found, by, reverse, &Screen::for_tests(80));
            found.iter().map(|one| one.name.chars().next().unwrap()).collect::<String>()
        };
        assert_eq!(order(Sort::Created, false), "nea");
        assert_eq!(order(Sort::Created, true), "aen");
        assert_eq!(order(Sort::Name, false), "aen");
        assert_eq!(order(Sort::Status, false), "nea");
        assert_eq!(order(Sort::Took, false), "ean");
        assert_eq!(order(Sort::Nodes, false), "nea");
    }
}

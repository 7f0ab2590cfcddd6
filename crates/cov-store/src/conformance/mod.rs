//! What every store does, one function per behaviour; the suite is the specification. Stamped
//! for an implementation by [`conformance!`](crate::conformance!). Tests nothing that only one
//! implementation has.

#![expect(
    clippy::unwrap_used,
    reason = "this is a test suite that other crates can run; a panic is a failed test"
)]

pub mod assets;
pub mod contents;
pub mod fixtures;
pub mod links;
pub mod lists;
pub mod registering;
pub mod retention;
pub mod states;
pub mod triggers;

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Contents, Store, TriggerStore};

/// Makes one store and opens it again.
#[async_trait]
pub trait Harness: Send {
    /// Opens the store; again, after everything that was handed out before is dropped. What was
    /// acknowledged is there, as after a death of the process.
    async fn open(&mut self) -> Opened;
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// The state of dispatches.
    pub store: Arc<dyn Store>,
    /// The bytes.
    pub contents: Arc<dyn Contents>,
    /// The triggers.
    pub triggers: Arc<dyn TriggerStore>,
}

impl Opened {
    /// An open store from something that is all of its parts.
    #[must_use]
    pub fn of<S: Store + Contents + TriggerStore>(all: Arc<S>) -> Self {
        let store: Arc<dyn Store> = Arc::<S>::clone(&all);
        let contents: Arc<dyn Contents> = Arc::<S>::clone(&all);
        Self { store, contents, triggers: all }
    }
}

/// Stamps the suite as a module of tests: `conformance!(memory, MemoryHarness::new());`. The
/// expression makes a fresh [`Harness`] for each behaviour.
#[macro_export]
macro_rules! conformance {
    ($module:ident, $harness:expr) => {
        mod $module {
            $crate::conformance!(@stamp $harness;
                registering::a_dispatch_is_recorded_as_registered,
                registering::a_dispatch_loads_as_registered,
                registering::the_node_that_ends_a_lattice_is_found,
                registering::an_id_is_taken_once,
                registering::an_unknown_dispatch_is_not_found,
                registering::a_registration_is_whole_or_absent,
                registering::changes_may_follow_in_the_same_batch,
                registering::any_number_of_nodes_and_assets_is_kept,
                registering::what_was_acknowledged_outlasts_the_process,
                states::epochs_count_from_one_and_never_repeat,
                states::every_state_is_stored_whole,
                states::the_later_change_wins,
                states::completed_nodes_are_counted,
                states::a_refused_batch_changes_nothing,
                states::commits_of_many_tasks_are_all_there,
                states::each_change_set_moves_the_time_of_change,
                assets::an_upload_replaces_its_announcement,
                assets::awaited_assets_are_listed,
                assets::a_content_fulfils_all_that_await_it,
                assets::an_asset_without_stored_bytes_is_refused,
                assets::contents_are_known_by_digest_and_size,
                assets::an_ambiguous_digest_matches_nothing,
                assets::a_content_is_shared_by_dispatches,
                assets::the_owner_gets_what_its_tasks_need,
                assets::the_latest_job_of_a_node_is_kept,
                links::a_child_takes_over_parent_and_root,
                links::a_later_child_takes_the_place_of_an_earlier_one,
                links::a_child_may_come_with_its_parent,
                links::a_root_passes_on_to_the_bottom,
                links::no_dispatch_stands_above_itself,
                lists::unfinished_dispatches_are_those_at_work,
                lists::lists_are_filtered_sorted_and_cut,
                lists::lists_go_by_when_a_dispatch_was_registered,
                lists::pages_by_cursor_and_by_offset_are_the_same,
                retention::what_matches_goes_and_the_rest_stays,
                retention::a_hierarchy_goes_as_a_whole,
                retention::contents_go_with_their_last_asset,
                retention::a_job_goes_with_its_dispatch,
                retention::a_content_that_was_promised_stays,
                retention::a_staged_content_stays,
                retention::each_dispatch_of_a_batch_is_a_holder,
                retention::a_commit_that_comes_too_late_is_refused,
                retention::purges_beside_everything_lose_nothing,
                triggers::a_trigger_outlasts_the_process,
                triggers::the_first_observation_is_noted,
                triggers::what_names_nothing_is_refused,
                triggers::a_firing_and_its_dispatch_are_one,
                triggers::an_event_is_claimed_once,
                triggers::what_waits_may_fire_later,
                triggers::a_stopped_trigger_fires_no_more,
                triggers::triggers_are_listed_in_pages,
                triggers::a_history_has_an_end,
                triggers::what_was_fired_and_has_not_ended_is_known,
                triggers::a_purge_spares_what_triggers_need,
                contents::sizes_around_every_limit_come_back,
                contents::many_are_read_in_order,
                contents::a_dropped_writer_leaves_nothing,
                contents::one_content_written_twice_at_once_is_one,
                contents::a_spool_file_is_taken_over,
                contents::only_plain_files_of_the_spool_are_taken_over,
                contents::bytes_that_are_not_there_are_not_handed_out,
                contents::committed_contents_outlast_the_process,
                contents::the_spool_is_empty_after_opening,
            );
        }
    };
    (@stamp $harness:expr; $($group:ident :: $name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                use super::*;
                let mut harness = $harness;
                $crate::conformance::$group::$name(&mut harness).await;
            }
        )*
    };
}

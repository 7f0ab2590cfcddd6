//! What is kept of triggers: a firing and its dispatch are one, each event is decided once, and
//! nothing that waits is forgotten.

use bytes::Bytes;
use cov_core::status::Status;
use cov_core::trigger::{Firing, Outcome, TriggerId, TriggerRecord, TriggerState, Trouble};

use super::Harness;
use super::fixtures::{at, dispatch_state, id, register, set};
use crate::model::{Change, ChangeSet, PurgeQuery};
use crate::triggers::{
    Decision, FiringQuery, HISTORY_ROWS_MAX, HISTORY_ROWS_SLACK, TriggerChange, TriggerQuery,
    TriggerStore,
};
use crate::{Error, Store};

fn trigger_id(name: &str) -> TriggerId {
    name.parse().unwrap()
}

fn record(name: &str, dispatch: &str) -> TriggerRecord {
    let settings = serde_json::json!({"name": "TimeTrigger", "time_gap": 1.5, "é": [null]});
    TriggerRecord {
        id: trigger_id(name),
        name: "TimeTrigger".to_owned(),
        lattice_dispatch_id: id(dispatch),
        settings: settings.as_object().unwrap().clone(),
        state: TriggerState::Active,
        note: None,
        created_at: at(0),
        updated_at: at(0),
        decided_until: at(0),
        trouble: None,
        fired_count: 0,
    }
}

fn registered(name: &str, dispatch: &str) -> TriggerChange {
    let record = Box::new(record(name, dispatch));
    TriggerChange::Register { record, dispatch_is_here: true }
}

fn firing(key: &str, outcome: Outcome, second: i64) -> Firing {
    Firing {
        event_key: key.to_owned(),
        due_at: at(second),
        decided_at: at(second + 1),
        outcome,
        reason: format!("because of {key}"),
        dispatch: None,
        next_try: (outcome == Outcome::Failed).then(|| at(second + 2)),
        payload: None,
    }
}

fn decision(trigger: &str, key: &str, outcome: Outcome, second: i64) -> Decision {
    let firing = firing(key, outcome, second);
    let trigger = trigger_id(trigger);
    Decision { trigger, firing, marks: Vec::new(), decided_until: at(second) }
}

fn kept(decision: Decision) -> TriggerChange {
    TriggerChange::Decision(Box::new(decision))
}

/// The change set that registers `dispatch` as what this event made.
fn fired(trigger: &str, key: &str, dispatch: &str, second: i64) -> ChangeSet {
    let mut decision = decision(trigger, key, Outcome::Fired, second);
    decision.firing.dispatch = Some(id(dispatch));
    let mut set = register(dispatch, 1);
    set.changes.push(Change::Firing(Box::new(decision)));
    set
}

async fn history(store: &dyn TriggerStore, trigger: &str) -> Vec<(String, Outcome)> {
    let query = FiringQuery { trigger: trigger_id(trigger), before: None, limit: 20_000 };
    let page = store.firings(&query).await.unwrap();
    page.firings.into_iter().map(|(one, _)| (one.event_key, one.outcome)).collect()
}

async fn exists(store: &dyn Store, dispatch: &str) -> bool {
    store.record(&id(dispatch)).await.is_ok()
}

/// Also with the latest state, note, trouble and marks.
pub async fn a_trigger_outlasts_the_process(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    let triggers = opened.triggers.as_ref();
    let trigger = trigger_id("t");
    let trouble = Trouble { error: "away".to_owned(), since: at(4), next_try: Some(at(5)) };
    let mark = |name: &str, value: Option<&'static str>| (name.to_owned(), value.map(Bytes::from));
    let changes = [
        registered("t", "a"),
        TriggerChange::Marks {
            trigger: trigger.clone(),
            marks: vec![mark("x", Some("1")), mark("y", Some("2")), mark("x", None)],
        },
        TriggerChange::State {
            trigger: trigger.clone(),
            state: TriggerState::Paused,
            note: Some("lunch é".to_owned()),
            at: at(3),
        },
        TriggerChange::Trouble { trigger: trigger.clone(), trouble: Some(trouble.clone()) },
    ];
    triggers.change_triggers(&changes).await.unwrap();
    drop(opened);
    let opened = harness.open().await;
    let mut expected = record("t", "a");
    expected.state = TriggerState::Paused;
    expected.note = Some("lunch é".to_owned());
    expected.updated_at = at(3);
    expected.trouble = Some(trouble);
    assert_eq!(opened.triggers.trigger(&trigger).await.unwrap(), expected);
    let live = opened.triggers.live_triggers().await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!((&live[0].record, live[0].has_observed), (&expected, true));
    let marks = opened.triggers.trigger_marks(&trigger).await.unwrap();
    assert_eq!(marks, [("y".to_owned(), Bytes::from("2"))]);
}

/// Whether its observer has worked is known, by marks or by an end of trouble.
pub async fn the_first_observation_is_noted(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    let names = ["none", "trouble", "healthy", "marked"];
    let changes = names.map(|name| registered(name, "a"));
    opened.triggers.change_triggers(&changes).await.unwrap();
    let trouble = Trouble { error: "e".to_owned(), since: at(1), next_try: None };
    let mut marked = decision("marked", "k", Outcome::Skipped, 1);
    marked.marks.push(("m".to_owned(), Some(Bytes::from("v"))));
    let changes = [
        TriggerChange::Trouble { trigger: trigger_id("trouble"), trouble: Some(trouble) },
        TriggerChange::Trouble { trigger: trigger_id("healthy"), trouble: None },
        kept(decision("none", "k", Outcome::Skipped, 1)),
        kept(marked),
    ];
    opened.triggers.change_triggers(&changes).await.unwrap();
    let live = opened.triggers.live_triggers().await.unwrap();
    let observed: Vec<_> =
        live.iter().map(|one| (one.record.id.as_str(), one.has_observed)).collect();
    assert_eq!(
        observed,
        [("none", false), ("trouble", false), ("healthy", true), ("marked", true)]
    );
}

/// Neither a trigger without its dispatch, nor a change of one that is gone.
pub async fn what_names_nothing_is_refused(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let triggers = opened.triggers.as_ref();
    let refused = triggers.change_triggers(&[registered("t", "nowhere")]).await.unwrap_err();
    assert!(matches!(refused, Error::NotFound { .. }), "{refused:?}");
    let elsewhere = TriggerChange::Register {
        record: Box::new(record("far", "nowhere")),
        dispatch_is_here: false,
    };
    triggers.change_triggers(&[elsewhere]).await.unwrap();
    let trigger = trigger_id("t");
    let marks = Vec::new();
    for change in [
        TriggerChange::Trouble { trigger: trigger.clone(), trouble: None },
        TriggerChange::Marks { trigger: trigger.clone(), marks },
        TriggerChange::Delete { trigger: trigger.clone() },
    ] {
        let both = [TriggerChange::Delete { trigger: trigger_id("far") }, change];
        let refused = triggers.change_triggers(&both).await.unwrap_err();
        assert!(matches!(refused, Error::TriggerGone { .. }), "{refused:?}");
    }
    assert_eq!(triggers.live_triggers().await.unwrap().len(), 1, "nothing of it was applied");
    // Late news of a trigger that was deleted hurt nobody.
    let late = [kept(decision("t", "k", Outcome::Skipped, 1))];
    triggers.change_triggers(&late).await.unwrap();
}

/// Firing, marks, progress and dispatch: all of them or none.
pub async fn a_firing_and_its_dispatch_are_one(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    opened.triggers.change_triggers(&[registered("t", "a")]).await.unwrap();
    let trigger = trigger_id("t");
    let mut set = fired("t", "k1", "b", 7);
    if let Some(Change::Firing(decision)) = set.changes.last_mut() {
        decision.marks.push(("seen".to_owned(), Some(Bytes::from("k1"))));
        decision.firing.payload = Some(Bytes::from("body"));
    }
    // The id is taken: nothing of it happens.
    let mut taken = set.clone();
    taken.dispatch = id("a");
    let refused = opened.store.commit(&[taken]).await.unwrap_err();
    assert!(matches!(refused, Error::Exists { .. }), "{refused:?}");
    assert_eq!(history(&*opened.triggers, "t").await, []);
    opened.store.commit(&[set]).await.unwrap();
    drop(opened);
    let opened = harness.open().await;
    let stored = opened.triggers.trigger(&trigger).await.unwrap();
    assert_eq!((stored.fired_count, stored.decided_until), (1, at(7)));
    let firing = opened.triggers.firing(&trigger, "k1").await.unwrap().unwrap();
    assert_eq!(firing.dispatch, Some(id("b")));
    assert_eq!(firing.payload, Some(Bytes::from("body")));
    assert_eq!((firing.due_at, firing.decided_at), (at(7), at(8)));
    let marks = opened.triggers.trigger_marks(&trigger).await.unwrap();
    assert_eq!(marks, [("seen".to_owned(), Bytes::from("k1"))]);
    assert_eq!(opened.triggers.made_by(&trigger, 9).await.unwrap(), [id("b")]);
    assert!(exists(&*opened.store, "b").await);
}

/// The second claim of an event makes nothing and is told of the first.
pub async fn an_event_is_claimed_once(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    store.commit(&[register("a", 1)]).await.unwrap();
    let both = [registered("t", "a"), registered("u", "a")];
    opened.triggers.change_triggers(&both).await.unwrap();
    store.commit(&[fired("t", "k", "b", 1), fired("u", "k", "c", 1)]).await.unwrap();
    let refused = store.commit(&[fired("u", "k2", "d", 2), fired("t", "k", "e", 2)]).await;
    let error = refused.unwrap_err();
    let told = match &error {
        Error::Claimed { trigger, event_key, dispatch } => {
            Some((trigger, event_key.as_str(), dispatch.as_ref()))
        }
        _ => None,
    };
    assert_eq!(told, Some((&trigger_id("t"), "k", Some(&id("b")))), "{error:?}");
    assert!(!exists(store, "d").await && !exists(store, "e").await);
    // Twice in one batch: the later one is refused.
    let twice = [fired("t", "k3", "f", 3), fired("t", "k3", "g", 3)];
    let refused = store.commit(&twice).await.unwrap_err();
    assert!(matches!(refused, Error::Claimed { .. }), "{refused:?}");
    assert_eq!(history(&*opened.triggers, "t").await, [("k".to_owned(), Outcome::Fired)]);
    // A skipped event is decided too, and a decision in passing never takes back a firing.
    let mut late = decision("t", "k", Outcome::Skipped, 9);
    late.marks.push(("seen".to_owned(), Some(Bytes::from("k"))));
    let skipped = [kept(late), kept(decision("t", "k4", Outcome::Skipped, 4))];
    opened.triggers.change_triggers(&skipped).await.unwrap();
    let marks = opened.triggers.trigger_marks(&trigger_id("t")).await.unwrap();
    assert_eq!(marks, [("seen".to_owned(), Bytes::from("k"))]);
    assert_eq!(opened.triggers.trigger(&trigger_id("t")).await.unwrap().decided_until, at(9));
    let refused = store.commit(&[fired("t", "k4", "h", 5)]).await.unwrap_err();
    assert!(matches!(refused, Error::Claimed { dispatch: None, .. }), "{refused:?}");
    let firing = opened.triggers.firing(&trigger_id("t"), "k").await.unwrap().unwrap();
    assert_eq!((firing.outcome, firing.dispatch), (Outcome::Fired, Some(id("b"))));
}

/// What waits is handed out at the next start, and what came with its event stays with it.
pub async fn what_waits_may_fire_later(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    let mut queued = decision("t", "q", Outcome::Queued, 1);
    queued.firing.payload = Some(Bytes::from("body"));
    let mut parked = decision("t", "p", Outcome::Failed, 3);
    parked.firing.next_try = None;
    let changes = [
        registered("t", "a"),
        kept(queued),
        kept(decision("t", "f", Outcome::Failed, 2)),
        kept(parked),
        kept(decision("t", "s", Outcome::Skipped, 4)),
    ];
    opened.triggers.change_triggers(&changes).await.unwrap();
    drop(opened);
    let opened = harness.open().await;
    let live = opened.triggers.live_triggers().await.unwrap();
    let waiting: Vec<_> = live[0].waiting.iter().map(|one| one.event_key.as_str()).collect();
    assert_eq!(waiting, ["q", "f"]);
    assert_eq!(live[0].waiting[1].next_try, Some(at(4)));
    let sets = [fired("t", "q", "b", 5), fired("t", "f", "c", 5), fired("t", "p", "d", 5)];
    opened.store.commit(&sets).await.unwrap();
    let trigger = trigger_id("t");
    let firing = opened.triggers.firing(&trigger, "q").await.unwrap().unwrap();
    assert_eq!((firing.outcome, firing.payload), (Outcome::Fired, Some(Bytes::from("body"))));
    assert_eq!(opened.triggers.live_triggers().await.unwrap()[0].waiting, []);
    assert_eq!(opened.triggers.trigger(&trigger).await.unwrap().fired_count, 3);
    let query = FiringQuery { trigger, before: None, limit: 3 };
    let page = opened.triggers.firings(&query).await.unwrap();
    let shown: Vec<_> =
        page.firings.iter().map(|(one, has)| (one.event_key.as_str(), *has)).collect();
    assert_eq!(shown, [("s", false), ("p", false), ("f", false)]);
    let rest = opened.triggers.firings(&FiringQuery { before: page.next, ..query }).await.unwrap();
    assert_eq!((rest.firings.len(), rest.next), (1, None));
    assert_eq!((rest.firings[0].0.event_key.as_str(), rest.firings[0].1), ("q", true));
}

/// Also when the firing was decided on before.
pub async fn a_stopped_trigger_fires_no_more(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    store.commit(&[register("a", 1)]).await.unwrap();
    let stop = TriggerChange::State {
        trigger: trigger_id("t"),
        state: TriggerState::Stopped,
        note: None,
        at: at(2),
    };
    opened.triggers.change_triggers(&[registered("t", "a"), stop]).await.unwrap();
    for trigger in ["t", "unknown"] {
        let refused = store.commit(&[fired(trigger, "k", "b", 3)]).await.unwrap_err();
        assert!(matches!(refused, Error::TriggerGone { .. }), "{refused:?}");
    }
    assert!(!exists(store, "b").await);
    let skipped = [kept(decision("t", "k", Outcome::Skipped, 3))];
    opened.triggers.change_triggers(&skipped).await.unwrap();
    assert_eq!(history(&*opened.triggers, "t").await, [("k".to_owned(), Outcome::Skipped)]);
    assert!(opened.triggers.live_triggers().await.unwrap().is_empty());
}

/// By dispatch and state, latest first, page by page.
pub async fn triggers_are_listed_in_pages(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1), register("b", 1)]).await.unwrap();
    let names = ["t1", "t2", "t3", "t4"];
    let changes: Vec<_> =
        names.iter().zip(["a", "b", "a", "a"]).map(|(t, d)| registered(t, d)).collect();
    opened.triggers.change_triggers(&changes).await.unwrap();
    let pause = TriggerChange::State {
        trigger: trigger_id("t3"),
        state: TriggerState::Paused,
        note: None,
        at: at(2),
    };
    opened.triggers.change_triggers(&[pause]).await.unwrap();
    let all = TriggerQuery { dispatch: None, state: None, after: None, limit: 3 };
    let listed = async |query: &TriggerQuery| {
        let page = opened.triggers.triggers(query).await.unwrap();
        let names: Vec<_> = page.triggers.iter().map(|one| one.id.to_string()).collect();
        (names, page.next)
    };
    let (names, next) = listed(&all).await;
    assert_eq!(names, ["t4", "t3", "t2"]);
    assert_eq!(
        listed(&TriggerQuery { after: next, ..all.clone() }).await,
        (vec!["t1".into()], None)
    );
    let of_a = TriggerQuery { dispatch: Some(id("a")), ..all.clone() };
    assert_eq!(listed(&of_a).await.0, ["t4", "t3", "t1"]);
    let paused = TriggerQuery { state: Some(TriggerState::Paused), ..of_a };
    assert_eq!(listed(&paused).await.0, ["t3"]);
    opened
        .triggers
        .change_triggers(&[TriggerChange::Delete { trigger: trigger_id("t4") }])
        .await
        .unwrap();
    assert_eq!(listed(&all).await, (vec!["t3".into(), "t2".into(), "t1".into()], None));
}

/// What is old goes; what waits stays, however old.
pub async fn a_history_has_an_end(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    opened.store.commit(&[register("a", 1)]).await.unwrap();
    opened.triggers.change_triggers(&[registered("t", "a")]).await.unwrap();
    let many = HISTORY_ROWS_MAX + HISTORY_ROWS_SLACK;
    let decisions = (0..=many).map(|number| {
        let outcome = if number == 1 { Outcome::Queued } else { Outcome::Skipped };
        kept(decision("t", &format!("k{number}"), outcome, i64::from(number)))
    });
    let decisions: Vec<_> = decisions.collect();
    opened.triggers.change_triggers(&decisions[..decisions.len() - 1]).await.unwrap();
    assert_eq!(history(&*opened.triggers, "t").await.len(), many as usize);
    opened.triggers.change_triggers(&decisions[decisions.len() - 1..]).await.unwrap();
    let left = history(&*opened.triggers, "t").await;
    assert_eq!(left.len(), HISTORY_ROWS_MAX as usize + 1);
    assert_eq!(left.last().unwrap(), &("k1".to_owned(), Outcome::Queued));
    assert_eq!(left[0].0, format!("k{many}"));
}

/// For a start after a crash: what was fired and is not over, or was not even begun.
pub async fn what_was_fired_and_has_not_ended_is_known(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    store.commit(&[register("a", 1)]).await.unwrap();
    opened.triggers.change_triggers(&[registered("t", "a")]).await.unwrap();
    let mut first = decision("t", "k0", Outcome::Fired, 1);
    first.firing.dispatch = Some(id("a"));
    store.commit(&[set("a", 1, vec![Change::Firing(Box::new(first))])]).await.unwrap();
    store.commit(&[fired("t", "k1", "b", 2), fired("t", "k2", "c", 2)]).await.unwrap();
    let state =
        |dispatch: &str, status| set(dispatch, 3, vec![Change::Dispatch(dispatch_state(status))]);
    store.commit(&[state("b", Status::Starting), state("c", Status::Failed)]).await.unwrap();
    let unsettled = opened.triggers.unsettled().await.unwrap();
    let trigger = trigger_id("t");
    let expected = [
        (trigger.clone(), id("a"), Status::NewObject),
        (trigger.clone(), id("b"), Status::Starting),
    ];
    assert_eq!(unsettled, expected);
    // The first dispatch was started and not made.
    assert_eq!(opened.triggers.made_by(&trigger, 1).await.unwrap(), [id("c")]);
}

/// A purge leaves what a trigger runs again, until that is stopped.
pub async fn a_purge_spares_what_triggers_need(harness: &mut dyn Harness) {
    let opened = harness.open().await;
    let store = opened.store.as_ref();
    store.commit(&[register("a", 1), register("b", 1)]).await.unwrap();
    let ended =
        |dispatch| set(dispatch, 2, vec![Change::Dispatch(dispatch_state(Status::Completed))]);
    store.commit(&[ended("a"), ended("b")]).await.unwrap();
    opened.triggers.change_triggers(&[registered("t", "a")]).await.unwrap();
    let all = PurgeQuery { ended_before: at(1_000), statuses: Vec::new(), dry_run: false };
    assert_eq!(store.purge(&all).await.unwrap().dispatches, 1);
    assert!(exists(store, "a").await && !exists(store, "b").await);
    let stop = TriggerChange::State {
        trigger: trigger_id("t"),
        state: TriggerState::Stopped,
        note: None,
        at: at(2),
    };
    opened.triggers.change_triggers(&[stop]).await.unwrap();
    assert_eq!(store.purge(&all).await.unwrap().dispatches, 1);
    assert!(!exists(store, "a").await);
}

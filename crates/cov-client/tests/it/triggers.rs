//! Triggers through the client, on the real routes.

use cov_client::{Kind, TriggerFilter};
use cov_core::error::ErrorCode;
use cov_core::ids::DispatchId;
use cov_core::trigger::{Dictionary, Outcome, TriggerState};
use serde_json::json;

use crate::native::Server;

fn dictionary(name: &str, dispatch: &DispatchId, own: &serde_json::Value) -> Dictionary {
    let mut fields = json!({"name": name, "lattice_dispatch_id": dispatch});
    let fields = fields.as_object_mut().unwrap();
    fields.extend(own.as_object().unwrap().clone());
    fields.clone()
}

#[tokio::test]
async fn a_trigger_from_its_registration_to_its_end() {
    let server = Server::start().await;
    let client = &server.client;
    let dispatch = server.register("flow").await;
    let fields = dictionary("TimeTrigger", &dispatch, &json!({"time_gap": 3600, "mine": [1]}));
    let registered = client.register_trigger(&fields).await.unwrap();
    let id = registered.record.id.clone();
    assert_eq!(registered.record.lattice_dispatch_id, dispatch);
    assert_eq!(registered.record.settings["mine"], json!([1]));
    assert_eq!(client.trigger_ticks(&id, 3).await.unwrap().len(), 3);
    assert_eq!(registered.next_due, client.trigger_ticks(&id, 1).await.unwrap().first().copied());
    assert!(!client.test_trigger(&id).await.unwrap().is_empty());

    let fired = client.fire_trigger(&id, Some("now")).await.unwrap();
    assert_eq!((fired.outcome, fired.dispatch_id.as_ref()), (Outcome::Fired, Some(&dispatch)));
    assert_eq!(client.fire_trigger(&id, Some("now")).await.unwrap(), fired);
    let history = client.trigger_history(&id, 10, None).await.unwrap();
    assert_eq!((history.firings, history.before), (vec![fired], None));

    let paused = client.pause_trigger(&id, Some("lunch")).await.unwrap();
    assert_eq!(paused.record.state, TriggerState::Paused);
    assert_eq!((paused.record.note.as_deref(), paused.next_due), (Some("lunch"), None));
    let filter = TriggerFilter { state: Some(TriggerState::Paused), ..TriggerFilter::default() };
    let listed = client.triggers(&filter).await.unwrap();
    assert_eq!((listed.triggers, listed.cursor), (vec![paused], None));
    assert_eq!(client.resume_trigger(&id).await.unwrap().record.state, TriggerState::Active);

    let stopped = client.stop_trigger(&id).await.unwrap();
    assert_eq!(stopped.record.state, TriggerState::Stopped);
    let refused = client.resume_trigger(&id).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    client.delete_trigger(&id).await.unwrap();
    let gone = client.trigger(&id).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    assert_eq!(gone.problem().unwrap().code, ErrorCode::TriggerNotFound);
    server.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = Server::start().await;
    let (one, other) = (server.register("one").await, server.register("other").await);
    let mut ids = Vec::new();
    for dispatch in [&one, &other, &one] {
        let fields = dictionary("BaseTrigger", dispatch, &json!({}));
        ids.push(server.client.register_trigger(&fields).await.unwrap().record.id);
    }
    let filter = TriggerFilter { limit: 2, ..TriggerFilter::default() };
    let first = server.client.triggers(&filter).await.unwrap();
    let cursor = first.cursor;
    assert!(cursor.is_some());
    let second = server.client.triggers(&TriggerFilter { cursor, ..filter.clone() }).await.unwrap();
    let seen = first.triggers.iter().chain(&second.triggers).map(|one| one.record.id.clone());
    assert_eq!(seen.collect::<Vec<_>>(), ids.into_iter().rev().collect::<Vec<_>>());
    let of_other = TriggerFilter { dispatch_id: Some(other.clone()), ..filter };
    let found = server.client.triggers(&of_other).await.unwrap();
    assert_eq!(found.triggers.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_trigger_is_refused_with_a_reason() {
    let server = Server::start().await;
    let dispatch = server.register("flow").await;
    let nowhere: DispatchId = "nowhere".parse().unwrap();
    for (fields, kind, expected) in [
        (dictionary("Unheard", &dispatch, &json!({})), Kind::Refused, "TimeTrigger"),
        (
            dictionary("TimeTrigger", &dispatch, &json!({"time_gap": "x"})),
            Kind::Refused,
            "time_gap",
        ),
        (dictionary("BaseTrigger", &nowhere, &json!({})), Kind::NotFound, "nowhere"),
    ] {
        let refused = server.client.register_trigger(&fields).await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert!(refused.to_string().contains(expected), "{refused}");
    }
    assert_eq!(server.client.triggers(&TriggerFilter::default()).await.unwrap().triggers, []);
    server.stop().await;
}

/// Its secret never comes back, and nobody without it is heard.
#[tokio::test]
async fn a_webhook_keeps_its_secret() {
    let server = Server::start().await;
    let dispatch = server.register("flow").await;
    let fields = dictionary("WebhookTrigger", &dispatch, &json!({"secret": "0123456789abcdef"}));
    let trigger = server.client.register_trigger(&fields).await.unwrap();
    assert_eq!(trigger.record.settings["secret"], "***");
    let gone =
        server.client.trigger_payload(&trigger.record.id, "webhook:a/b c").await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    server.stop().await;
}

#[tokio::test]
async fn the_triggers_of_a_dispatch_are_registered_and_stopped_together() {
    let server = Server::start().await;
    let (one, other) = (server.register("one").await, server.register("other").await);
    let hourly = |dispatch| dictionary("TimeTrigger", dispatch, &json!({"time_gap": 3600}));
    // Whatever the dictionaries say of a dispatch.
    let both = [hourly(&other), hourly(&other)];
    let registered = server.client.register_triggers(&both, &one).await.unwrap();
    assert!(registered.iter().all(|trigger| trigger.record.lattice_dispatch_id == one));
    let kept = server.client.register_trigger(&hourly(&other)).await.unwrap();
    let mut wrong = hourly(&one);
    wrong.insert("name".to_owned(), "NoTrigger".into());
    let refused = server.client.register_triggers(&[wrong, hourly(&one)], &one).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    let address = Some(server.client.address());
    let stopped = cov_client::stop_triggers(std::slice::from_ref(&one), address).await.unwrap();
    assert_eq!(stopped.len(), 2);
    assert!(stopped.iter().all(|trigger| trigger.record.state == TriggerState::Stopped));
    assert_eq!(server.client.stop_triggers(&[one]).await.unwrap(), []);
    let state = server.client.trigger(&kept.record.id).await.unwrap().record.state;
    assert_eq!(state, TriggerState::Active);
    server.stop().await;
}

#[tokio::test]
async fn calls_can_name_their_server_beside() {
    let server = Server::start().await;
    let dispatch = server.register("flow").await;
    let address = Some(server.client.address());
    let record = cov_client::get_result(&dispatch, false, true, address).await.unwrap();
    assert_eq!(record.dispatch_id, dispatch);
    let cancelled = cov_client::cancel(&dispatch, &[], address).await.unwrap();
    assert_eq!(cancelled.dispatch_id, dispatch);
    let nowhere = cov_client::cancel(&dispatch, &[], Some("nowhere")).await.unwrap_err();
    assert_eq!(nowhere.kind(), Kind::Address);
    server.stop().await;
}

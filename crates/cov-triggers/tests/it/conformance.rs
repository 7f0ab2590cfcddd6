//! The types that need nothing but this crate pass the suite of all trigger types.

use async_trait::async_trait;
use bytes::Bytes;
use cov_core::trigger::{Dictionary, TriggerId};
use cov_triggers::conformance::Fixture;
use cov_triggers::service::WebhookCall;
use cov_triggers::{Triggers, WebhookTrigger, trigger_conformance};
use serde_json::{Value, json};

fn dictionary(value: &Value) -> Dictionary {
    value.as_object().unwrap().clone()
}

/// Time passes by itself.
struct Ticking(Value, &'static str);

#[async_trait]
impl Fixture for Ticking {
    fn dictionary(&self) -> Dictionary {
        dictionary(&self.0)
    }

    fn wrong(&self) -> (&'static str, Value) {
        (self.1, json!("yesterday"))
    }

    async fn cause(&self, _triggers: &Triggers, _trigger: &TriggerId) {}
}

fn time() -> Ticking {
    Ticking(json!({"name": "TimeTrigger", "time_gap": 2.5, "jitter": 0.5}), "time_gap")
}

fn cron() -> Ticking {
    let fields = json!({
        "name": "CronTrigger", "cron": "*/10 * * * * *", "time_zone": "Asia/Kolkata",
        "gap": "skip", "fold": "second",
    });
    Ticking(fields, "cron")
}

struct ByHand;

#[async_trait]
impl Fixture for ByHand {
    fn dictionary(&self) -> Dictionary {
        dictionary(&json!({"name": "BaseTrigger", "overlap": "queue_all"}))
    }

    fn wrong(&self) -> (&'static str, Value) {
        ("overlap", json!("never"))
    }

    async fn cause(&self, triggers: &Triggers, trigger: &TriggerId) {
        triggers.fire(trigger, None, None).await.unwrap();
    }
}

struct Webhook;

#[async_trait]
impl Fixture for Webhook {
    fn dictionary(&self) -> Dictionary {
        dictionary(&json!({"name": "WebhookTrigger", "secret": "very secret"}))
    }

    fn wrong(&self) -> (&'static str, Value) {
        ("secret", json!("short"))
    }

    async fn cause(&self, triggers: &Triggers, trigger: &TriggerId) {
        let body = Bytes::from_static(b"{}");
        let signature = WebhookTrigger::new("very secret").unwrap().sign(&body);
        let call = WebhookCall { signature: Some(signature), idempotency_key: None, body };
        triggers.webhook(trigger, call).await.unwrap();
    }
}

trigger_conformance!(time_trigger, #[tokio::test(start_paused = true)], time());
trigger_conformance!(cron_trigger, #[tokio::test(start_paused = true)], cron());
trigger_conformance!(base_trigger, #[tokio::test(start_paused = true)], ByHand);
trigger_conformance!(webhook_trigger, #[tokio::test(start_paused = true)], Webhook);

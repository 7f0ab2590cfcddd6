//! Triggers: what is registered, what each has decided, and what can be done to one.

use bytes::Bytes;
use cov_core::ids::DispatchId;
use cov_core::time::Timestamp;
use cov_core::trigger::{Dictionary, Outcome, TriggerId, TriggerRecord, TriggerState};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::client::{Call, Client};
use crate::error::Error;

/// A trigger as the server shows it. Secrets in its settings are `***`.
///
/// ```
/// fn name(trigger: &cov_client::Trigger) -> &str {
///     &trigger.record.name
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    /// Everything that is kept of it.
    #[serde(flatten)]
    pub record: TriggerRecord,
    /// Its next tick, if it has a schedule and is active.
    pub next_due: Option<Timestamp>,
    /// The dispatches that it has made, latest first, up to a limit of the server.
    pub new_dispatch_ids: Vec<DispatchId>,
}

/// One decision of a trigger.
///
/// ```
/// fn made(decision: &cov_client::Decision) -> Option<&cov_core::ids::DispatchId> {
///     decision.dispatch_id.as_ref()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Names the event among those of its trigger.
    pub event_key: String,
    /// When the event happened, or was due.
    pub due_at: Timestamp,
    /// When this was decided.
    pub decided_at: Timestamp,
    /// What was decided.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
    /// The dispatch that was made or started.
    pub dispatch_id: Option<DispatchId>,
    /// When firing is tried again.
    pub next_try: Option<Timestamp>,
    /// Whether something came with the event; see [`Client::trigger_payload`].
    pub has_payload: bool,
}

/// Which triggers a list shows.
///
/// ```
/// let first = cov_client::TriggerFilter { limit: 10, ..cov_client::TriggerFilter::default() };
/// assert_eq!(first.cursor, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerFilter {
    /// Only those of this dispatch.
    pub dispatch_id: Option<DispatchId>,
    /// Only those in this state.
    pub state: Option<TriggerState>,
    /// How many to return at most.
    pub limit: u32,
    /// The cursor of an earlier page.
    pub cursor: Option<u64>,
}

impl Default for TriggerFilter {
    fn default() -> Self {
        Self { dispatch_id: None, state: None, limit: 100, cursor: None }
    }
}

/// A page of triggers, latest first.
///
/// ```
/// let page: cov_client::TriggerPage = serde_json::from_str(r#"{"triggers": []}"#)?;
/// assert_eq!(page.cursor, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TriggerPage {
    /// The triggers.
    pub triggers: Vec<Trigger>,
    /// Asks for the next page; `None` on the last one.
    #[serde(default)]
    pub cursor: Option<u64>,
}

/// A page of a history, latest first.
///
/// ```
/// let page: cov_client::History = serde_json::from_str(r#"{"firings": [], "before": 7}"#)?;
/// assert_eq!(page.before, Some(7));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct History {
    /// The decisions.
    pub firings: Vec<Decision>,
    /// Asks for the next page; `None` on the last one.
    #[serde(default)]
    pub before: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Ticks {
    next: Vec<Timestamp>,
}

#[derive(Debug, Deserialize)]
struct WouldFire {
    would_fire: Vec<String>,
}

/// Calls about triggers.
///
/// ```no_run
/// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// for trigger in client.triggers(&cov_client::TriggerFilter::default()).await?.triggers {
///     let history = client.trigger_history(&trigger.record.id, 1, None).await?;
///     println!("{} {:?}", trigger.record.name, history.firings);
/// }
/// # Ok(())
/// # }
/// ```
impl Client {
    /// Lists triggers.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when the server runs no triggers; otherwise
    /// whatever keeps it from answering. So for every call about triggers.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let filter = cov_client::TriggerFilter::default();
    /// println!("{}", client.triggers(&filter).await?.triggers.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn triggers(&self, filter: &TriggerFilter) -> Result<TriggerPage, Error> {
        let mut path = format!("/api/v3/triggers?limit={}", filter.limit);
        if let Some(dispatch) = &filter.dispatch_id {
            path.push_str(&format!("&dispatch_id={dispatch}"));
        }
        if let Some(state) = filter.state {
            path.push_str(match state {
                TriggerState::Active => "&state=active",
                TriggerState::Paused => "&state=paused",
                TriggerState::Stopped => "&state=stopped",
            });
        }
        if let Some(cursor) = filter.cursor {
            path.push_str(&format!("&cursor={cursor}"));
        }
        self.get_json(&path).await
    }

    /// Registers a trigger. It is durable on return. Sent once: an answer that got lost may have
    /// left a trigger behind.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when the dictionary describes no trigger that
    /// could work there; [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let text = r#"{"name": "TimeTrigger", "time_gap": 60, "lattice_dispatch_id": "d-1"}"#;
    /// let trigger = client.register_trigger(&serde_json::from_str(text)?).await?;
    /// println!("{}", trigger.record.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_trigger(&self, dictionary: &Dictionary) -> Result<Trigger, Error> {
        let body = serde_json::Value::Object(dictionary.clone());
        self.post_json("/api/v3/triggers", &body).await
    }

    /// Registers triggers for a dispatch, whichever theirs was. When one is refused, those before
    /// it stay, and [`Client::stop_triggers`] stops them.
    ///
    /// # Errors
    /// As [`Client::register_trigger`].
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let hourly = serde_json::from_str(r#"{"name": "TimeTrigger", "time_gap": 3600}"#)?;
    /// client.register_triggers(&[hourly], &id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn register_triggers(
        &self,
        dictionaries: &[Dictionary],
        dispatch: &DispatchId,
    ) -> Result<Vec<Trigger>, Error> {
        let mut registered = Vec::with_capacity(dictionaries.len());
        for dictionary in dictionaries {
            let mut dictionary = dictionary.clone();
            dictionary.insert("lattice_dispatch_id".to_owned(), dispatch.as_str().into());
            registered.push(self.register_trigger(&dictionary).await?);
        }
        Ok(registered)
    }

    /// Stops all triggers of these dispatches for good and keeps their histories; returns those
    /// that were not stopped before. A dispatch without triggers is no error.
    ///
    /// # Errors
    /// As [`Client::stop_trigger`].
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// println!("{} stopped", client.stop_triggers(&[id]).await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop_triggers(&self, dispatches: &[DispatchId]) -> Result<Vec<Trigger>, Error> {
        let mut stopped = Vec::new();
        for dispatch in dispatches {
            let mut filter =
                TriggerFilter { dispatch_id: Some(dispatch.clone()), ..TriggerFilter::default() };
            loop {
                let page = self.triggers(&filter).await?;
                for trigger in page.triggers {
                    if trigger.record.state != TriggerState::Stopped {
                        stopped.push(self.stop_trigger(&trigger.record.id).await?);
                    }
                }
                filter.cursor = page.cursor;
                if filter.cursor.is_none() {
                    break;
                }
            }
        }
        Ok(stopped)
    }

    /// One trigger.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown trigger.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// println!("{:?}", client.trigger(&id).await?.next_due);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn trigger(&self, trigger: &TriggerId) -> Result<Trigger, Error> {
        // An id has no character that would have to be escaped.
        self.get_json(&format!("/api/v3/triggers/{trigger}")).await
    }

    /// What a trigger has decided, latest first: at most `limit` decisions, before a point that an
    /// earlier page named.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown trigger.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// println!("{:?}", client.trigger_history(&id, 10, None).await?.firings);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn trigger_history(
        &self,
        trigger: &TriggerId,
        limit: u32,
        before: Option<u64>,
    ) -> Result<History, Error> {
        let mut path = format!("/api/v3/triggers/{trigger}/history?limit={limit}");
        if let Some(before) = before {
            path.push_str(&format!("&before={before}"));
        }
        self.get_json(&path).await
    }

    /// What came with an event, like the body of a webhook.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) when nothing did, or nothing is known of it.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// println!("{} bytes", client.trigger_payload(&id, "order-17").await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn trigger_payload(
        &self,
        trigger: &TriggerId,
        event_key: &str,
    ) -> Result<Bytes, Error> {
        let key = escaped(event_key);
        let path = format!("/api/v3/triggers/{trigger}/history/{key}/payload");
        let answer = self.call(&Call::get(path)).await?;
        match answer.status.is_success() {
            true => Ok(answer.body),
            false => Err(answer.into_error()),
        }
    }

    /// The next `count` ticks of a trigger; none for one without a schedule.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown or stopped trigger.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// println!("{:?}", client.trigger_ticks(&id, 3).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn trigger_ticks(
        &self,
        trigger: &TriggerId,
        count: u32,
    ) -> Result<Vec<Timestamp>, Error> {
        let path = format!("/api/v3/triggers/{trigger}/next?count={count}");
        Ok(self.get_json::<Ticks>(&path).await?.next)
    }

    /// What a trigger would see if it looked now, a line each. Fires nothing.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when what it watches cannot be watched now.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// println!("{:?}", client.test_trigger(&id).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn test_trigger(&self, trigger: &TriggerId) -> Result<Vec<String>, Error> {
        let path = format!("/api/v3/triggers/{trigger}/test");
        Ok(self.post_json_again::<WouldFire>(&path, &json!({})).await?.would_fire)
    }

    /// Pauses a trigger; `note` says why, for people.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when it was stopped.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// client.pause_trigger(&id, Some("the disk is full")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause_trigger(
        &self,
        trigger: &TriggerId,
        note: Option<&str>,
    ) -> Result<Trigger, Error> {
        let path = format!("/api/v3/triggers/{trigger}/pause");
        self.post_json_again(&path, &json!({ "note": note })).await
    }

    /// Lets a paused trigger go on.
    ///
    /// # Errors
    /// [`Kind::Refused`](crate::Kind::Refused) when it was stopped.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// client.resume_trigger(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume_trigger(&self, trigger: &TriggerId) -> Result<Trigger, Error> {
        self.post_json_again(&format!("/api/v3/triggers/{trigger}/resume"), &json!({})).await
    }

    /// Fires by hand. `event_key` names the event: the same one fires once, and the call is then
    /// repeated when its answer gets lost.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown trigger;
    /// [`Kind::Refused`](crate::Kind::Refused) when it was stopped.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// println!("{:?}", client.fire_trigger(&id, Some("order-17")).await?.outcome);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fire_trigger(
        &self,
        trigger: &TriggerId,
        event_key: Option<&str>,
    ) -> Result<Decision, Error> {
        let path = format!("/api/v3/triggers/{trigger}/fire");
        let body = json!({ "event_key": event_key });
        match event_key {
            Some(_) => self.post_json_again(&path, &body).await,
            None => self.post_json(&path, &body).await,
        }
    }

    /// Stops a trigger for good and keeps its history. It does not fire after the answer.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown trigger.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// client.stop_trigger(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stop_trigger(&self, trigger: &TriggerId) -> Result<Trigger, Error> {
        self.post_json_again(&format!("/api/v3/triggers/{trigger}/stop"), &json!({})).await
    }

    /// Stops a trigger and removes it with its history.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown trigger.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "1c9e6a3e-9f60-4a3c-8d0b-3d0a5b1c2d4e".parse()?;
    /// client.delete_trigger(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_trigger(&self, trigger: &TriggerId) -> Result<(), Error> {
        let path = format!("/api/v3/triggers/{trigger}");
        self.command(&Call::new(Method::DELETE, path).once()).await
    }
}

/// A text as one step of a path.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

//! What happens on the server, as it happens. Reads server-sent events, and goes on where it was
//! when a connection breaks.

use std::time::Duration;

use bytes::BytesMut;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::client::{Call, Client};
use crate::download::Download;
use crate::error::Error;

/// The server says something every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Longest event. Bytes.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Something that has happened, durably.
///
/// ```
/// use cov_client::Event;
/// fn has_ended(event: &Event) -> bool {
///     matches!(event, Event::Dispatch { status, .. } if status.is_terminal())
/// }
/// assert!(!has_ended(&Event::Lagged));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The present state, at the begin of the events of one dispatch and behind a gap.
    Summary(Summary),
    /// A dispatch was registered.
    Registered {
        /// The dispatch.
        dispatch_id: DispatchId,
        /// When.
        at: Timestamp,
    },
    /// The state of a dispatch is this now.
    Dispatch {
        /// The dispatch.
        dispatch_id: DispatchId,
        /// Its state.
        status: Status,
        /// Since when.
        at: Timestamp,
    },
    /// The state of a node is this now.
    Node {
        /// The dispatch.
        dispatch_id: DispatchId,
        /// The node.
        node_id: NodeId,
        /// Its state.
        status: Status,
        /// Since when.
        at: Timestamp,
    },
    /// A node got a sub-dispatch.
    Link {
        /// The dispatch.
        dispatch_id: DispatchId,
        /// The node.
        node_id: NodeId,
        /// The sub-dispatch.
        sub_dispatch_id: DispatchId,
        /// When.
        at: Timestamp,
    },
    /// Events were missed; what is wanted of the present state has to be read again.
    Lagged,
}

/// Events as they come.
///
/// ```no_run
/// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
/// let mut events = client.events(None);
/// while let Some(event) = events.next().await? {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Events {
    client: Client,
    path: String,
    /// Whether the events end, which those of one dispatch do.
    ends: bool,
    last_id: Option<String>,
    stream: Option<Download>,
    buffer: BytesMut,
    is_over: bool,
}

impl Client {
    /// Follows one dispatch until it has ended, or all dispatches for as long as it is read.
    /// Nothing is sent before the first event is asked for.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let mut events = client.events(Some(&id));
    /// println!("{:?}", events.next().await?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self, dispatch: Option<&DispatchId>) -> Events {
        let path = match dispatch {
            Some(dispatch) => format!("/api/v3/dispatches/{dispatch}/events"),
            None => "/api/v3/events".to_owned(),
        };
        Events {
            client: self.clone(),
            path,
            ends: dispatch.is_some(),
            last_id: None,
            stream: None,
            buffer: BytesMut::new(),
            is_over: false,
        }
    }
}

#[derive(Deserialize)]
struct Data {
    dispatch_id: DispatchId,
    at: Timestamp,
    #[serde(default)]
    status: Option<Status>,
    #[serde(default)]
    node_id: Option<NodeId>,
    #[serde(default)]
    sub_dispatch_id: Option<DispatchId>,
}

impl Events {
    /// The next event; `None` when the dispatch has ended. When a connection breaks, another one
    /// goes on where it was.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch; the server is gone for
    /// longer than requests are tried again.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut events = client.events(None);
    /// while let Some(event) = events.next().await? {
    ///     println!("{event:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some(block) = self.block() {
                if let Some(event) = self.read(&block) {
                    return Ok(Some(event));
                }
            }
            if self.is_over {
                return Ok(None);
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let mut call = Call::get(&self.path);
                let last = self.last_id.as_ref().and_then(|id| HeaderValue::from_str(id).ok());
                if let Some(last) = last {
                    call = call.header(HeaderName::from_static("last-event-id"), last);
                }
                let opened = self.client.open(&call).await?;
                self.buffer.clear();
                self.stream.insert(Download::new(opened, SILENCE_MAX))
            }
        };
        match stream.next().await {
            Ok(Some(bytes)) if self.buffer.len() + bytes.len() <= EVENT_BYTES_MAX => {
                self.buffer.extend_from_slice(&bytes);
            }
            // Broken, silent or ended: the next one goes on behind the last event.
            Ok(_) | Err(_) => {
                tracing::debug!(path = self.path, "events are followed anew");
                self.stream = None;
            }
        }
        Ok(())
    }

    /// The next whole block of the stream.
    fn block(&mut self) -> Option<String> {
        let end = self.buffer.windows(2).position(|two| two == b"\n\n")?;
        let block = self.buffer.split_to(end + 2);
        Some(String::from_utf8_lossy(&block).into_owned())
    }

    /// Reads a block; `None` for comments, and for what a newer server has to say.
    fn read(&mut self, block: &str) -> Option<Event> {
        let member =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if let Some(id) = member("id") {
            self.last_id = Some(id.to_owned());
        }
        let data = member("data")?;
        let event = match member("event")? {
            "lagged" => Event::Lagged,
            "summary" => Event::Summary(serde_json::from_str(data).ok()?),
            kind => of_data(kind, serde_json::from_str(data).ok()?)?,
        };
        let ended = match &event {
            Event::Summary(summary) => summary.status.is_terminal(),
            Event::Dispatch { status, .. } => status.is_terminal(),
            _ => false,
        };
        self.is_over = self.ends && ended;
        Some(event)
    }
}

fn of_data(kind: &str, data: Data) -> Option<Event> {
    let Data { dispatch_id, at, status, node_id, sub_dispatch_id } = data;
    match kind {
        "registered" => Some(Event::Registered { dispatch_id, at }),
        "dispatch" => Some(Event::Dispatch { dispatch_id, status: status?, at }),
        "node" => Some(Event::Node { dispatch_id, node_id: node_id?, status: status?, at }),
        "link" => {
            let (node_id, sub_dispatch_id) = (node_id?, sub_dispatch_id?);
            Some(Event::Link { dispatch_id, node_id, sub_dispatch_id, at })
        }
        _ => None,
    }
}

//! Dispatches as the native API shows them: one by id, and lists of short records.

use std::collections::BTreeMap;

use cov_core::error::Fault;
use cov_core::graph::NodeKind;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::manifest::LatticeInfo;
use cov_core::result::Summary;
use cov_core::status::Status;
use cov_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::error::Error;

/// Which dispatches a list shows.
///
/// ```
/// use cov_client::Filter;
/// let second_page = Filter { limit: 50, offset: 50, ..Filter::default() };
/// assert!(second_page.statuses.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Only dispatches in one of these states; all if empty.
    pub statuses: Vec<Status>,
    /// Only dispatches of a lattice with this name.
    pub name: Option<String>,
    /// Only dispatches whose id begins with this.
    pub prefix: Option<String>,
    /// Only dispatches that were registered at this time or later.
    pub since: Option<Timestamp>,
    /// Only dispatches that were registered before this time.
    pub until: Option<Timestamp>,
    /// Only dispatches that are no sub-dispatches.
    pub roots_only: bool,
    /// Only what comes behind this one: the cursor of the page before. Unlike `offset` it passes
    /// over nothing, and shows nothing twice, while new dispatches come.
    pub cursor: Option<DispatchId>,
    /// How many to return at most. The server has a limit of its own.
    pub limit: u32,
    /// How many to pass over.
    pub offset: u64,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            statuses: Vec::new(),
            name: None,
            prefix: None,
            since: None,
            until: None,
            roots_only: false,
            cursor: None,
            limit: 20,
            offset: 0,
        }
    }
}

/// A part of a list, newest first.
///
/// ```
/// let text = r#"{"dispatches": [], "total": 0}"#;
/// let page: cov_client::Page = serde_json::from_str(text)?;
/// assert_eq!(page.cursor, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// The short records.
    pub dispatches: Vec<Summary>,
    /// How many dispatches match, on all pages.
    pub total: u64,
    /// Asks for the next page; `None` on the last one.
    #[serde(default)]
    pub cursor: Option<DispatchId>,
}

/// A dispatch with its electrons, as of one moment.
///
/// ```
/// fn failed(dispatch: &cov_client::Dispatch) -> impl Iterator<Item = &cov_client::Node> {
///     dispatch.nodes.iter().filter(|node| node.fault.is_some())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The short record.
    #[serde(flatten)]
    pub summary: Summary,
    /// What the client that registered it said of the lattice.
    pub lattice: LatticeInfo,
    /// Why it failed: its failed electrons, one a line.
    #[serde(default)]
    pub error: Option<String>,
    /// The assets of the dispatch and the lattice that are there, with their sizes in bytes.
    #[serde(default)]
    pub assets: BTreeMap<String, u64>,
    /// Its nodes, by id.
    pub nodes: Vec<Node>,
}

/// One node of a dispatch, as of one moment.
///
/// ```
/// fn printed(node: &cov_client::Node) -> u64 {
///     node.assets.get("stdout").copied().unwrap_or(0)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub node_id: NodeId,
    /// Its name, or the beginning of a very long one.
    pub name: String,
    /// What it is to the engine.
    pub kind: NodeKind,
    /// Its state.
    pub status: Status,
    /// Short name of its executor.
    pub executor: String,
    /// When it was handed to its executor.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Whose fault its failure is.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// Its latest attempt, as `epoch.number`.
    #[serde(default)]
    pub attempt: Option<String>,
    /// How many of its attempts failed.
    #[serde(default)]
    pub failed_attempts: u32,
    /// Its sub-dispatch, if it is one.
    #[serde(default)]
    pub sub_dispatch_id: Option<DispatchId>,
    /// The assets that are there, with their sizes in bytes.
    #[serde(default)]
    pub assets: BTreeMap<String, u64>,
}

impl Client {
    /// The record of one dispatch, without the contents of its assets.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) for an unknown dispatch; otherwise whatever
    /// keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let id = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse()?;
    /// let dispatch = client.get(&id).await?;
    /// println!("{} is {}", dispatch.lattice.name, dispatch.summary.status);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get(&self, dispatch: &DispatchId) -> Result<Dispatch, Error> {
        // An id has no character that would have to be escaped.
        self.get_json(&format!("/api/v3/dispatches/{dispatch}")).await
    }

    /// A part of the list of all dispatches, newest first.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// let page = client.list(&cov_client::Filter::default()).await?;
    /// println!("{} of {}", page.dispatches.len(), page.total);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        self.get_json(&path_of(filter)).await
    }
}

fn path_of(filter: &Filter) -> String {
    let Filter { statuses, name, prefix, since, until, roots_only, cursor, limit, offset } = filter;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string());
    query.append_pair("offset", &offset.to_string());
    for status in statuses {
        query.append_pair("status", status.as_str());
    }
    let times = [("since", since), ("until", until)];
    let texts = times.map(|(name, at)| (name, at.map(|at| at.to_string())));
    let cursor = ("cursor", cursor.as_ref().map(ToString::to_string));
    let words = [("name", name.clone()), ("prefix", prefix.clone()), cursor];
    for (name, value) in texts.into_iter().chain(words) {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    if *roots_only {
        query.append_pair("roots", "true");
    }
    format!("/api/v3/dispatches?{}", query.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_query_parameters() {
        let all = Filter::default();
        assert_eq!(path_of(&all), "/api/v3/dispatches?limit=20&offset=0");
        let failed = Filter {
            statuses: vec![Status::Failed, Status::Cancelled],
            limit: 5,
            offset: 10,
            ..Filter::default()
        };
        assert_eq!(
            path_of(&failed),
            "/api/v3/dispatches?limit=5&offset=10&status=FAILED&status=CANCELLED"
        );
        let named = Filter {
            name: Some("a & b".into()),
            prefix: Some("6f".into()),
            since: Some(Timestamp::from_micros(0)),
            roots_only: true,
            cursor: Some("d-1".parse().unwrap()),
            ..Filter::default()
        };
        assert_eq!(
            path_of(&named),
            "/api/v3/dispatches?limit=20&offset=0&since=1970-01-01T00%3A00%3A00.000000\
             &name=a+%26+b&prefix=6f&cursor=d-1&roots=true"
        );
    }
}

//! Parameters of paths and queries, parsed into the types of the core. What does not parse is
//! refused here, in the caller's shape, and reaches no handler.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use cov_core::error::ErrorCode;
use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;

use crate::error::Refusal;

/// The dispatch that a path names. Its existence is the handle's business.
#[derive(Debug)]
pub(crate) struct DispatchPath(pub(crate) DispatchId);

/// The node that a path names.
#[derive(Debug)]
pub(crate) struct NodePath {
    pub(crate) dispatch: DispatchId,
    pub(crate) node: NodeId,
    /// The rest of the path's parameters: the asset key, where there is one.
    pub(crate) key: Option<String>,
}

/// The asset of a dispatch that a path names. Whether there is such a key is the handler's
/// business.
#[derive(Debug)]
pub(crate) struct AssetPath {
    pub(crate) dispatch: DispatchId,
    pub(crate) key: String,
}

impl<S: Send + Sync> FromRequestParts<S> for AssetPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = path_params(parts, state).await?;
        Ok(Self { dispatch: dispatch_of(&params)?, key: param(&params, "key").to_owned() })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DispatchPath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        dispatch_of(&path_params(parts, state).await?).map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NodePath {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = path_params(parts, state).await?;
        let dispatch = dispatch_of(&params)?;
        let node = param(&params, "node").parse().map(NodeId);
        let node = node.map_err(|_error| Refusal::path("node_id", "expected a node id, from 0"))?;
        let key = params.iter().find(|(name, _)| *name == "key");
        Ok(Self { dispatch, node, key: key.map(|(_, value)| value.to_owned()) })
    }
}

async fn path_params<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<RawPathParams, Refusal> {
    let params = RawPathParams::from_request_parts(parts, state).await;
    params.map_err(|_error| Refusal::new(ErrorCode::InvalidParameter, "the path is no UTF-8 text"))
}

fn param<'a>(params: &'a RawPathParams, name: &str) -> &'a str {
    params.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
}

/// A text that is no dispatch id names no dispatch, so it is answered like an unknown one.
fn dispatch_of(params: &RawPathParams) -> Result<DispatchId, Refusal> {
    let text = param(params, "dispatch");
    text.parse().map_err(|_error| {
        let shown: String = text.chars().take(80).collect();
        let said = format!("The requested dispatch ID {shown} was not found.");
        Refusal::new(ErrorCode::DispatchNotFound, said)
    })
}

/// The parameters of a query, in their order.
#[derive(Debug)]
pub(crate) struct QueryParams(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for QueryParams {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl QueryParams {
    fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn last<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).last()
    }

    /// A whole number from 0, or `default` when it is not given.
    pub(crate) fn number<N: FromStr>(&self, name: &'static str, default: N) -> Result<N, Refusal> {
        let Some(text) = self.last(name) else { return Ok(default) };
        text.parse().map_err(|_error| {
            let loc = vec!["query".into(), name.into()];
            let said = "Input should be a whole number, from 0";
            Refusal::at(ErrorCode::InvalidParameter, "int_parsing", loc, said)
        })
    }

    /// A truth value as Python clients write them, or `default` when it is not given.
    pub(crate) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Refusal> {
        let Some(text) = self.last(name) else { return Ok(default) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
            "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
            _ => Err(Refusal::query(name, "Input should be a valid boolean")),
        }
    }

    /// A value of the core, or `None` when it is not given.
    pub(crate) fn parsed<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.last(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| Refusal::query(name, error.to_string()))
    }

    /// Every state that `name` lists.
    pub(crate) fn statuses(&self, name: &'static str) -> Result<Vec<Status>, Refusal> {
        let parse = |text: &str| {
            text.parse::<Status>().map_err(|unknown| Refusal::query(name, unknown.to_string()))
        };
        self.all(name).map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_python_writes_them() {
        let query = QueryParams::parse("a=True&a=x%20y&n=7&b=off&s=RUNNING&s=FAILED");
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["True", "x y"]);
        assert_eq!(query.number("n", 1_u32).unwrap(), 7);
        assert_eq!(query.number("m", 1_u32).unwrap(), 1);
        assert!(!query.flag("b", true).unwrap());
        assert_eq!(query.statuses("s").unwrap(), [Status::Running, Status::Failed]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for query in ["n=-1", "n=two", "n=", "n=1.5", "n=99999999999999999999"] {
            assert!(QueryParams::parse(query).number("n", 0_u32).is_err(), "{query}");
        }
        assert!(QueryParams::parse("b=maybe").flag("b", true).is_err());
        assert!(QueryParams::parse("s=DONE").statuses("s").is_err());
    }
}

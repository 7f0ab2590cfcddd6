//! Stable error codes, the kinds that decide how an error is answered, whose fault a failed
//! electron is, and the error body of the native API. Knows no HTTP: one module at the server's
//! face maps kinds to status codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an error is answered. Deliberately few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request cannot be read.
    Malformed,
    /// The request can be read and makes no sense.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// It does not fit the present state.
    Conflict,
    /// It is over a limit.
    TooLarge,
    /// The caller did not say who it is, or what it said is not true.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// The caller asks too often.
    TooMany,
    /// Try again later.
    Unavailable,
    /// The disk is full.
    StorageFull,
    /// A fault of the server.
    Internal,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $kind:ident;)*) => {
        /// A stable code. Each has a page in `docs/errors/`. Codes are never reassigned.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as people cite it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// How errors with this code are answered.
            #[must_use]
            pub fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)* }
            }
        }
    };
}

error_codes! {
    /// The body is no JSON, or is cut off.
    MalformedJson = "COV1001", Malformed;
    /// A member of the body has the wrong type or an unknown value.
    InvalidBody = "COV1002", Invalid;
    /// Nodes and edges are no transport graph.
    InvalidGraph = "COV1003", Invalid;
    /// A parameter in the path or the query is malformed.
    InvalidParameter = "COV1004", Invalid;
    /// The body, a header or the node count is over its limit.
    TooLarge = "COV1005", TooLarge;
    /// The request comes from a web page or names a host that is not this server.
    ForeignOrigin = "COV1006", Forbidden;
    /// There is no such address.
    NoRoute = "COV1007", NotFound;
    /// The trigger cannot be registered as it is.
    TriggerRefused = "COV1008", Invalid;
    /// What called the trigger did not prove that it may.
    SignatureMismatch = "COV1009", Forbidden;
    /// There is no token with the request, or none that is valid.
    Unauthenticated = "COV1010", Unauthenticated;
    /// The token does not allow this.
    ScopeMissing = "COV1011", Forbidden;
    /// The caller sends more requests than it may.
    RateLimited = "COV1012", TooMany;
    /// The program of Rust electrons is missing, or cannot run on this server.
    ProgramRefused = "COV1013", Invalid;
    /// There is no such token, or it was revoked.
    TokenNotFound = "COV2005", NotFound;
    /// There is no such dispatch.
    DispatchNotFound = "COV2001", NotFound;
    /// The dispatch has no such node.
    NodeNotFound = "COV2002", NotFound;
    /// The asset does not exist, or its bytes are not there.
    AssetNotFound = "COV2003", NotFound;
    /// There is no such trigger, or no such decision of it.
    TriggerNotFound = "COV2004", NotFound;
    /// The chosen dispatch id is taken.
    DispatchExists = "COV2101", Conflict;
    /// Announced assets have not been uploaded.
    AssetsMissing = "COV2102", Conflict;
    /// Uploaded bytes differ from what was announced.
    DigestMismatch = "COV2103", Conflict;
    /// The state of the dispatch or electron does not allow this.
    IllegalState = "COV2104", Conflict;
    /// A token of that name exists.
    TokenExists = "COV2105", Conflict;
    /// The store does not answer.
    StoreUnavailable = "COV3001", Unavailable;
    /// There is no space left for data.
    StorageFull = "COV3002", StorageFull;
    /// A queue of the server is full.
    Overloaded = "COV3003", Unavailable;
    /// The server is stopping.
    Stopping = "COV3004", Unavailable;
    /// A stored dispatch did not pass its check and is set aside.
    Quarantined = "COV3005", Internal;
    /// A quota that the operator has set is used up.
    QuotaReached = "COV3006", StorageFull;
    /// A fault of the server.
    Internal = "COV5001", Internal;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whose fault a failed electron is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The user's code, or its hooks, raised or could not be read.
    Task,
    /// The process that ran it died.
    Runner,
    /// The executor does not exist or refused the task.
    Executor,
    /// The attempt took longer than its time limit.
    Timeout,
    /// The attempt was under way when the server stopped, and may not be run again.
    Lost,
    /// A fault of the server.
    Server,
}

impl Fault {
    /// The address in words, as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Runner => "runner",
            Self::Executor => "executor",
            Self::Timeout => "timeout",
            Self::Lost => "lost",
            Self::Server => "server",
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Task, Self::Runner, Self::Executor, Self::Timeout, Self::Lost, Self::Server]
            .into_iter()
            .find(|fault| fault.as_str() == text)
            .ok_or(())
    }
}

/// The error body of the native API: problem+json (RFC 9457) with the members `code`, `hint`
/// and `request_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Address of the page that explains the code.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// What kind of error this is, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, in a sentence.
    pub detail: String,
    /// The stable code.
    pub code: ErrorCode,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// JSON pointer or path of the fault in the request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pointer: Option<String>,
    /// Names the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_spelled_alike_everywhere() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} is used twice");
            assert!(code.as_str().starts_with("COV") && code.as_str().len() == 7);
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{code}\""));
        }
    }
}

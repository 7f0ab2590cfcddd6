//! What is kept about callers: their tokens, the key that signs addresses, the audit; and how
//! much space is used. Decides nothing about who may do what.

use std::fmt::Debug;

use async_trait::async_trait;
use cov_core::access::Scope;
use cov_core::time::Timestamp;

use crate::Error;

/// Bytes of a hash, and of a key.
pub const HASH_BYTES: usize = 32;

/// A token as it is kept: nothing of it lets anybody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// The public part of the token, which finds this record.
    pub id: String,
    /// What people call it, and what the audit says.
    pub name: String,
    /// The hash of the whole token.
    pub hash: [u8; HASH_BYTES],
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it got its present secret, if that is not its first.
    pub rotated_at: Option<Timestamp>,
    /// From when on it is not valid.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A change of the tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenChange {
    /// A new one.
    Create(TokenRecord),
    /// Another secret for the token of this name, with another public part.
    Rotate {
        /// Its name.
        name: String,
        /// The new public part.
        id: String,
        /// The hash of the new token.
        hash: [u8; HASH_BYTES],
        /// When.
        at: Timestamp,
        /// The new end, if it gets one; the present one stays otherwise.
        expires_at: Option<Timestamp>,
    },
    /// The token of this name is valid no more.
    Revoke {
        /// Its name.
        name: String,
        /// When.
        at: Timestamp,
    },
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutcome {
    /// It was made; the token as it is now.
    Done(TokenRecord),
    /// A token of that name exists, revoked or not.
    Exists,
    /// No token has that name, or it was revoked before.
    Unknown,
}

/// One row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When it was done.
    pub at: Timestamp,
    /// The name of the token, or the word for a caller without one.
    pub who: String,
    /// The address of the caller, `unix`, or `command`.
    pub origin: String,
    /// What was done, such as `dispatch.start`.
    pub action: String,
    /// To what: an id or a name; empty when it was nothing in particular.
    pub target: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The request, as the log calls it; empty for a command.
    pub request: String,
}

/// Which rows of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditQuery {
    /// Only those before this number, for the next page.
    pub before: Option<u64>,
    /// Only by this caller.
    pub who: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only about this.
    pub target: Option<String>,
    /// Most rows.
    pub limit: u32,
}

/// A page of the audit, latest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditPage {
    /// Rows with their numbers.
    pub entries: Vec<(u64, AuditEntry)>,
    /// Asks for the next page, if there is one.
    pub next: Option<u64>,
}

/// How much space is used. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// By the database, with its log.
    pub database: u64,
    /// By contents in files, those that are on their way in included.
    pub contents: u64,
    /// What this user may still write on that file system.
    pub free: u64,
}

/// What a server keeps about its callers.
#[async_trait]
pub trait AccessStore: Debug + Send + Sync + 'static {
    /// The key of this name; `fresh` becomes it, durably, if there is none.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn server_key(
        &self,
        name: &str,
        fresh: [u8; HASH_BYTES],
    ) -> Result<[u8; HASH_BYTES], Error>;

    /// All tokens by name, with those that are not valid any more.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn tokens(&self) -> Result<Vec<TokenRecord>, Error>;

    /// Makes a change and writes its row of the audit, in one transaction that is durable when
    /// this returns. A change that is not made leaves no row.
    ///
    /// # Errors
    /// The store is unavailable; nothing was changed.
    async fn change_token(
        &self,
        change: &TokenChange,
        entry: &AuditEntry,
    ) -> Result<TokenOutcome, Error>;

    /// Adds rows to the audit, in one transaction.
    ///
    /// # Errors
    /// The store is unavailable; nothing was added.
    async fn write_audit(&self, entries: &[AuditEntry]) -> Result<(), Error>;

    /// A page of the audit.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, Error>;

    /// Removes the rows from before `until`; returns how many.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn purge_audit(&self, until: Timestamp) -> Result<u64, Error>;

    /// Measures the space that is used. Looks at every content, so it is not for every request.
    ///
    /// # Errors
    /// The disk does not answer.
    async fn usage(&self) -> Result<Usage, Error>;

    /// The same without the contents, which count as nothing: cheap, however many there are.
    ///
    /// # Errors
    /// The disk does not answer.
    async fn usage_without_contents(&self) -> Result<Usage, Error>;
}

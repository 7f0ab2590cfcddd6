//! Tokens and the audit, for administrators.

use std::time::Duration;

use cov_core::access::Scope;
use cov_core::time::Timestamp;
use form_urlencoded::Serializer;
use http::Method;
use serde::{Deserialize, Serialize};

use crate::client::{Call, Client};
use crate::error::Error;

/// A token as the server knows it. Nothing of it lets anybody in.
///
/// ```
/// fn is_valid_for_good(token: &cov_client::Token) -> bool {
///     token.expires_at.is_none() && token.revoked_at.is_none()
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What people call it, and what the audit says.
    pub name: String,
    /// Its public part.
    pub id: String,
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

/// A token that was just made. Its text is told this once.
///
/// ```
/// fn headers(made: &cov_client::NewToken) -> String {
///     format!("Authorization: Bearer {}", made.secret)
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// What the server keeps of it.
    #[serde(flatten)]
    pub token: Token,
    /// The text that [`Builder::token`](crate::Builder::token) takes.
    #[serde(rename = "token")]
    pub secret: String,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").field("token", &self.token).finish_non_exhaustive()
    }
}

/// One row of the audit.
///
/// ```
/// fn line(entry: &cov_client::AuditEntry) -> String {
///     format!("{} {} {} {}", entry.at, entry.who, entry.action, entry.target)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Rows have growing numbers.
    pub number: u64,
    /// When it was done.
    pub at: Timestamp,
    /// The name of the token, or the word for a caller without one.
    pub who: String,
    /// From where.
    pub origin: String,
    /// What was done, such as `dispatch.start`.
    pub action: String,
    /// To what.
    pub target: String,
    /// The HTTP status of the answer; none if the caller had left.
    pub status: Option<u16>,
    /// The request, as the server's log calls it.
    pub request_id: String,
}

/// Which rows of the audit.
///
/// ```
/// let mine = cov_client::AuditFilter { who: Some("ci".into()), ..Default::default() };
/// assert_eq!(mine.cursor, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Only by this caller.
    pub who: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only about this.
    pub target: Option<String>,
    /// Rows of a page; the server's default if it is 0.
    pub limit: u32,
    /// The cursor of the page before.
    pub cursor: Option<u64>,
}

/// One page of the audit, latest first.
///
/// ```
/// let page: cov_client::AuditPage = serde_json::from_str(r#"{"entries": []}"#)?;
/// assert_eq!(page.cursor, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditPage {
    /// The rows.
    pub entries: Vec<AuditEntry>,
    /// Asks for the next page; none on the last.
    #[serde(default)]
    pub cursor: Option<u64>,
}

#[derive(Deserialize)]
struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Deserialize)]
struct Purged {
    entries: u64,
}

impl AuditFilter {
    fn query(&self) -> String {
        let mut query = Serializer::new(String::new());
        for (name, value) in
            [("who", &self.who), ("action", &self.action), ("target", &self.target)]
        {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        if self.limit > 0 {
            query.append_pair("limit", &self.limit.to_string());
        }
        if let Some(cursor) = self.cursor {
            query.append_pair("cursor", &cursor.to_string());
        }
        query.finish()
    }
}

impl Client {
    /// All tokens by name, with those that are not valid any more. Needs the scope `admin`, like
    /// everything here.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// for token in client.tokens().await? {
    ///     println!("{} {:?}", token.name, token.scope);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.get_json::<Tokens>("/api/v3/tokens").await.map(|page| page.tokens)
    }

    /// Makes a token; for good, if it gets no life. Sent once.
    ///
    /// # Errors
    /// The name is taken, or whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// use cov_core::access::Scope;
    /// let life = std::time::Duration::from_secs(30 * 24 * 60 * 60);
    /// println!("{}", client.create_token("ci", Scope::Dispatch, Some(life)).await?.secret);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_token(
        &self,
        name: &str,
        scope: Scope,
        life: Option<Duration>,
    ) -> Result<NewToken, Error> {
        let mut body = serde_json::json!({ "name": name, "scope": scope });
        put_life(&mut body, life);
        self.post_json("/api/v3/tokens", &body).await
    }

    /// Gives a token another secret; the earlier one is not valid any more. The end stays unless
    /// it gets another life. Sent once.
    ///
    /// # Errors
    /// There is no such token, or whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// println!("{}", client.rotate_token("ci", None).await?.secret);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rotate_token(
        &self,
        name: &str,
        life: Option<Duration>,
    ) -> Result<NewToken, Error> {
        let mut body = serde_json::json!({});
        put_life(&mut body, life);
        self.post_json(&format!("{}/rotate", path_of(name)), &body).await
    }

    /// Revokes a token, for good. Sent once.
    ///
    /// # Errors
    /// There is no such token, or whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// println!("{:?}", client.revoke_token("ci").await?.revoked_at);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn revoke_token(&self, name: &str) -> Result<Token, Error> {
        self.json(&Call::new(Method::DELETE, path_of(name)).once()).await
    }

    /// A page of the audit.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// let page = client.audit(&cov_client::AuditFilter::default()).await?;
    /// println!("{} rows", page.entries.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn audit(&self, filter: &AuditFilter) -> Result<AuditPage, Error> {
        self.get_json(&format!("/api/v3/audit?{}", filter.query())).await
    }

    /// Removes rows of the audit that are at least this old; returns how many. Sent once.
    ///
    /// # Errors
    /// Whatever keeps the server from answering.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// let year = std::time::Duration::from_secs(365 * 24 * 3600);
    /// println!("{} rows", client.purge_audit(year).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn purge_audit(&self, older_than: Duration) -> Result<u64, Error> {
        let body = serde_json::json!({ "older_than_seconds": older_than.as_secs() });
        self.post_json::<Purged>("/api/v3/audit/purge", &body).await.map(|purged| purged.entries)
    }
}

fn put_life(body: &mut serde_json::Value, life: Option<Duration>) {
    if let Some(life) = life {
        body["expires_in_seconds"] = life.as_secs().into();
    }
}

fn path_of(name: &str) -> String {
    format!("/api/v3/tokens/{}", crate::triggers::escaped(name))
}

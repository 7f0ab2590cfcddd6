//! Whether a server is there and takes work.

use http::StatusCode;

use crate::client::{Call, Client};
use crate::error::Error;

/// What a server says of itself.
///
/// ```
/// let health: cov_client::Health = serde_json::from_str(r#"{"status": "ok"}"#)?;
/// assert_eq!(health.version, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Health {
    /// `ok` while the server lives.
    pub status: String,
    /// The server's version, such as `0.1.0`.
    #[serde(default)]
    pub version: Option<String>,
}

impl Client {
    /// Asks whether the server lives, and for its version.
    ///
    /// # Errors
    /// No server answers there, or something else than a dispatch server does.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// println!("{:?}", client.health().await?.version);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn health(&self) -> Result<Health, Error> {
        self.get_json("/healthz").await
    }

    /// Asks, once, whether the server takes work. `false` while it starts or stops.
    ///
    /// # Errors
    /// No server answers there, or something else than a dispatch server does.
    ///
    /// ```no_run
    /// # async fn example(client: cov_client::Client) -> Result<(), cov_client::Error> {
    /// if !client.ready().await? {
    ///     println!("the server is stopping");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ready(&self) -> Result<bool, Error> {
        const PATH: &str = "/readyz";
        // `Not ready` is an answer here, no reason to ask again.
        let answer = self.call(&Call::get(PATH).once()).await?;
        match answer.status {
            StatusCode::SERVICE_UNAVAILABLE => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(answer.into_error()),
        }
    }
}

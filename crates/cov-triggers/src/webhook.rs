//! A trigger that fires when its address is called, by somebody who knows its secret. Opens no
//! address: the server that registers it does.

use cov_core::trigger::Dictionary;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::fields::Fields;
use crate::{Base, Error, Source, Trigger};

/// The shortest secret that is taken, in bytes: shorter ones can be guessed from one signature.
const SECRET_BYTES_MIN: usize = 8;
/// What stands before the digest in a signature.
const PREFIX: &str = "sha256=";

/// Fires when it is called with a body that is signed with its secret.
///
/// The signature is the one of GitHub's webhooks: `sha256=` and the HMAC-SHA256 of the raw body
/// in hexadecimal digits.
///
/// ```
/// use cov_triggers::{Trigger, WebhookTrigger};
/// let trigger = WebhookTrigger::new("It's a Secret to Everybody")?;
/// let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
/// trigger.admit(Some(signature), b"Hello, World!")?;
/// assert!(trigger.admit(Some(signature), b"Hello, Mars!").is_err());
/// # Ok::<(), cov_triggers::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct WebhookTrigger {
    base: Base,
    secret: String,
}

impl std::fmt::Debug for WebhookTrigger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookTrigger").field("base", &self.base).finish_non_exhaustive()
    }
}

impl WebhookTrigger {
    /// Its class name.
    pub const NAME: &'static str = "WebhookTrigger";

    /// A trigger with this secret.
    ///
    /// # Errors
    /// The secret has less than 8 bytes.
    pub fn new(secret: impl Into<String>) -> Result<Self, Error> {
        let secret = secret.into();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(Error::Field {
                trigger: Self::NAME.to_owned(),
                field: "secret".to_owned(),
                reason: format!("has to have at least {SECRET_BYTES_MIN} bytes"),
            });
        }
        Ok(Self { base: Base::default(), secret })
    }

    /// Reads its own field, `secret`.
    ///
    /// # Errors
    /// It is missing, no text, or too short.
    pub fn from_fields(fields: &mut Fields) -> Result<Self, Error> {
        match fields.take_set("secret") {
            Some(serde_json::Value::String(secret)) => Self::new(secret),
            // The error must not show what was given.
            Some(_) => Err(fields.error("secret", "has to be a text")),
            None => Err(fields.error("secret", "is missing: a text")),
        }
    }

    /// The signature of a body, as a caller has to send it.
    #[must_use]
    pub fn sign(&self, body: &[u8]) -> String {
        let digest = self.mac(body).map(|mac| mac.finalize().into_bytes());
        let digits = digest.into_iter().flatten().map(|byte| format!("{byte:02x}"));
        format!("{PREFIX}{}", digits.collect::<String>())
    }

    fn mac(&self, body: &[u8]) -> Option<Hmac<Sha256>> {
        // A key of any length is a key.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).ok()?;
        mac.update(body);
        Some(mac)
    }
}

impl Trigger for WebhookTrigger {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn base(&self) -> &Base {
        &self.base
    }

    fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    fn own_fields(&self, fields: &mut Dictionary) {
        fields.insert("secret".to_owned(), self.secret.as_str().into());
    }

    fn source(&self) -> Source {
        Source::Called
    }

    fn admit(&self, signature: Option<&str>, body: &[u8]) -> Result<(), Error> {
        let forbidden = |text: &str| Error::Forbidden(text.to_owned());
        let signature = signature.ok_or_else(|| forbidden("the call is not signed"))?;
        let digits = signature.trim().strip_prefix(PREFIX).and_then(bytes_of);
        let digest = digits.ok_or_else(|| forbidden("the signature has no form that is known"))?;
        let mac = self.mac(body).ok_or_else(|| forbidden("the secret is no key"))?;
        // Takes the same time whatever is wrong.
        let verified = mac.verify_slice(&digest);
        verified.map_err(|_wrong| forbidden("the signature is wrong"))
    }
}

/// The bytes that hexadecimal digits mean.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 128 {
        return None;
    }
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.chunks_exact(2).map(|pair| match *pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests;

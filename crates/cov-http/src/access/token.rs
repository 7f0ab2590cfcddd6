//! The text of a token: `cov_`, a public part that finds its record, `_`, and a secret part.
//!
//! A token has 256 random bits, so its hash needs no slow function: nobody can try them out. The
//! hash is compared in constant time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cov_core::access::Scope;
use cov_core::time::Timestamp;
use cov_dispatcher::store::access::{HASH_BYTES, TokenRecord};

/// What every token begins with, so that scanners of repositories can find one.
pub(crate) const PREFIX: &str = "cov_";
/// Random bytes of the public part.
const ID_BYTES: usize = 6;
/// Characters of the public part.
const ID_CHARS: usize = 8;
/// Longer texts are no tokens.
const TOKEN_BYTES_MAX: usize = 128;

/// A token in plain text. Shown once, kept nowhere; its debug form hides it.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn make() -> Result<Self, getrandom::Error> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id)?;
        let (id, rest) = (URL_SAFE_NO_PAD.encode(id), URL_SAFE_NO_PAD.encode(random()?));
        Ok(Self(format!("{PREFIX}{id}_{rest}")))
    }

    /// The token as callers send it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its public part.
    pub(crate) fn id(&self) -> &str {
        public_part(&self.0).unwrap_or_default()
    }

    pub(crate) fn hash(&self) -> [u8; HASH_BYTES] {
        *hash(&self.0).as_bytes()
    }

    /// What is kept of it.
    pub(crate) fn record(
        &self,
        name: &str,
        scope: Scope,
        now: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> TokenRecord {
        TokenRecord {
            id: self.id().to_owned(),
            name: name.to_owned(),
            hash: self.hash(),
            scope,
            created_at: now,
            rotated_at: None,
            expires_at,
            revoked_at: None,
        }
    }

    /// Whether `text` is this token.
    pub(crate) fn is(&self, text: &str) -> bool {
        hash(text) == hash(&self.0)
    }
}

/// Whether `text` is the token of a record with this hash. Constant time: `blake3::Hash` compares
/// so.
pub(crate) fn fits(text: &str, kept: [u8; HASH_BYTES]) -> bool {
    hash(text) == blake3::Hash::from_bytes(kept)
}

/// The public part of a text that may be a token.
pub(crate) fn public_part(text: &str) -> Option<&str> {
    let rest = text.strip_prefix(PREFIX).filter(|_| text.len() <= TOKEN_BYTES_MAX)?;
    let id = rest.get(..ID_CHARS)?;
    rest.get(ID_CHARS..)?.starts_with('_').then_some(id)
}

/// The token in the value of an `Authorization` header: a bearer token, or the password of basic
/// authentication, which is what `.netrc` files lead to. Other credentials are none of ours.
pub(crate) fn of_header(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    let text = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = base64::engine::general_purpose::STANDARD.decode(rest).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        decoded.split_once(':')?.1.to_owned()
    } else {
        return None;
    };
    text.starts_with(PREFIX).then_some(text)
}

fn hash(text: &str) -> blake3::Hash {
    blake3::hash(text.as_bytes())
}

/// Bytes for a key.
pub(crate) fn random() -> Result<[u8; HASH_BYTES], getrandom::Error> {
    let mut bytes = [0; HASH_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_own_record_only() {
        let (one, other) = (Secret::make().unwrap(), Secret::make().unwrap());
        assert!(fits(one.as_str(), one.hash()) && !fits(other.as_str(), one.hash()));
        assert!(one.is(one.as_str()) && !one.is(other.as_str()));
        assert_eq!(public_part(one.as_str()), Some(one.id()));
        assert_eq!(one.id().len(), ID_CHARS);
        assert!(!format!("{one:?}").contains(one.id()));
    }

    #[test]
    fn tokens_come_in_two_kinds_of_headers() {
        let basic = |text: &str| {
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
        };
        for header in
            ["Bearer cov_x".to_owned(), "bearer  cov_x ".to_owned(), basic("anybody:cov_x")]
        {
            assert_eq!(of_header(&header).as_deref(), Some("cov_x"), "{header}");
        }
        for header in [
            "",
            "Bearer",
            "Bearer other",
            "Token cov_x",
            "Basic cov_x",
            "Basic %%%",
            &basic("cov_x"),
            &basic("anna:pass"),
        ] {
            assert_eq!(of_header(header), None, "{header}");
        }
    }

    #[test]
    fn what_is_no_token_has_no_public_part() {
        let long = format!("cov_12345678_{}", "x".repeat(200));
        for text in ["", "cov_", "cov_1234567_x", "cov_123456789", "cov_1234567ä_", &long] {
            assert_eq!(public_part(text), None, "{text}");
        }
    }
}

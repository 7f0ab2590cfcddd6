//! The words of login: what a token allows, and how it may be named. Knows no secret and checks
//! none.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a token. Bytes.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;

/// Names that stand for callers without a token.
const RESERVED: [&str; 4] = ["local", "task", "anonymous", "server"];

/// What a token allows. Each scope includes those before it.
///
/// ```
/// use cov_core::access::Scope;
/// assert!(Scope::Admin > Scope::Dispatch && Scope::Dispatch > Scope::Read);
/// assert_eq!("dispatch".parse(), Ok(Scope::Dispatch));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at everything.
    Read,
    /// Register, start, cancel and redispatch, and everything about triggers.
    Dispatch,
    /// Tokens, the audit, purges, backups.
    Admin,
}

impl Scope {
    /// All scopes, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Dispatch, Self::Admin];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Dispatch => "dispatch",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoScope;

impl fmt::Display for NoScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scope is `read`, `dispatch` or `admin`")
    }
}

impl std::error::Error for NoScope {}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(NoScope)
    }
}

/// Whether a token may have this name: letters, digits, `.`, `_` and `-`, at most 64, and none of
/// the words that stand for callers without a token.
#[must_use]
pub fn is_token_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty()
        && name.len() <= TOKEN_NAME_BYTES_MAX
        && name.bytes().all(legal)
        && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_words_that_stand_for_nobody_else() {
        for name in ["ci", "anna.b", "a-1_2", &"x".repeat(64)] {
            assert!(is_token_name(name), "{name}");
        }
        for name in ["", "local", "task", "a b", "a/b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_token_name(name), "{name}");
        }
    }

    #[test]
    fn every_scope_is_read_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("\"{scope}\""));
        }
        assert_eq!("Admin".parse::<Scope>(), Err(NoScope));
    }
}

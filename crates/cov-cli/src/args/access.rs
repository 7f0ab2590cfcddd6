//! What can be asked about callers: tokens, and who changed what.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use cov_core::access::Scope;

use super::values::age;

/// What can be done with tokens. Needs the scope `admin`, like `cov audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Make a token and print it; it is not shown again
    Create(CreateToken),
    /// List tokens, with those that are not valid any more
    Ls,
    /// Give a token another secret; the earlier one is not valid any more
    Rotate(RotateToken),
    /// Revoke a token, for good
    Revoke(TokenName),
}

/// A new token.
#[derive(Debug, ClapArgs)]
pub(crate) struct CreateToken {
    /// What to call it
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it allows: read, dispatch or admin, each with those before it
    #[arg(long, value_name = "SCOPE", default_value = "dispatch")]
    pub(crate) scope: Scope,
    /// How long it is valid, such as 90d or 12h [default: for good]
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) expires_in: Option<Duration>,
}

/// Another secret for a token.
#[derive(Debug, ClapArgs)]
pub(crate) struct RotateToken {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How long it is valid from now on [default: as long as before]
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) expires_in: Option<Duration>,
}

/// A token.
#[derive(Debug, ClapArgs)]
pub(crate) struct TokenName {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// Which rows of the audit.
#[derive(Debug, ClapArgs)]
pub(crate) struct Audit {
    /// Only by the token of this name, or `local`
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// Only of this action, such as dispatch.cancel
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// Only about this dispatch, trigger or token
    #[arg(long, value_name = "ID")]
    pub(crate) target: Option<String>,
    /// How many to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub(crate) limit: u32,
    /// Show none, and remove rows that are at least this old, such as 400d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) purge_older_than: Option<Duration>,
}

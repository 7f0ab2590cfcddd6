//! `cov token` and `cov audit`: who may call, and who changed what.

use cov_client::AuditFilter;

use crate::args::{Audit, Tokens};
use crate::context::{Context, Patience};
use crate::error::{Code, Error};
use crate::view::access::{AuditPurged, AuditRows, MadeToken, RevokedToken, TokenList};

pub(super) async fn tokens(context: &Context, tokens: Tokens) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let told = |error| context.told(error);
    match tokens {
        Tokens::Create(asked) => {
            let made = client.create_token(&asked.name, asked.scope, asked.expires_in).await;
            context.printer.print(&MadeToken { made: made.map_err(told)? })?;
        }
        Tokens::Ls => {
            let tokens = client.tokens().await.map_err(told)?;
            context.printer.print(&TokenList { tokens })?;
        }
        Tokens::Rotate(asked) => {
            let made = client.rotate_token(&asked.name, asked.expires_in).await.map_err(told)?;
            context.printer.print(&MadeToken { made })?;
        }
        Tokens::Revoke(asked) => {
            let token = client.revoke_token(&asked.name).await.map_err(told)?;
            context.printer.print(&RevokedToken { token })?;
        }
    }
    Ok(Code::Done)
}

pub(super) async fn audit(context: &Context, asked: &Audit) -> Result<Code, Error> {
    let client = context.client(Patience::Once)?;
    let told = |error| context.told(error);
    if let Some(age) = asked.purge_older_than {
        let entries = client.purge_audit(age).await.map_err(told)?;
        context.printer.print(&AuditPurged { entries })?;
        return Ok(Code::Done);
    }
    let filter = AuditFilter {
        who: asked.who.clone(),
        action: asked.action.clone(),
        target: asked.target.clone(),
        limit: asked.limit,
        cursor: None,
    };
    let page = client.audit(&filter).await.map_err(told)?;
    let more = page.cursor.is_some();
    context.printer.print(&AuditRows { entries: page.entries, more })?;
    Ok(Code::Done)
}

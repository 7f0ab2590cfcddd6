//! Finds out who calls and whether they may. Looks at headers, at the address and at where the
//! connection comes from; reads no body.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use cov_core::access::Scope;
use cov_core::error::ErrorCode;

use super::{Access, Inner, Login, Right, is_valid, lock, token};
use crate::error::Refusal;
use crate::guard::Base;
use crate::listener::Peer;
use crate::routes::{Need, Route};

/// Headers that proxies put on what they pass on. A request with one of them is not from this
/// machine, whatever its connection says.
const PROXY_HEADERS: [&str; 9] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "via",
];

/// A caller who was let in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The name of the token, or the word for a caller without one.
    pub(crate) who: Arc<str>,
    /// The caller's address, or `unix`, as the audit shows it.
    pub(crate) origin: String,
    /// The caller's address, if there is one.
    pub(crate) ip: Option<IpAddr>,
    by: By,
}

/// What let a caller in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Where it is.
    Place,
    /// A token, with its scope.
    Token(Scope),
    /// A signed address.
    Address,
    /// Nothing: the route asks for nothing, or checks by itself.
    Nothing,
}

impl Admitted {
    /// Whether the route has to find out by itself whether the caller may.
    pub(crate) fn is_unproven(&self) -> bool {
        self.by == By::Nothing
    }

    /// Whether the caller's addresses have to be signed, because it sends nothing with them.
    fn needs_signatures(&self) -> bool {
        matches!(self.by, By::Token(_) | By::Address)
    }

    fn has(&self, scope: Scope) -> bool {
        match self.by {
            By::Place => true,
            By::Token(own) => own >= scope,
            By::Address | By::Nothing => false,
        }
    }

    /// Under whom its requests are counted; `None` for those that are not.
    fn counted_as(&self) -> Option<&str> {
        match self.by {
            By::Place => None,
            By::Token(_) => Some(&self.who),
            By::Address | By::Nothing => Some(&self.origin),
        }
    }
}

/// Lets a request in or refuses it. What it is told goes into its extensions: who calls, and the
/// form in which addresses are answered.
pub(crate) async fn check(
    access: &Access,
    route: &Route,
    request: &mut Request,
    upload_bytes_max: u64,
) -> Result<Option<Admitted>, Refusal> {
    let Some(inner) = access.inner() else { return Ok(None) };
    let caller = inner.identify(route, request)?;
    inner.count(&caller)?;
    if route.is_intake() {
        // What is over the limit of its route is refused for that.
        let size = Some(announced(request.headers())).filter(|size| *size <= upload_bytes_max);
        inner.space.check(size.unwrap_or(0)).await?;
    }
    if caller.needs_signatures()
        && let Some(base) = request.extensions_mut().get_mut::<Base>()
    {
        base.sign_with(inner.signer.clone());
    }
    request.extensions_mut().insert(caller.clone());
    Ok(Some(caller))
}

fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Inner {
    fn identify(&self, route: &Route, request: &Request) -> Result<Admitted, Refusal> {
        let peer = request.extensions().get::<Peer>().copied();
        let origin = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.origin());
        let ip = peer.and_then(Peer::ip);
        let admitted = |who: Arc<str>, by| Admitted { who, origin: origin.clone(), ip, by };
        let need = route.need();
        if need == Need::Nothing {
            return Ok(admitted("anonymous".into(), By::Nothing));
        }
        let caller = match sent_token(request.headers()) {
            Some(token) => {
                let (who, scope) = self.verify(&token, &origin)?;
                admitted(who, By::Token(scope))
            }
            None if self.trusts(peer, request) => {
                let nearby = peer.is_some_and(Peer::is_near);
                admitted(if nearby { "local" } else { "anonymous" }.into(), By::Place)
            }
            None => admitted("anonymous".into(), By::Nothing),
        };
        match need {
            Need::Nothing => Ok(caller),
            Need::Scope(scope) => required(caller, scope),
            Need::Signed(_) if caller.is_unproven() => match self.is_signed(request) {
                true => Ok(Admitted { by: By::Address, ..caller }),
                false => Err(unauthenticated("the address is not signed, or its time is over")),
            },
            Need::Granted(_) if caller.is_unproven() => Ok(caller),
            Need::Signed(scope) | Need::Granted(scope) => required(caller, scope),
        }
    }

    /// Whether the place alone lets the caller in.
    fn trusts(&self, peer: Option<Peer>, request: &Request) -> bool {
        let from_here = || {
            let proxied = PROXY_HEADERS.iter().any(|name| request.headers().contains_key(*name));
            let base = request.extensions().get::<Base>();
            !proxied && base.is_some_and(Base::is_loopback) && peer.is_some_and(Peer::is_near)
        };
        match (self.rules.login, peer) {
            (Login::Off, _) | (_, Some(Peer::Unix { .. })) => true,
            (Login::Remote, _) => from_here(),
            (Login::Always, _) => false,
        }
    }

    fn verify(&self, text: &str, origin: &str) -> Result<(Arc<str>, Scope), Refusal> {
        if !lock(&self.refusals).has(origin) {
            return Err(too_often());
        }
        if self.task_secret.is(text) {
            return Ok(("task".into(), Scope::Dispatch));
        }
        let now = self.now();
        let found = token::public_part(text)
            .and_then(|id| self.read_tokens().get(id).cloned())
            .filter(|found| token::fits(text, found.hash));
        match found {
            Some(found) if is_valid(&found, now) => Ok((found.name.into(), found.scope)),
            Some(found) => {
                tracing::warn!(token.name = found.name, origin, "an expired token was refused");
                Err(unauthenticated("the token has expired"))
            }
            None => {
                lock(&self.refusals).take(origin);
                tracing::warn!(origin, "an unknown token was refused");
                Err(unauthenticated("the token is unknown, or was revoked"))
            }
        }
    }

    fn is_signed(&self, request: &Request) -> bool {
        let right = match *request.method() {
            Method::PUT => Right::Write,
            _ => Right::Read,
        };
        let uri = request.uri();
        uri.query().is_some_and(|query| self.signer.admits(right, uri.path(), query))
    }

    fn count(&self, caller: &Admitted) -> Result<(), Refusal> {
        match caller.counted_as() {
            Some(name) if !lock(&self.rates).take(name) => Err(too_often()),
            _ => Ok(()),
        }
    }

    /// Takes note of a dispatch that this caller has registered.
    pub(crate) fn note_registered(&self, caller: &Admitted, dispatch: &str) {
        if let (By::Token(_), Some(ip), Ok(dispatch)) = (caller.by, caller.ip, dispatch.parse()) {
            self.grant(dispatch, ip, &caller.who);
        }
    }
}

fn required(caller: Admitted, scope: Scope) -> Result<Admitted, Refusal> {
    if caller.is_unproven() {
        return Err(unauthenticated("this address has to log in, and the request has no token"));
    }
    if !caller.has(scope) {
        let said = format!("the token `{}` has not the scope `{scope}`", caller.who);
        return Err(Refusal::new(ErrorCode::ScopeMissing, said));
    }
    Ok(caller)
}

fn sent_token(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::AUTHORIZATION).iter();
    // Bytes that are no text make a token that is wrong, and not one that was not sent.
    values
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .find_map(|text| token::of_header(&text))
}

pub(crate) fn unauthenticated(said: &'static str) -> Refusal {
    Refusal::new(ErrorCode::Unauthenticated, said)
}

fn too_often() -> Refusal {
    Refusal::new(ErrorCode::RateLimited, "this caller sends more requests than it may")
}

//! Keeps web pages from driving the server. Bodies are read as JSON whatever their type, so a
//! page could post one without asking; its `Origin` betrays it. A page that had its own name
//! resolved to this machine is betrayed by `Host`. Reads headers only, never a body.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cov_core::error::ErrorCode;

use crate::Options;
use crate::access::{Right, Signer};
use crate::error::Refusal;
use crate::listener::Peer;

/// The address by which the client reached the server: scheme and a checked `Host`. Addresses in
/// answers begin with it, so that they lead back to where the client found us.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    begin: Arc<str>,
    is_loopback: bool,
    /// There for callers who send nothing but the address.
    signer: Option<Signer>,
}

impl Base {
    fn new(scheme: &str, host: &Authority) -> Self {
        let begin = format!("{scheme}://{host}").into();
        Self { begin, is_loopback: is_loopback(host.host()), signer: None }
    }

    /// The address of `path`, with the caller's right to it if that has to be shown.
    pub(crate) fn address(&self, right: Right, path: &str) -> String {
        let query = self.signer.as_ref().map(|signer| signer.query(right, path));
        format!("{}{path}{}", self.begin, query.as_deref().unwrap_or_default())
    }

    /// Signs the addresses from now on.
    pub(crate) fn sign_with(&mut self, signer: Signer) {
        self.signer = Some(signer);
    }

    /// Whether the client named this machine by a name that means nothing elsewhere.
    pub(crate) fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

/// Refuses requests for other hosts and from other origins; tells the others' [`Base`].
pub(crate) async fn check(
    State(options): State<Arc<Options>>,
    mut request: Request,
    next: Next,
) -> Response {
    match admit(&request, &options) {
        Ok(host) => {
            let peer = request.extensions().get::<Peer>();
            let scheme =
                if peer.is_some_and(|peer| peer.is_encrypted()) { "https" } else { "http" };
            request.extensions_mut().insert(Base::new(scheme, &host));
            next.run(request).await
        }
        Err(refusal) => {
            let reason = refusal.code().as_str();
            tracing::warn!(error.code = reason, "request refused by its host or origin");
            refusal.into_response()
        }
    }
}

fn admit(request: &Request, options: &Options) -> Result<Authority, Refusal> {
    let host = host_of(request, options)?;
    let named = [Some(&host), request.uri().authority()];
    for authority in named.into_iter().flatten() {
        if !is_ours(authority, options) {
            let said = format!("the host `{}` is not this server", shorten(authority.as_str()));
            return Err(foreign(said));
        }
    }
    check_origin(request.headers(), &host)?;
    Ok(host)
}

fn host_of(request: &Request, options: &Options) -> Result<Authority, Refusal> {
    let malformed = |said| Refusal::new(ErrorCode::InvalidParameter, said);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = host.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
            host.filter(|host| !host.as_str().contains('@'))
                .ok_or_else(|| malformed("the Host header is malformed"))
        }
        (None, _) if request.version() == Version::HTTP_10 => {
            let own = options.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 80).into());
            own.to_string().parse().map_err(|_error| malformed("the request names no host"))
        }
        (None, _) => Err(malformed("the Host header is missing")),
        (Some(_), Some(_)) => Err(malformed("more than one Host header")),
    }
}

/// Whether `host` is a name of this server. Its port does not matter: it may have been forwarded,
/// and a foreign name stays foreign on every port.
fn is_ours(host: &Authority, options: &Options) -> bool {
    let name = host.host();
    is_loopback(name)
        || options.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
        || address_of(name).is_some_and(|address| is_listened_on(address, options.listen))
}

/// Whether a host's name is `localhost`, or an address that stays on the machine.
fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || address_of(name).is_some_and(|address| address.is_loopback())
}

fn address_of(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A server on all interfaces is reached by addresses that it does not know. A page cannot have
/// an address resolved to another one, so each is fine.
fn is_listened_on(address: IpAddr, listen: Option<SocketAddr>) -> bool {
    listen.is_some_and(|listen| listen.ip() == address || listen.ip().is_unspecified())
}

fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), Refusal> {
    let from_other_site = headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
    if from_other_site {
        return Err(foreign("the request comes from another site".to_owned()));
    }
    for origin in headers.get_all(header::ORIGIN) {
        let own = origin.to_str().ok().and_then(|text| text.split_once("://"));
        if !own.is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host.as_str())) {
            let said = String::from_utf8_lossy(origin.as_bytes());
            return Err(foreign(format!("the origin `{}` is not this server", shorten(&said))));
        }
    }
    Ok(())
}

fn foreign(said: String) -> Refusal {
    Refusal::new(ErrorCode::ForeignOrigin, said)
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn options() -> Options {
        Options {
            listen: Some("10.1.2.3:48008".parse().unwrap()),
            allowed_hosts: vec!["dispatch.example".into()],
            ..Options::default()
        }
    }

    fn asked(headers: &[(&str, &str)]) -> Result<String, ErrorCode> {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admit(&request.body(Body::empty()).unwrap(), &options())
            .map(|host| host.to_string())
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn only_our_own_names_are_served() {
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:48008",
            "127.9.9.9",
            "[::1]:48008",
            "10.1.2.3:48008",
            "dispatch.example",
            "Dispatch.Example:80",
        ] {
            assert_eq!(asked(&[("host", host)]), Ok(host.to_owned()));
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.1.2.4",
            "[::2]",
            "xlocalhost",
            "0x7f000001",
        ] {
            assert_eq!(asked(&[("host", host)]), Err(ErrorCode::ForeignOrigin), "{host}");
        }
        for host in ["", "a b", "user@localhost", "localhost/x"] {
            assert_eq!(asked(&[("host", host)]), Err(ErrorCode::InvalidParameter), "{host}");
        }
        assert_eq!(asked(&[]), Err(ErrorCode::InvalidParameter));
        let two = [("host", "localhost"), ("host", "127.0.0.1")];
        assert_eq!(asked(&two), Err(ErrorCode::InvalidParameter));
    }

    #[test]
    fn a_server_on_all_interfaces_answers_to_addresses_but_not_to_names() {
        let options = Options { listen: Some("0.0.0.0:1".parse().unwrap()), ..Options::default() };
        assert!(is_ours(&"192.168.7.7:1".parse().unwrap(), &options));
        assert!(!is_ours(&"evil.example:1".parse().unwrap(), &options));
    }

    #[test]
    fn only_our_own_pages_are_served() {
        let host = ("host", "localhost:5");
        assert!(asked(&[host, ("origin", "http://localhost:5")]).is_ok());
        assert!(asked(&[host, ("sec-fetch-site", "same-origin")]).is_ok());
        assert!(asked(&[host, ("sec-fetch-site", "none")]).is_ok());
        for origin in
            ["null", "http://localhost:6", "http://localhost", "http://evil.example", "file://", ""]
        {
            let answer = asked(&[host, ("origin", origin)]);
            assert_eq!(answer, Err(ErrorCode::ForeignOrigin), "{origin}");
        }
        let cross = [host, ("sec-fetch-site", "cross-site")];
        assert_eq!(asked(&cross), Err(ErrorCode::ForeignOrigin));
    }
}

//! Connections that are encrypted, by rustls. Trusts what the system trusts, and what it is told to.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore, crypto};

use crate::error::Error;

/// Encrypts the connections of `http` to servers whose address asks for it. What the system trusts
/// is read only `with_system`: there are some hundred files of it.
pub(crate) fn connector(
    mut http: HttpConnector,
    certificates: &[u8],
    with_system: bool,
) -> Result<HttpsConnector<HttpConnector>, Error> {
    http.enforce_http(false);
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| unusable(source.into()))?
        .with_root_certificates(roots(certificates, with_system)?)
        .with_no_client_auth();
    let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    Ok(builder.enable_http1().wrap_connector(http))
}

fn roots(certificates: &[u8], with_system: bool) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if with_system {
        // A system without certificates, or with a broken one, can still trust what it is told to.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(certificates) {
        let certificate = certificate.map_err(|source| unusable(source.into()))?;
        roots.add(certificate).map_err(|source| unusable(source.into()))?;
        count += 1;
    }
    match count == 0 && !certificates.is_empty() {
        true => Err(unusable("there is none in the text".into())),
        false => Ok(roots),
    }
}

fn unusable(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Workflow { reason: "the certificates cannot be used".to_owned(), source }
}

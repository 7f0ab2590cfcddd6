//! TLS from files in PEM. Looks at the files again when connections come, so that renewed
//! certificates count without a restart; keeps the last ones that could be used.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file has not what is looked for.
    #[error("{} has no {what} in PEM", path.display())]
    Missing {
        /// Its path.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// They do not go together, or are of a kind that is not known.
    #[error("certificate and key cannot be used together")]
    Refused(#[source] rustls::Error),
}

/// A certificate and its key, read again when their files change.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Arc<ServerConfig>,
    stamps: [Stamp; 2],
    looked: Instant,
}

/// What changes when a file does; `None` for one that is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// They cannot be read, or not be used together.
    pub fn load(certificate: PathBuf, key: PathBuf) -> Result<Arc<Self>, TlsError> {
        let stamps = [stamp(&certificate), stamp(&key)];
        let config = read(&certificate, &key)?;
        let state = Mutex::new(State { config, stamps, looked: Instant::now() });
        Ok(Arc::new(Self { certificate, key, state }))
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        TlsAcceptor::from(Arc::clone(&state.config))
    }

    fn look(&self, state: &mut State) {
        let stamps = [stamp(&self.certificate), stamp(&self.key)];
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        match read(&self.certificate, &self.key) {
            Ok(config) => {
                state.config = config;
                tracing::info!(path = %self.certificate.display(), "the certificate was read again");
            }
            // One of the two may not have been replaced yet: it will change once more.
            Err(error) => {
                tracing::warn!(error = %error, "the certificate stays as it was");
            }
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let missing = |path: &Path, what| TlsError::Missing { path: path.to_path_buf(), what };
    let text = bytes(certificate)?;
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| missing(certificate, "certificate"))?;
    let text = bytes(key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_error| missing(key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Refused)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_path_buf(), source })
}

//! The program of a dispatch, which many of its tasks need: where it is in the store, and where
//! machines without the server's files get it. Runs nothing.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use cov_core::asset::ContentRef;
use cov_core::ids::DispatchId;
use cov_exec::Payload;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

const CHUNK_BYTES: usize = 256 * 1024;

/// Knows where other machines can fetch the program of a dispatch.
pub trait ProgramAddresses: Debug + Send + Sync + 'static {
    /// Its address, which holds all that whoever fetches it needs to be let in.
    fn address(&self, dispatch: &DispatchId) -> String;
}

/// The program of a dispatch. What is found out about it is found out once. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StoredProgram {
    pub(crate) content: ContentRef,
    pub(crate) place: Arc<OnceCell<Payload>>,
    sha256: Arc<OnceCell<String>>,
}

impl StoredProgram {
    pub(crate) fn new(content: ContentRef) -> Self {
        Self { content, place: Arc::default(), sha256: Arc::default() }
    }

    /// Where workers of an engine fetch the program that is at `place`, and by which digest they
    /// know that they got it: `URL#sha256=HEX`. It is one that a Python without any package has.
    pub(crate) async fn address(
        &self,
        dispatch: &DispatchId,
        place: &Payload,
        addresses: &dyn ProgramAddresses,
    ) -> io::Result<String> {
        let digest = self.sha256.get_or_try_init(|| sha256(place.clone())).await?;
        Ok(format!("{}#sha256={digest}", addresses.address(dispatch)))
    }
}

async fn sha256(payload: Payload) -> io::Result<String> {
    let digest = tokio::task::spawn_blocking(move || digest_of(&payload));
    digest.await.map_err(io::Error::other)?
}

fn digest_of(payload: &Payload) -> io::Result<String> {
    let mut digest = Sha256::new();
    match payload {
        Payload::Bytes(bytes) => digest.update(bytes),
        Payload::File(path) => {
            let (mut file, mut chunk) = (File::open(path)?, vec![0; CHUNK_BYTES]);
            loop {
                match file.read(&mut chunk)? {
                    0 => break,
                    count => digest.update(chunk.get(..count).unwrap_or_default()),
                }
            }
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use cov_core::asset::ContentDigest;

    use super::*;

    #[derive(Debug)]
    struct Here;

    impl ProgramAddresses for Here {
        fn address(&self, dispatch: &DispatchId) -> String {
            format!("http://here/{dispatch}")
        }
    }

    #[tokio::test]
    async fn an_address_ends_with_the_digest_of_what_is_there() {
        let mut digest = ContentDigest::default();
        digest.update(b"abc");
        let program = StoredProgram::new(digest.finish());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, b"abc").unwrap();
        let dispatch = "d".parse().unwrap();
        // The known digest of these three letters.
        let expected = "http://here/d#sha256=\
                        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for place in [Payload::File(path.clone()), Payload::Bytes("abc".into())] {
            let fresh = StoredProgram::new(program.content);
            assert_eq!(fresh.address(&dispatch, &place, &Here).await.unwrap(), expected);
        }
        let gone = Payload::File(path.join("gone"));
        assert!(program.address(&dispatch, &gone, &Here).await.is_err());
    }
}

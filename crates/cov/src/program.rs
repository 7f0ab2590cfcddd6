//! The program itself: its executable's digest and platform, by which a server knows whether it
//! has it and can run it. Sends nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::OnceLock;

use cov_core::asset::{ContentDigest, ContentRef};
use cov_core::platform;

use crate::Error;

/// The environment variable in which a server tells a runner the digest of its program.
pub(crate) const DIGEST_VARIABLE: &str = "COV_PROGRAM";

const CHUNK_BYTES: usize = 256 * 1024;

static CURRENT: OnceLock<Program> = OnceLock::new();

/// How executors of Rust electrons name the program that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramName {
    /// The BLAKE3 digest of the executable, in hexadecimal digits.
    pub digest: String,
    /// The platform it was built for.
    pub platform: String,
}

/// The executable that this process runs.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where it stands. May have been replaced since.
    pub path: PathBuf,
    /// Its names and its size in bytes.
    pub content: ContentRef,
}

impl Program {
    /// Reads the executable of this process, once. Takes about a second for each gigabyte.
    ///
    /// ```
    /// let program = cov::program::Program::current()?;
    /// assert_eq!(program.name().digest.len(), 64);
    /// # Ok::<(), cov::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Program`: it cannot be read.
    pub fn current() -> Result<Self, Error> {
        if let Some(known) = CURRENT.get() {
            return Ok(known.clone());
        }
        let path = std::env::current_exe().map_err(Error::Program)?;
        let content = Self::open().and_then(digest).map_err(Error::Program)?;
        Ok(CURRENT.get_or_init(|| Self { path, content }).clone())
    }

    /// Opens the executable of this process, also when another file stands at its path by now.
    ///
    /// # Errors
    /// What the system says.
    pub fn open() -> io::Result<File> {
        match cfg!(target_os = "linux") {
            true => File::open("/proc/self/exe"),
            false => File::open(std::env::current_exe()?),
        }
    }

    /// How executors name it.
    #[must_use]
    pub fn name(&self) -> ProgramName {
        ProgramName { digest: self.content.id.to_string(), platform: platform::current() }
    }
}

fn digest(mut file: File) -> io::Result<ContentRef> {
    let mut digest = ContentDigest::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(digest.finish()),
            count => digest.update(chunk.get(..count).unwrap_or_default()),
        }
    }
}

//! The suite, run for every implementation.

use std::sync::Arc;

use async_trait::async_trait;
use cov_store::conformance::{Harness, Opened};
use cov_store::faulty::{Faults, Faulty};
use cov_store::{MemoryStore, SqliteStore};

struct Memory(MemoryStore);

#[async_trait]
impl Harness for Memory {
    async fn open(&mut self) -> Opened {
        self.0 = self.0.reopen().unwrap();
        Opened::of(Arc::new(self.0.reopen().unwrap()))
    }
}

struct Sqlite(tempfile::TempDir);

#[async_trait]
impl Harness for Sqlite {
    async fn open(&mut self) -> Opened {
        Opened::of(Arc::new(SqliteStore::open(self.0.path()).await.unwrap()))
    }
}

struct Wrapped(tempfile::TempDir);

#[async_trait]
impl Harness for Wrapped {
    async fn open(&mut self) -> Opened {
        let store = SqliteStore::open(self.0.path()).await.unwrap();
        Opened::of(Arc::new(Faulty::new(store, Faults::default())))
    }
}

cov_store::conformance!(memory, Memory(MemoryStore::new().unwrap()));
cov_store::conformance!(sqlite, Sqlite(tempfile::tempdir().unwrap()));
cov_store::conformance!(faulty, Wrapped(tempfile::tempdir().unwrap()));

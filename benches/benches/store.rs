//! Commits of the store on a real disk, each durable before it returns (`synchronous=FULL`): what the state of one node
//! costs alone, and in groups of 10, 100 and 1,000. The limit is the disk's `fdatasync` for the first, and what SQLite
//! needs to insert rows, 3 to 5 us each, for the last.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use cov_benches::commits;
use cov_store::{SqliteStore, Store as _};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const GROUPS: [u32; 4] = [1, 10, 100, 1_000];

fn groups(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("the system has threads");
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let store = runtime.block_on(SqliteStore::open(folder.path())).expect("the folder is empty");
    runtime.block_on(store.commit(&[commits::registration()])).expect("it is the first");

    let mut group = criterion.benchmark_group("store");
    let mut round = 0;
    for size in GROUPS {
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(BenchmarkId::new("commit", size), |bencher| {
            bencher.iter(|| {
                round += 1;
                let batch = commits::batch(round, size);
                runtime.block_on(store.commit(&batch)).expect("the disk has space");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, groups);
criterion_main!(benches);

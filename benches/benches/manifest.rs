//! Reading the manifest of 1,000 electrons (2,001 nodes): as Covalent's SDK writes it, in the archive in which a task
//! hands over a sub-workflow; and as the native API takes it, with the check that it is a graph. The limit is what a
//! JSON parser reads, 0.3 to 1 GB a second, and base64 for the archive; the throughput says how far off that is.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::hint::black_box;

use cov_benches::manifests;
use cov_core::manifest::document::Document;
use cov_dispatcher::store::Blob;
use cov_dispatcher::sublattice::SublatticeFormat as _;
use cov_http::StagingArchive;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ELECTRONS: u32 = 1_000;

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("manifest");
    let staged = manifests::staged(ELECTRONS);
    group.throughput(Throughput::Bytes(staged.len() as u64));
    let (staged, format) = (Blob::Small(staged), StagingArchive { nodes_max: usize::MAX });
    group.bench_function("covalent", |bencher| {
        bencher.iter(|| format.read(black_box(&staged)).expect("it is a manifest"));
    });
    let text = manifests::native(ELECTRONS);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("native", |bencher| {
        bencher.iter(|| {
            let read: Document = serde_json::from_str(black_box(&text)).expect("it is a document");
            let manifest = read.into_parts().manifest;
            let graph = manifest.graph(usize::MAX).expect("it is a graph");
            (manifest, graph)
        });
    });
    group.finish();
}

criterion_group!(benches, parsing);
criterion_main!(benches);

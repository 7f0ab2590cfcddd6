//! Reading and writing the archive of a `TransportableObject`.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::hint::black_box;

use bytes::Bytes;
use cov_core::transportable::{Attributes, Encoding, Header, TransportableObject};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 2] = [("1 KB", 1_000), ("1 MB", 1_000_000)];

/// An object as the SDK makes it, with `size` bytes of data that do not repeat soon.
fn object(size: usize) -> TransportableObject {
    let data: Bytes = (0..size).map(|at| (at * 31 % 251).to_le_bytes()[0]).collect();
    let header = Header {
        py_version: "3.11.7".into(),
        cloudpickle_version: "3.1.1".into(),
        attrs: Attributes { doc: None, name: "task".into() },
        encoding: Encoding::Cloudpickle,
    };
    TransportableObject { header, object_string: "<function task>".into(), data }
}

fn archives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transportable");
    for (name, size) in SIZES {
        let object = object(size);
        let archive = object.to_archive();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("write", name), &object, |bencher, object| {
            bencher.iter(|| black_box(object).to_archive());
        });
        group.bench_with_input(BenchmarkId::new("read", name), &archive, |bencher, archive| {
            bencher.iter(|| {
                TransportableObject::from_archive(black_box(archive)).expect("it was just written")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, archives);
criterion_main!(benches);

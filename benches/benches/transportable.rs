//! The archive of a `TransportableObject` of 1 KB and 1 MB: writing and reading it, and the same with its value, numbers
//! as JSON, bincode and an array, encoded before and decoded behind. The limit is what base64 takes, 1 to 2 GB a second
//! each way; JSON has to print and parse every number.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::hint::black_box;

use cov_benches::objects::object;
use cov_core::array;
use cov_core::transportable::{Encoding, TransportableObject};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [(&str, usize); 2] = [("1 KB", 1_000), ("1 MB", 1_000_000)];

const ENCODINGS: [Encoding; 3] = [Encoding::Json, Encoding::Bincode, Encoding::Array];

fn archives(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("transportable");
    for (name, size) in SIZES {
        let object = object(size, Encoding::Cloudpickle);
        let archive = object.to_archive();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("write", name), &object, |bencher, object| {
            bencher.iter(|| black_box(object).to_archive());
        });
        group.bench_with_input(BenchmarkId::new("read", name), &archive, |bencher, archive| {
            bencher.iter(|| read(archive));
        });
        let numbers: Vec<f64> = (0..u32::try_from(size / 8).expect("it is small"))
            .map(|number| f64::from(number) * 0.37)
            .collect();
        for encoding in ENCODINGS {
            let archive = encode(&numbers, encoding);
            group.bench_function(BenchmarkId::new(format!("encode {encoding}"), name), |bencher| {
                bencher.iter(|| encode(black_box(&numbers), encoding));
            });
            group.bench_function(BenchmarkId::new(format!("decode {encoding}"), name), |bencher| {
                bencher.iter(|| decode(&archive, encoding));
            });
        }
    }
    group.finish();
}

fn read(archive: &[u8]) -> TransportableObject {
    TransportableObject::from_archive(black_box(archive)).expect("it was just written")
}

fn encode(numbers: &Vec<f64>, encoding: Encoding) -> Vec<u8> {
    let encoded = match encoding {
        Encoding::Json => TransportableObject::from_json(numbers),
        Encoding::Bincode => TransportableObject::from_bincode(numbers, String::new()),
        _ => {
            let data = array::to_npy(numbers).expect("numbers make an array");
            Ok(TransportableObject { data: data.into(), ..object(0, encoding) })
        }
    };
    encoded.expect("numbers have every form").to_archive()
}

fn decode(archive: &[u8], encoding: Encoding) -> Vec<f64> {
    let object = read(archive);
    let decoded = match encoding {
        Encoding::Json => object.to_json(),
        Encoding::Bincode => object.to_bincode(),
        _ => object.decode(),
    };
    decoded.expect("it was just encoded")
}

criterion_group!(benches, archives);
criterion_main!(benches);

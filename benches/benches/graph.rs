//! Making a graph with the attributes of the crate `cov`: a fan of 10,000 electrons and a chain.

#![expect(clippy::expect_used, reason = "a bench that cannot go on has to end")]

use std::hint::black_box;

use cov::{Node, electron, lattice};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const ELECTRONS: u32 = 10_000;

#[electron]
fn step(x: u64, by: u64) -> u64 {
    x + by
}

#[electron]
fn sum(numbers: Vec<u64>) -> u64 {
    numbers.into_iter().sum()
}

#[lattice]
fn fan(count: u64) -> Node<u64> {
    sum::node(step::map(0..count, 1))
}

#[lattice]
fn chain(count: u64) -> Node<u64> {
    (0..count).fold(step::node(0, 1), |last, _| step::node(last, 1))
}

fn graphs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("graph");
    group.throughput(Throughput::Elements(u64::from(ELECTRONS)));
    let count = u64::from(ELECTRONS);
    group.bench_function("fan", |bencher| {
        bencher.iter(|| fan::build(black_box(count)).expect("the graph is sound"));
    });
    group.bench_function("chain", |bencher| {
        bencher.iter(|| chain::build(black_box(count)).expect("the graph is sound"));
    });
    group.finish();
}

criterion_group!(benches, graphs);
criterion_main!(benches);

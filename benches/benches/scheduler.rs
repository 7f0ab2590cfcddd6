//! Fair admission under 1,000 dispatches, one of which has 100,000 electrons waiting and the others 10 to 100: what one
//! decision costs, and how even the shares are. Prints by how many grants those differ that have waited all along; the
//! limit is 1. A decision is two moves in queues and a look into a map, so about 0.1 us.

#![expect(clippy::print_stdout, reason = "a measurement prints")]

use std::collections::HashMap;

use cov_core::ids::DispatchId;
use cov_engine::scheduler::Scheduler;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const DISPATCHES: usize = 1_000;
const SLOTS: usize = 2;
const LARGE: usize = 100_000;
/// The least that a dispatch has waiting.
const SMALL_MIN: usize = 10;

/// Every dispatch has its electrons waiting: number 0 the most, the others between 10 and 100.
fn waiting(ids: &[DispatchId]) -> Scheduler<DispatchId, usize> {
    let mut scheduler = Scheduler::new(SLOTS);
    for (number, id) in ids.iter().enumerate() {
        let electrons = if number == 0 { LARGE } else { SMALL_MIN + number % 91 };
        (0..electrons).for_each(|_| scheduler.enqueue(id.clone(), number));
    }
    scheduler
}

/// Grants and gives back until nothing waits.
fn drained(mut scheduler: Scheduler<DispatchId, usize>) -> usize {
    let mut granted = 0;
    while scheduler.grant().is_some() {
        scheduler.release();
        granted += 1;
    }
    granted
}

/// The most and the fewest grants of any dispatch, after so many rounds in which all had some waiting.
fn shares(mut scheduler: Scheduler<DispatchId, usize>, grants: usize) -> (usize, usize) {
    let mut shares: HashMap<usize, usize> = (0..DISPATCHES).map(|number| (number, 0)).collect();
    for number in std::iter::from_fn(|| {
        scheduler.release();
        scheduler.grant()
    })
    .take(grants)
    {
        *shares.entry(number).or_default() += 1;
    }
    let of = |pick: fn(usize, usize) -> usize, start| shares.values().copied().fold(start, pick);
    (of(usize::max, 0), of(usize::min, usize::MAX))
}

fn decisions(criterion: &mut Criterion) {
    let ids: Vec<DispatchId> =
        (0..DISPATCHES).filter_map(|number| format!("dispatch-{number}").parse().ok()).collect();
    let all = waiting(&ids).queued();
    let mut group = criterion.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(all as u64));
    group.bench_function("enqueue", |bencher| bencher.iter_with_large_drop(|| waiting(&ids)));
    group.bench_function("grant and release", |bencher| {
        bencher.iter_batched(|| waiting(&ids), drained, BatchSize::LargeInput);
    });
    group.finish();
    for rounds in [1, SMALL_MIN] {
        let (most, fewest) = shares(waiting(&ids), rounds * DISPATCHES);
        println!("after {rounds} rounds: {fewest} to {most} grants for each of {DISPATCHES}");
    }
    let (most, fewest) = shares(waiting(&ids), DISPATCHES * SMALL_MIN - DISPATCHES / 2);
    println!("in the middle of a round: {fewest} to {most} grants for each of {DISPATCHES}");
}

criterion_group!(benches, decisions);
criterion_main!(benches);

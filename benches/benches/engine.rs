//! Planning a graph, and every `apply` in the life of its dispatch, with nothing around it: what the decisions cost, for
//! 100 to 1,000,000 electrons in a chain and a fan. Prints what a node costs in each. The limit: a node of 1,000,000
//! costs at most 1.5 times what one of 1,000 does.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cov_benches::lives::{chain, fan, plan, run};
use cov_engine::dispatch::Dispatch;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ELECTRONS: [u32; 4] = [100, 1_000, 10_000, 1_000_000];

/// Growth of the cost of a node from 1,000 nodes to 1,000,000.
const GROWTH_MAX: f64 = 1.5;

/// The shortest time of each measurement, by its name and the number of electrons.
type Shortest = RefCell<BTreeMap<(String, u32), Duration>>;

fn lives(criterion: &mut Criterion) {
    let shortest = Shortest::default();
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(10);
    for electrons in ELECTRONS {
        group.throughput(Throughput::Elements(u64::from(electrons)));
        for (shape, edges) in [("chain", chain(electrons)), ("fan", fan(electrons))] {
            let name = format!("{shape} planned");
            group.bench_function(BenchmarkId::new(&name, electrons), |bencher| {
                bencher.iter_custom(|rounds| {
                    sum(rounds, &shortest, &name, electrons, || {
                        timed(|| plan(electrons, black_box(&edges)))
                    })
                });
            });
            let fresh = Dispatch::new(plan(electrons, &edges));
            let name = format!("{shape} applied");
            group.bench_function(BenchmarkId::new(&name, electrons), |bencher| {
                bencher.iter_custom(|rounds| {
                    sum(rounds, &shortest, &name, electrons, || {
                        let dispatch = fresh.clone();
                        timed(|| run(dispatch))
                    })
                });
            });
        }
    }
    group.finish();
    tell(&shortest.into_inner());
}

/// How long the work takes; not how long it takes to drop what it returns.
fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begin = Instant::now();
    let made = work();
    let took = begin.elapsed();
    drop(made);
    took
}

fn sum(
    rounds: u64,
    shortest: &Shortest,
    name: &str,
    electrons: u32,
    round: impl Fn() -> Duration,
) -> Duration {
    let times = (0..rounds).map(|_| {
        let took = round();
        let mut shortest = shortest.borrow_mut();
        let known = shortest.entry((name.to_owned(), electrons)).or_insert(took);
        *known = took.min(*known);
        took
    });
    times.sum()
}

fn tell(shortest: &BTreeMap<(String, u32), Duration>) {
    let per_node = |name: &str, electrons: u32| {
        let took = shortest.get(&(name.to_owned(), electrons))?;
        Some(took.as_secs_f64() * 1e9 / f64::from(electrons))
    };
    for (name, electrons) in shortest.keys() {
        let Some(cost) = per_node(name, *electrons) else { continue };
        println!("{name}, {electrons} electrons: {cost:.0} ns a node");
        let small = per_node(name, 1_000).filter(|_| *electrons == 1_000_000);
        let Some(growth) = small.map(|small| cost / small) else { continue };
        let verdict = if growth > GROWTH_MAX { "OVER" } else { "within" };
        println!("{name}: {growth:.2} times that of 1,000; {verdict} the limit of {GROWTH_MAX}");
    }
}

criterion_group!(benches, lives);
criterion_main!(benches);

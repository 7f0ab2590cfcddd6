//! How late 10,000 timers fire that are due within one second: the median, and the 99th
//! percentile. Over a host in memory, so that it is the service's own delay.

#![expect(clippy::unwrap_used, reason = "a bench that fails has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cov_triggers::memory::{MemoryHost, Run};
use cov_triggers::{Registry, Service, TimeTrigger, TriggerExt as _, TriggerHost};
use criterion::{Criterion, criterion_group, criterion_main};

const TIMERS: usize = 10_000;
/// Longer than it takes to register them all.
const TIME_GAP: Duration = Duration::from_secs(5);

/// Registers the timers, lets each fire once, and tells how late they were, sorted.
async fn lags() -> Vec<Duration> {
    let host = Arc::new(MemoryHost::new());
    let original = host.add_dispatch("original", Run::Ended);
    host.set_dispatches_end_at_once(true);
    let kept: Arc<dyn TriggerHost> = Arc::<MemoryHost>::clone(&host);
    let (triggers, service) = Service::start(kept, Registry::builtin()).await.unwrap();
    for _ in 0..TIMERS {
        let timer = TimeTrigger::new(TIME_GAP).connected_to(original.clone());
        timer.register(&triggers).await.unwrap();
    }
    host.until(|host| host.fired() >= TIMERS).await;
    service.stop().await;
    let mut lags = host.lags();
    lags.truncate(TIMERS);
    lags.sort_unstable();
    lags
}

fn timers(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("timers_due_in_one_second");
    group.sample_size(10);
    group.measurement_time(Duration::from_millis(1));
    group.warm_up_time(Duration::from_millis(1));
    for (name, share) in [("p50", 50), ("p99", 99)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let all = (0..rounds).map(|_| {
                    let lags = black_box(runtime.block_on(lags()));
                    lags.get(lags.len() * share / 100).copied().unwrap_or_default()
                });
                all.sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, timers);
criterion_main!(benches);

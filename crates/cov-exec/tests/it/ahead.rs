//! Tasks that a runner is handed while it is at another one: only where tasks are quick, and given
//! back when one turns out to be long.

use std::collections::HashMap;

use cov_core::error::Fault;
use cov_core::ids::AttemptId;
use cov_exec::{Event, Executor as _, Lane, Outcome};

use crate::support::{Bench, Line, begin_of, call, completed, failed, task};

/// Enough for an executor to have found out that tasks are quick.
const WARM_UP: usize = 100;

/// One worker, which has run quick tasks.
async fn quick_bench() -> Bench {
    let mut bench = Bench::new(1);
    for _ in 0..WARM_UP {
        bench.eval("result = 1").await;
    }
    bench
}

#[tokio::test]
async fn an_executor_wants_more_than_one_task_a_worker_only_while_it_runs_quick_ones() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.executor.room(Lane::Python), 1, "nothing is known of its tasks");
    for _ in 0..WARM_UP {
        bench.eval("result = 1").await;
    }
    assert_eq!(bench.executor.room(Lane::Python), 1, "an idle worker takes one task");
    assert_eq!(bench.executor.room(Lane::Other), 1);
}

#[tokio::test]
async fn quick_tasks_each_end_once_with_a_result_of_their_own() {
    const TASKS: usize = 500;
    let mut bench = quick_bench().await;
    let (mut expected, mut ended) = (HashMap::new(), 0);
    let mut numbers = 0..TASKS;
    let mut again = Vec::new();
    let mut most = 0;
    while ended < TASKS {
        let under_way = expected.len();
        most = most.max(under_way);
        if under_way < bench.executor.room(Lane::Python)
            && let Some(number) = again.pop().or_else(|| numbers.next())
        {
            let next = task(&format!("result = {number}"));
            expected.insert(next.attempt, number);
            bench.executor.submit(next).await.unwrap();
            continue;
        }
        let report = bench.next().await;
        match report.event {
            Event::Begun => {}
            Event::NotBegun => again.push(expected.remove(&report.attempt).unwrap()),
            Event::Ended(ending) => {
                let number = expected.remove(&report.attempt).unwrap();
                assert_eq!(completed(ending).object_string, number.to_string());
                ended += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(most > 1, "no task was ever handed ahead");
}

#[tokio::test]
async fn what_waits_behind_a_long_task_is_given_back() {
    let mut bench = quick_bench().await;
    let line = Line::new(bench.folder.path());
    let long = task(&format!("{}wait()", line.prelude()));
    let long_attempt = long.attempt;
    let behind: Vec<_> = (0..3).map(|_| task("result = 2")).collect();
    let mut waiting: Vec<AttemptId> = behind.iter().map(|task| task.attempt).collect();
    bench.executor.submit(long).await.unwrap();
    for task in behind {
        bench.executor.submit(task).await.unwrap();
    }
    while !waiting.is_empty() {
        let report = bench.next().await;
        match report.event {
            Event::Begun => assert_eq!(report.attempt, long_attempt),
            Event::NotBegun => waiting.retain(|attempt| *attempt != report.attempt),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.executor.room(Lane::Python), 1, "what it runs is not quick any more");
    let mut talk = line.answer().await;
    talk.let_on().await;
    let report = bench.next().await;
    assert_eq!(report.attempt, long_attempt);
    assert!(matches!(report.event, Event::Ended(_)), "{:?}", report.event);
    assert_eq!(bench.eval("result = 3").await, "3");
}

/// Whether they were handed ahead already is a matter of time; either way, none is lost or fails.
#[tokio::test]
async fn a_death_fails_no_task_that_waits_behind() {
    let mut bench = quick_bench().await;
    let dying = task("__import__('os')._exit(3)");
    let dying_attempt = dying.attempt;
    let behind: Vec<_> = (0..3).map(|_| task("result = 2")).collect();
    let mut waiting: Vec<AttemptId> = behind.iter().map(|task| task.attempt).collect();
    bench.executor.submit(dying).await.unwrap();
    for task in behind {
        bench.executor.submit(task).await.unwrap();
    }
    let mut died = false;
    while !died || !waiting.is_empty() {
        let report = bench.next().await;
        match report.event {
            Event::Begun => {}
            Event::Ended(ending) if report.attempt == dying_attempt => {
                assert_eq!(failed(&ending).0, Fault::Runner);
                died = true;
            }
            Event::NotBegun | Event::Ended(_) => {
                if let Event::Ended(ending) = report.event {
                    completed(ending);
                }
                waiting.retain(|attempt| *attempt != report.attempt);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// As above: it is killed behind the long task, or was given back just before.
#[tokio::test]
async fn a_task_that_waits_behind_another_is_killed_alone() {
    let mut bench = quick_bench().await;
    let line = Line::new(bench.folder.path());
    let long = task(&format!("{}wait()\nresult = 7", line.prelude()));
    let unwanted = task("result = 2");
    let (long_attempt, unwanted_attempt) = (long.attempt, unwanted.attempt);
    bench.executor.submit(long).await.unwrap();
    // Otherwise it would be taken back with the other, to be submitted again.
    begin_of(&mut bench.reports, long_attempt).await;
    bench.executor.submit(unwanted).await.unwrap();
    bench.executor.kill(unwanted_attempt).await;
    let mut talk = line.answer().await;
    talk.let_on().await;
    let (mut result, mut is_over) = (None, false);
    while result.is_none() || !is_over {
        let report = bench.next().await;
        match report.event {
            // It was about to be taken back when the long one ended.
            Event::Begun => assert_eq!(report.attempt, unwanted_attempt),
            Event::NotBegun => is_over = true,
            Event::Ended(ending) if report.attempt == unwanted_attempt => {
                assert!(matches!(ending.outcome, Outcome::Killed), "{:?}", ending.outcome);
                is_over = true;
            }
            Event::Ended(ending) => result = Some(completed(ending).object_string),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(result.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_task_that_travels_in_pieces_arrives_whole_whatever_happens_behind_it() {
    const LENGTH: usize = 300_000;
    let mut bench = quick_bench().await;
    let long = "x".repeat(LENGTH);
    for _ in 0..20 {
        let large = call("builtins len", &[&long]);
        let large_attempt = large.attempt;
        let behind: Vec<_> = (0..2).map(|_| task("result = 2")).collect();
        let mut waiting: Vec<AttemptId> = behind.iter().map(|task| task.attempt).collect();
        let unwanted = waiting[1];
        bench.executor.submit(large).await.unwrap();
        for task in behind {
            bench.executor.submit(task).await.unwrap();
        }
        bench.executor.kill(unwanted).await;
        waiting.push(large_attempt);
        while !waiting.is_empty() {
            let report = bench.next().await;
            match report.event {
                Event::Begun => continue,
                Event::Ended(ending) if report.attempt == large_attempt => {
                    assert_eq!(completed(ending).object_string, LENGTH.to_string());
                }
                Event::Ended(_) | Event::NotBegun => {}
                other => panic!("{other:?}"),
            }
            waiting.retain(|attempt| *attempt != report.attempt);
        }
    }
}

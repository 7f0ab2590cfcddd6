//! What the server knows of each attempt that the host has or shall have, and what becomes of it
//! when the host dies. Pure; talks to no process.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::ids::{AttemptId, DispatchId, NodeId};

use crate::{Ending, Event, Job, Outcome, Payload, Task};

/// How often the host may die under the work of one electron before the electron is held to be
/// what kills it.
const DEATHS_MAX: u32 = 3;

/// More electrons than this are not held suspect at a time.
const SUSPECTS_MAX: usize = 10_000;

/// One attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) dispatch: DispatchId,
    pub(super) node: NodeId,
    pub(super) engine: Arc<ExecutorSpec>,
    pub(super) begun: bool,
    pub(super) handle: Option<Box<str>>,
    pub(super) killed: bool,
    /// Files that were written for it alone.
    pub(super) spilled: Vec<PathBuf>,
}

impl Attempt {
    pub(super) fn of_task(task: &Task) -> Self {
        Self {
            dispatch: task.dispatch.clone(),
            node: task.node,
            engine: task.engine.clone().unwrap_or_default(),
            begun: false,
            handle: None,
            killed: false,
            spilled: Vec::new(),
        }
    }

    pub(super) fn of_job(job: &Job) -> Self {
        Self {
            dispatch: job.dispatch.clone(),
            node: job.node,
            engine: Arc::clone(&job.engine),
            begun: false,
            handle: Some(job.handle.clone()),
            killed: false,
            spilled: Vec::new(),
        }
    }

    fn job(&self, attempt: AttemptId, handle: Box<str>) -> Job {
        let (dispatch, node) = (self.dispatch.clone(), self.node);
        Job { attempt, dispatch, node, engine: Arc::clone(&self.engine), handle }
    }
}

/// What happens to an attempt whose host died.
#[derive(Debug)]
pub(super) enum Fate {
    /// The next host takes it up.
    Attach(Job),
    /// It is over for this attempt.
    Over(Event),
}

/// Electrons under whose work a host died.
#[derive(Debug, Default)]
pub(super) struct Suspects(HashMap<(DispatchId, NodeId), u32>);

impl Suspects {
    /// An electron's attempt came to an end without harm.
    pub(super) fn clear(&mut self, attempt: &Attempt) {
        if !self.0.is_empty() {
            self.0.remove(&(attempt.dispatch.clone(), attempt.node));
        }
    }

    fn count(&mut self, attempt: &Attempt) -> u32 {
        if self.0.len() >= SUSPECTS_MAX {
            self.0.clear();
        }
        let deaths = self.0.entry((attempt.dispatch.clone(), attempt.node)).or_insert(0);
        *deaths += 1;
        *deaths
    }

    /// What becomes of an attempt that the host had when it died.
    pub(super) fn fate(&mut self, id: AttemptId, attempt: &Attempt, how: &str) -> Fate {
        if attempt.killed && attempt.handle.is_none() {
            return Fate::Over(ended(Outcome::Killed));
        }
        if self.count(attempt) >= DEATHS_MAX {
            self.clear(attempt);
            let name = &attempt.engine.name;
            let message = format!(
                "The process that hosts executor plugins {how} each of the {DEATHS_MAX} times \
                 that it worked on this electron, on the executor `{name}`; see plugins.log in \
                 the run folder."
            );
            return Fate::Over(ended(Outcome::Failed { fault: Fault::Executor, message }));
        }
        match &attempt.handle {
            Some(handle) => Fate::Attach(attempt.job(id, handle.clone())),
            None if attempt.begun => Fate::Over(Event::Lost),
            None => Fate::Over(Event::NotBegun),
        }
    }
}

pub(super) fn ended(outcome: Outcome) -> Event {
    let (stdout, stderr) = (Payload::default(), Payload::default());
    Event::Ended(Ending { outcome, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(begun: bool, handle: Option<&str>) -> Attempt {
        let dispatch = "6f1c1b9e-2c57-4a4b-8f0e-0f4a0f7f2b11".parse().unwrap();
        Attempt {
            dispatch,
            node: NodeId(1),
            engine: Arc::default(),
            begun,
            handle: handle.map(Box::from),
            killed: false,
            spilled: Vec::new(),
        }
    }

    fn fate(suspects: &mut Suspects, attempt: &Attempt) -> Fate {
        suspects.fate(AttemptId::new(1, 1), attempt, "died")
    }

    #[test]
    fn what_has_a_handle_is_taken_up_and_what_never_began_can_begin_again() {
        let mut suspects = Suspects::default();
        let Fate::Attach(job) = fate(&mut suspects, &attempt(true, Some("7"))) else { panic!() };
        assert_eq!(&*job.handle, "7");
        let mut suspects = Suspects::default();
        assert!(matches!(fate(&mut suspects, &attempt(true, None)), Fate::Over(Event::Lost)));
        let mut suspects = Suspects::default();
        assert!(matches!(fate(&mut suspects, &attempt(false, None)), Fate::Over(Event::NotBegun)));
    }

    #[test]
    fn the_electron_under_which_it_always_dies_is_not_tried_for_ever() {
        let mut suspects = Suspects::default();
        let suspect = attempt(true, None);
        assert!(matches!(fate(&mut suspects, &suspect), Fate::Over(Event::Lost)));
        assert!(matches!(fate(&mut suspects, &suspect), Fate::Over(Event::Lost)));
        let Fate::Over(Event::Ended(ending)) = fate(&mut suspects, &suspect) else { panic!() };
        let Outcome::Failed { fault, message } = ending.outcome else { panic!() };
        assert_eq!(fault, Fault::Executor);
        assert!(message.contains("3 times"), "{message}");
        // It may be tried again by whoever asks for it.
        assert!(matches!(fate(&mut suspects, &suspect), Fate::Over(Event::Lost)));
    }

    #[test]
    fn one_that_came_to_its_end_is_no_suspect_any_more() {
        let mut suspects = Suspects::default();
        let innocent = attempt(true, None);
        for _ in 0..DEATHS_MAX * 2 {
            assert!(matches!(fate(&mut suspects, &innocent), Fate::Over(Event::Lost)));
            suspects.clear(&innocent);
        }
    }

    #[test]
    fn one_that_shall_end_is_not_begun_again() {
        let mut killed = attempt(true, None);
        killed.killed = true;
        let event = fate(&mut Suspects::default(), &killed);
        let Fate::Over(Event::Ended(ending)) = event else { panic!() };
        assert!(matches!(ending.outcome, Outcome::Killed));
    }
}

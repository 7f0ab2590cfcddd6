//! Between the executor's types and those of the frames of the host.

use std::io;

use cov_core::error::Fault;
use cov_core::executor::ExecutorSpec;
use cov_core::frames::Blob;
use cov_core::frames::host::{Attachment, Engine, HostOutcome, Submission, ToHost, Work};

use super::PluginOptions;
use crate::local::capture::Spool;
use crate::local::wire;
use crate::{Ending, Job, Outcome, Runtime, Task};

/// A task in wire form, and files that were written for it alone.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) message: ToHost,
    pub(super) spilled: Vec<std::path::PathBuf>,
}

/// Brings a task into wire form. Writes large inputs to the spool if there are too many for a
/// frame.
///
/// # Errors
/// A file could not be written.
pub(super) fn pack(task: &Task, spool: &Spool) -> io::Result<Packed> {
    let packed = wire::pack(task, spool)?;
    let submission = Submission {
        engine: task.engine.as_deref().map_or_else(nameless, engine),
        work: work(&task.runtime),
        task: packed.task,
    };
    Ok(Packed { message: ToHost::Run(submission), spilled: packed.spilled })
}

/// Brings a job into wire form.
pub(super) fn pack_job(job: &Job) -> ToHost {
    ToHost::Attach(Attachment {
        attempt: job.attempt.to_bits(),
        dispatch: job.dispatch.as_str().to_owned(),
        node: job.node.0,
        engine: engine(&job.engine),
        job: job.handle.as_ref().to_owned(),
    })
}

fn engine(spec: &ExecutorSpec) -> Engine {
    Engine { name: spec.name.clone(), data: spec.data.to_string() }
}

fn nameless() -> Engine {
    Engine { name: String::new(), data: "{}".to_owned() }
}

fn work(runtime: &Runtime) -> Work {
    match runtime {
        Runtime::Python => Work::Python,
        Runtime::Program(program) => Work::Program {
            digest: program.digest.to_string(),
            address: program.address.clone(),
            memory_bytes_max: program.memory_bytes_max,
        },
        Runtime::Command => Work::Command,
    }
}

/// What the host tells of an attempt's end. `None` if it names a file that is not the attempt's.
pub(super) fn ending(
    outcome: HostOutcome,
    (stdout, stderr): (Blob, Blob),
    name: &str,
    spool: &Spool,
    options: &PluginOptions,
) -> Option<Ending> {
    let payload = |blob, ending| wire::payload(blob, &spool.file(ending));
    Some(Ending {
        outcome: match outcome {
            HostOutcome::Completed(output) => Outcome::Completed(payload(output, Spool::OUTPUT)?),
            HostOutcome::Failed(message) => failed(Fault::Task, message),
            HostOutcome::NotStored(message) => failed(Fault::Server, message),
            HostOutcome::Refused(message) => failed(Fault::Executor, message),
            HostOutcome::Died(message) => failed(Fault::Runner, message),
            HostOutcome::Unknown(names) => {
                failed(Fault::Executor, unknown(name, &names, &options.known))
            }
            HostOutcome::Killed => Outcome::Killed,
        },
        stdout: payload(stdout, Spool::STDOUT)?,
        stderr: payload(stderr, Spool::STDERR)?,
    })
}

fn failed(fault: Fault, message: String) -> Outcome {
    Outcome::Failed { fault, message }
}

fn unknown(name: &str, found: &[String], own: &[String]) -> String {
    let mut names: Vec<&str> = own.iter().chain(found).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    format!("No executor found by name: {name}. This server has: {}.", names.join(", "))
}

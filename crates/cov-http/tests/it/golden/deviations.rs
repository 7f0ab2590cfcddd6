//! Where our answers differ from the recorded ones, and why. An entry that fits no difference of
//! a folder that it names is a failure too: the table says what is so, not what was.

use super::compare::Difference;

struct Deviation {
    /// Folders in which it shows.
    folders: &'static [&'static str],
    /// Place, recorded and answered; `*` stands for any text.
    place: &'static str,
    recorded: &'static str,
    answered: &'static str,
    reason: &'static str,
}

const REGISTERING: &[&str] = &[
    "01_single",
    "02_chain",
    "03_kwargs",
    "04_fanout",
    "05_collections",
    "06_derived_nodes",
    "07_sublattice",
    "08_sublattice_tarball",
    "09_failing",
    "10_hooks",
    "11_files",
    "12_wait_for",
    "13_redispatch_same",
    "14_redispatch_replace",
    "15_redispatch_new_args",
    "16_cancel_all",
    "17_cancel_selected",
    "18_disable_run",
    "19_trigger_time",
    "20_trigger_dir",
    "21_trigger_sqlite",
    "22_trigger_database",
    "23_task_packing",
    "24_custom_executor",
    "25_sublattice_failing",
    "26_sublattice_cancel",
    "27_errors",
    "28_cancel_dask",
];
const REDISPATCHED: &[&str] =
    &["13_redispatch_same", "14_redispatch_replace", "15_redispatch_new_args"];
const SAME: &[&str] = &["13_redispatch_same"];
/// Here the recorded server's own trigger has sent the redispatches.
const TRIGGERED: &[&str] =
    &["19_trigger_time", "20_trigger_dir", "21_trigger_sqlite", "22_trigger_database"];
const FAILING: &[&str] = &["09_failing", "25_sublattice_failing"];
const NESTED: &[&str] = &["07_sublattice", "25_sublattice_failing", "26_sublattice_cancel"];
const WITH_CHILD: &[&str] =
    &["07_sublattice", "08_sublattice_tarball", "25_sublattice_failing", "26_sublattice_cancel"];
const CANCELLED: &[&str] = &["16_cancel_all", "26_sublattice_cancel"];
const ERRORS: &[&str] = &["27_errors"];
const PLUGIN: &[&str] = &["24_custom_executor"];

const fn deviation(
    folders: &'static [&'static str],
    place: &'static str,
    recorded: &'static str,
    answered: &'static str,
    reason: &'static str,
) -> Deviation {
    Deviation { folders, place, recorded, answered, reason }
}

const DEVIATIONS: &[Deviation] = &[
    // Mended defects and liberties.
    deviation(
        PLUGIN,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes[*].assets.*.digest*",
        "\"*",
        "null",
        "digests are told of what clients upload; what a task made has none, wherever it ran",
    ),
    deviation(
        PLUGIN,
        "GET /api/v0/files/*/node_0/stdout.log text",
        "toy ran mint 3*",
        "toy ran mint 3*hello from a plugin*",
        "what a task prints in the process of its plugin is kept as well",
    ),
    deviation(
        REGISTERING,
        "POST /api/v2/dispatches *.remote_uri",
        "\"http*",
        "\"\"",
        "an upload is asked for only where there is content that the server lacks",
    ),
    deviation(
        NESTED,
        "GET /api/v2/dispatches/* .metadata.root_dispatch_id",
        "*",
        "*",
        "a linked sub-dispatch belongs to its parent's hierarchy (D15)",
    ),
    deviation(
        NESTED,
        "PATCH /api/v2/dispatches/*/electrons/* status",
        "200",
        "409",
        "the node has ended: our own pool has built its sub-dispatch",
    ),
    deviation(
        WITH_CHILD,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes*.assets.output.remote_uri",
        "*",
        "*",
        "a node that is a sub-dispatch has the result under its own address",
    ),
    deviation(
        WITH_CHILD,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes*.assets.error.remote_uri",
        "*",
        "*",
        "a node that is a sub-dispatch has the error under its own address",
    ),
    deviation(
        &["07_sublattice"],
        "GET /api/v2/dispatches/*/electrons/*/assets/output .remote_uri",
        "*",
        "*",
        "a node that is a sub-dispatch has the result under its own address",
    ),
    deviation(
        FAILING,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes*.assets.error.size",
        "0",
        "*",
        "the traceback of a failed task is in its error as well",
    ),
    deviation(
        FAILING,
        "GET /api/v2/dispatches/* .assets.error.size",
        "0",
        "*",
        "the error of a dispatch names what failed, one a line, also below a sub-dispatch (D25)",
    ),
    deviation(
        FAILING,
        "GET /api/v0/files/*/stderr.log frames",
        "*",
        "*",
        "the frames of the recorded wrapper are not ours",
    ),
    deviation(
        &["08_sublattice_tarball"],
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes*.assets.stdout.size",
        "49",
        "0",
        "tasks named `dask` run in the local pool, where a builder reaches the server",
    ),
    deviation(
        &["08_sublattice_tarball"],
        "GET /api/v0/files/*/node_0/stdout.log status",
        "200",
        "404",
        "tasks named `dask` run in the local pool, where a builder reaches the server",
    ),
    deviation(
        REDISPATCHED,
        "GET /api/v2/dispatches/* *.remote_uri",
        "*",
        "*",
        "a redispatch has assets of its own, so that nothing is written over the original's (D4)",
    ),
    deviation(
        REDISPATCHED,
        "GET /api/v2/dispatches/*/electrons/*/assets/* .remote_uri",
        "*",
        "*",
        "a redispatch has assets of its own, so that nothing is written over the original's (D4)",
    ),
    deviation(
        SAME,
        "POST /api/v2/dispatches/*/electrons/*/assets/* .remote_uri",
        "*",
        "*",
        "a redispatch has assets of its own, so that nothing is written over the original's (D4)",
    ),
    deviation(
        TRIGGERED,
        "GET /api/v2/dispatches/*/electrons/*/assets/* .remote_uri",
        "*",
        "*",
        "a redispatch has assets of its own, so that nothing is written over the original's (D4)",
    ),
    deviation(
        TRIGGERED,
        "POST /api/v2/dispatches/*/electrons/*/assets/* .remote_uri",
        "*",
        "*",
        "a redispatch has assets of its own, so that nothing is written over the original's (D4)",
    ),
    deviation(
        TRIGGERED,
        "POST /api/v2/dispatches/*/redispatches *.size",
        "*",
        "0",
        "outputs are not sent by clients, so none are announced",
    ),
    deviation(
        &["20_trigger_dir"],
        "GET /api/v0/files/*/results.tobj object",
        "*",
        "0",
        "the task counts the files of a folder, in which the recorded script put some",
    ),
    deviation(
        SAME,
        "GET /api/v0/files/*/results.tobj object",
        "(1, *",
        "(1, *",
        "the task returns the time of its run, and the original keeps its own (D4)",
    ),
    deviation(
        SAME,
        "POST /api/v2/dispatches/*/redispatches *.size",
        "403",
        "0",
        "outputs are not sent by clients, so none are announced",
    ),
    deviation(
        &["14_redispatch_replace", "15_redispatch_new_args"],
        "POST /api/v2/dispatches/*/redispatches *.remote_uri",
        "\"http*",
        "\"\"",
        "an upload is asked for only where there is content that the server lacks",
    ),
    deviation(
        CANCELLED,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes[0].metadata.status",
        "\"COMPLETED\"",
        "\"CANCELLED\"",
        "a running task is cancelled; the recorded one ran to its end (D11)",
    ),
    deviation(
        CANCELLED,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes[0].assets.output.size",
        "733",
        "0",
        "a cancelled task has no output (D11)",
    ),
    deviation(
        CANCELLED,
        "GET /api/v0/files/*/node_0/results.tobj status",
        "200",
        "404",
        "a cancelled task has no output (D11)",
    ),
    deviation(
        CANCELLED,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes[2].metadata.status",
        "\"CANCELLED\"",
        "\"NEW_OBJECT\"",
        "a task below a cancelled one is not reached (D11)",
    ),
    deviation(
        CANCELLED,
        "GET /api/v2/dispatches/* .lattice.transport_graph.nodes[2].metadata.end_time",
        "*",
        "null",
        "a task below a cancelled one is not reached (D11)",
    ),
    // Better errors.
    deviation(ERRORS, "* .code", "missing", "there", "every error has its stable code"),
    deviation(
        ERRORS,
        "* .detail*.input",
        "there",
        "missing",
        "a value may be long; its place is told",
    ),
    deviation(ERRORS, "* .detail*.ctx", "there", "missing", "the message tells what is expected"),
    deviation(ERRORS, "* .detail*.msg", "\"Input should be*", "*", "other words, same meaning"),
    deviation(
        ERRORS,
        "POST /api/v2/dispatches .detail",
        "3 long",
        "1 long",
        "reading ends with the first fault",
    ),
    deviation(
        ERRORS,
        "POST /api/v2/dispatches status",
        "422",
        "400",
        "what is no JSON is malformed",
    ),
    deviation(
        ERRORS,
        "* .detail",
        "\"Invalid object key*",
        "\"Invalid object key*",
        "the key is shown as it was sent; no path of the server is",
    ),
    deviation(
        ERRORS,
        "PUT /api/v2/dispatches/*/status status",
        "202",
        "404",
        "to start what does not exist is an error",
    ),
    deviation(
        ERRORS,
        "PUT /api/v2/dispatches/*/status status",
        "500",
        "404",
        "an unknown dispatch or node is not found",
    ),
    deviation(
        ERRORS,
        "GET /api/v2/dispatches/*/electrons/*/assets/function status",
        "400",
        "404",
        "an unknown dispatch is not found",
    ),
    deviation(
        ERRORS,
        "GET /api/v2/dispatches/*/electrons/*/assets/function status",
        "500",
        "404",
        "an unknown node is not found",
    ),
    deviation(
        ERRORS,
        "PUT /api/v2/dispatches/*/electrons/*/job status",
        "500",
        "404",
        "an unknown dispatch is not found",
    ),
    deviation(
        ERRORS,
        "PUT /api/v2/dispatches/*/electrons/*/job status",
        "500",
        "400",
        "an empty body is malformed",
    ),
    deviation(
        ERRORS,
        "PATCH /api/v2/dispatches/*/electrons/* status",
        "200",
        "404",
        "to link what does not exist is an error",
    ),
    deviation(
        ERRORS,
        "GET /api/v0/files/*/nothing.tobj status",
        "500",
        "422",
        "only assets have addresses",
    ),
    deviation(
        ERRORS,
        "PUT /api/v0/files/*/node_0/extra.bin status",
        "200",
        "422",
        "only assets have addresses",
    ),
    deviation(
        ERRORS,
        "GET /api/v0/files/*/node_0/extra.bin status",
        "206",
        "422",
        "only assets have addresses",
    ),
    deviation(ERRORS, "* text", "Not Found", "{\"detail\":\"Not Found\"*", "errors are JSON"),
    deviation(ERRORS, "GET /nothing status", "200", "404", "there is no page for every address"),
    deviation(ERRORS, "GET /api/v2/db-path status", "500", "404", "nobody asks for it"),
    deviation(
        ERRORS,
        "POST /api/v2/dispatches/*/redispatches status",
        "400",
        "404",
        "an unknown dispatch is not found",
    ),
    // What was recorded beside the workflow.
    deviation(
        ERRORS,
        "GET /api/v2/dispatches .metadata.count",
        "2",
        "1",
        "the recorded server had dispatches of other recordings",
    ),
    deviation(
        ERRORS,
        "GET /api/v2/dispatches .dispatches*dispatch_id",
        "*",
        "*",
        "the recorded server had dispatches of other recordings",
    ),
    deviation(ERRORS, "POST /api/triggers/register status", "500", "422", "the fault is named"),
    deviation(ERRORS, "POST /api/triggers/stop_observe status", "500", "404", "the fault is named"),
    deviation(
        ERRORS,
        "GET /api/triggers/healthcheck status",
        "404",
        "200",
        "the health of triggers can be asked wherever they run",
    ),
];

/// Fails with every difference that is not in the table, and every entry that is not so.
pub(super) fn judge(folder: &str, differences: &[Difference]) {
    let entries: Vec<&Deviation> =
        DEVIATIONS.iter().filter(|entry| entry.folders.contains(&folder)).collect();
    let mut faults: Vec<String> = differences
        .iter()
        .filter(|difference| !entries.iter().any(|entry| entry.fits(difference)))
        .map(|found| {
            let Difference { exchange, place, recorded, answered } = found;
            format!("{folder}#{exchange} {place}: recorded {recorded}, answered {answered}")
        })
        .collect();
    let idle = entries.iter().filter(|entry| !differences.iter().any(|found| entry.fits(found)));
    faults.extend(
        idle.map(|entry| format!("{folder}: no longer so: {} ({})", entry.place, entry.reason)),
    );
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

impl Deviation {
    fn fits(&self, found: &Difference) -> bool {
        matches(self.place, &found.place)
            && matches(self.recorded, &found.recorded)
            && matches(self.answered, &found.answered)
    }
}

/// Whether `text` is `pattern`, where `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, text) in [("a", "a"), ("*", ""), ("a*", "ab"), ("*b", "ab"), ("a*c*e", "abcde")] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("a", "ab"), ("a*", "b"), ("a*c*e", "abde"), ("*b", "abc")] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

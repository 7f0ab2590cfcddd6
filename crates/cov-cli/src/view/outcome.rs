//! What came of a dispatch or a node, and what was done to dispatches.

use std::path::PathBuf;

use cov_core::ids::{DispatchId, NodeId};
use cov_core::status::Status;
use cov_core::transportable::{Encoding, TransportableObject};
use serde::Serialize;

use super::short;
use crate::output::units::{bytes, count};
use crate::output::{Report, Screen, Tone};
use crate::plain::Plain;

/// How many items of a list a terminal shows.
const ITEMS_MAX: usize = 100;
/// How many characters of a printed form a terminal shows.
const PRINTED_MAX: usize = 4_000;

/// A value that a dispatch or a node returned.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) dispatch_id: DispatchId,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) encoding: Encoding,
    /// Size of the encoded value.
    pub(crate) bytes: usize,
    /// The value, if it is plain data.
    pub(crate) value: Option<Plain>,
    /// Its printed form, if it is not.
    pub(crate) printed: Option<String>,
    #[serde(skip)]
    pub(crate) raw: bool,
}

impl Outcome {
    pub(crate) fn of(
        dispatch_id: DispatchId,
        node_id: Option<NodeId>,
        object: &TransportableObject,
        raw: bool,
    ) -> Self {
        let value = object.decode::<Plain>().ok();
        let printed = value.is_none().then(|| object.object_string.clone());
        let (encoding, bytes) = (object.header.encoding, object.data.len());
        Self { dispatch_id, node_id, encoding, bytes, value, printed, raw }
    }

    /// What there is to know of a value that is no plain data.
    pub(crate) fn remark(&self) -> Option<String> {
        self.value.is_none().then(|| {
            let what = match self.encoding {
                Encoding::Cloudpickle => "a pickle of a Python object",
                Encoding::Bincode => "bincode of a Rust program",
                Encoding::Array => "an array",
                Encoding::Json => "JSON",
            };
            let node = self.node_id.map_or(String::new(), |node| format!(" --node {node}"));
            format!(
                "This is the printed form of {what} ({}). `cov result {}{node} --output FILE` saves it.",
                bytes(self.bytes as u64),
                short(&self.dispatch_id)
            )
        })
    }
}

impl Report for Outcome {
    const EVENT: &'static str = "result";

    fn text(&self, screen: &Screen) -> String {
        match (&self.value, &self.printed) {
            // The line break at its end comes with every report.
            (Some(Plain::Text(text)), _) if self.raw => {
                text.strip_suffix('\n').unwrap_or(text).to_owned()
            }
            (Some(value), _) => match screen.width {
                Some(width) => value.pretty(width, ITEMS_MAX),
                None => serde_json::to_string(value)
                    .unwrap_or_else(|_error| value.pretty(usize::MAX, usize::MAX)),
            },
            (None, printed) => {
                let printed = printed.as_deref().unwrap_or_default();
                match screen.is_terminal && printed.chars().count() > PRINTED_MAX {
                    true => format!("{}…", printed.chars().take(PRINTED_MAX).collect::<String>()),
                    false => printed.to_owned(),
                }
            }
        }
    }
}

/// A value was written to a file.
#[derive(Debug, Serialize)]
pub(crate) struct Saved {
    pub(crate) dispatch_id: DispatchId,
    pub(crate) node_id: Option<NodeId>,
    pub(crate) file: PathBuf,
    pub(crate) encoding: Encoding,
    pub(crate) bytes: usize,
    /// The Python that pickled it.
    pub(crate) py_version: Option<String>,
}

impl Report for Saved {
    const EVENT: &'static str = "saved";

    fn text(&self, _screen: &Screen) -> String {
        let (file, size) = (self.file.display(), bytes(self.bytes as u64));
        match (self.encoding, &self.py_version) {
            (Encoding::Cloudpickle, Some(version)) => format!(
                "Wrote a pickle of Python {version}, {size}, to {file}; `pickle.load` reads it."
            ),
            (Encoding::Cloudpickle, None) => format!("Wrote a pickle, {size}, to {file}."),
            (Encoding::Json, _) => format!("Wrote JSON, {size}, to {file}."),
            (Encoding::Array, _) => {
                format!("Wrote an array, {size}, to {file}; `numpy.load` reads it.")
            }
            (Encoding::Bincode, _) => format!("Wrote bincode, {size}, to {file}."),
        }
    }
}

/// A dispatch was asked to be cancelled.
#[derive(Debug, Serialize)]
pub(crate) struct Cancelled {
    pub(crate) dispatch_id: DispatchId,
    pub(crate) nodes: Vec<NodeId>,
    /// Its state, as of the answer, or of its end if that was waited for.
    pub(crate) status: Status,
    /// Whether it had ended before it was asked.
    pub(crate) had_ended: bool,
}

impl Report for Cancelled {
    const EVENT: &'static str = "cancelled";

    fn text(&self, screen: &Screen) -> String {
        let id = short(&self.dispatch_id);
        let status = screen.status(self.status);
        match (self.had_ended, self.nodes.len()) {
            (true, _) => format!("{id} had ended before: {status}"),
            (false, _) if self.status.is_terminal() => format!("{id} is {status}"),
            (false, 0) => format!(
                "{id} is being cancelled; its tasks are shown so once their processes are gone"
            ),
            (false, nodes) => format!("{} of {id} being cancelled", count(nodes, "node")),
        }
    }
}

/// A dispatch was made of an earlier one.
#[derive(Debug, Serialize)]
pub(crate) struct Redispatched {
    pub(crate) dispatch_id: DispatchId,
    pub(crate) earlier: DispatchId,
    pub(crate) status: Status,
}

impl Report for Redispatched {
    const EVENT: &'static str = "redispatched";

    fn text(&self, screen: &Screen) -> String {
        let id = self.dispatch_id.as_str();
        match screen.is_terminal {
            true => format!(
                "{}\n{}",
                screen.paint(Tone::Bold, id),
                screen.paint(
                    Tone::Dim,
                    &format!(
                        "runs what {} did; `cov watch {}` follows it",
                        short(&self.earlier),
                        short(&self.dispatch_id)
                    )
                )
            ),
            // For scripts: nothing but the id.
            false => id.to_owned(),
        }
    }
}

/// A line that a task printed.
#[derive(Debug, Serialize)]
pub(crate) struct LogLine {
    pub(crate) node_id: NodeId,
    pub(crate) name: String,
    /// `stdout`, `stderr` or `error`.
    pub(crate) stream: &'static str,
    pub(crate) text: String,
    /// Lines of several nodes are told apart.
    #[serde(skip)]
    pub(crate) prefixed: bool,
}

impl Report for LogLine {
    const EVENT: &'static str = "log";

    fn text(&self, screen: &Screen) -> String {
        let tone = if self.stream == "stdout" { Tone::Plain } else { Tone::Bad };
        let text = screen.paint(tone, &self.text);
        match self.prefixed {
            true => {
                let begin = format!("{} {} │", self.node_id, self.name);
                format!("{} {text}", screen.paint(Tone::Dim, &begin))
            }
            // An empty line is a line all the same.
            false if text.is_empty() => " ".to_owned(),
            false => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::output::json_line;

    fn id() -> DispatchId {
        "3f2a9c10-7d1e".parse().unwrap()
    }

    #[test]
    fn plain_data_is_shown_and_other_data_by_its_printed_form() {
        let screen = Screen::for_tests(40);
        let object = TransportableObject::from_json(
            &json!({"loss": [0.5, 0.25], "name": "a rather long name of a model"}),
        )
        .unwrap();
        let plain = Outcome::of(id(), None, &object, false);
        assert_snapshot!(plain.text(&screen), @r#"
        {
          "loss": [0.5, 0.25],
          "name": "a rather long name of a model"
        }
        "#);
        assert_snapshot!(plain.text(&Screen::pipe()), @r#"{"loss":[0.5,0.25],"name":"a rather long name of a model"}"#);
        assert_snapshot!(json_line(&plain).unwrap(), @r#"{"event":"result","dispatch_id":"3f2a9c10-7d1e","node_id":null,"encoding":"json","bytes":58,"value":{"loss":[0.5,0.25],"name":"a rather long name of a model"},"printed":null}"#);
        assert_eq!(plain.remark(), None);

        let mut object = TransportableObject::from_bincode(&7_u8, "Model(7)".into()).unwrap();
        object.header.encoding = Encoding::Cloudpickle;
        let other = Outcome::of(id(), Some(NodeId(4)), &object, false);
        assert_eq!(other.text(&screen), "Model(7)");
        assert_snapshot!(other.remark().unwrap(), @"This is the printed form of a pickle of a Python object (1 B). `cov result 3f2a9c10 --node 4 --output FILE` saves it.");
        assert_snapshot!(json_line(&other).unwrap(), @r#"{"event":"result","dispatch_id":"3f2a9c10-7d1e","node_id":4,"encoding":"cloudpickle","bytes":1,"value":null,"printed":"Model(7)"}"#);
    }

    #[test]
    fn texts_are_json_unless_they_are_wanted_as_they_are() {
        let object = TransportableObject::from_json("a\nb").unwrap();
        let text = |raw| Outcome::of(id(), None, &object, raw).text(&Screen::pipe());
        assert_eq!((text(false), text(true)), ("\"a\\nb\"".into(), "a\nb".into()));
    }

    #[test]
    fn what_was_done_is_said() {
        let screen = Screen::for_tests(80);
        let cancelled = |status, had_ended, nodes: &[u32]| {
            let nodes = nodes.iter().copied().map(NodeId).collect();
            Cancelled { dispatch_id: id(), nodes, status, had_ended }.text(&screen)
        };
        assert_snapshot!(cancelled(Status::Running, false, &[]), @"3f2a9c10 is being cancelled; its tasks are shown so once their processes are gone");
        assert_snapshot!(cancelled(Status::Running, false, &[1, 2]), @"2 nodes of 3f2a9c10 being cancelled");
        assert_snapshot!(cancelled(Status::Cancelled, false, &[]), @"3f2a9c10 is CANCELLED");
        assert_snapshot!(cancelled(Status::Completed, true, &[]), @"3f2a9c10 had ended before: COMPLETED");
        let again = Redispatched {
            dispatch_id: "91c0ffee-1".parse().unwrap(),
            earlier: id(),
            status: Status::Running,
        };
        assert_snapshot!(again.text(&screen), @"
        91c0ffee-1
        runs what 3f2a9c10 did; `cov watch 91c0ffee` follows it
        ");
        assert_eq!(again.text(&Screen::pipe()), "91c0ffee-1");
        let saved = Saved {
            dispatch_id: id(),
            node_id: None,
            file: "model.pkl".into(),
            encoding: Encoding::Cloudpickle,
            bytes: 2048,
            py_version: Some("3.11.7".into()),
        };
        assert_snapshot!(saved.text(&screen), @"Wrote a pickle of Python 3.11.7, 2.0 KiB, to model.pkl; `pickle.load` reads it.");
    }

    #[test]
    fn lines_of_several_nodes_are_told_apart() {
        let line = LogLine {
            node_id: NodeId(3),
            name: "parse".into(),
            stream: "stderr",
            text: "row 17".into(),
            prefixed: true,
        };
        assert_eq!(line.text(&Screen::pipe()), "3 parse │ row 17");
        assert_snapshot!(json_line(&line).unwrap(), @r#"{"event":"log","node_id":3,"name":"parse","stream":"stderr","text":"row 17"}"#);
    }
}

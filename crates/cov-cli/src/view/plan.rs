//! What a redispatch would take over, and why.

use cov_client::NodePlan;
use serde::Serialize;

use super::short;
use crate::output::units::count;
use crate::output::{Cell, Report, Screen, Table, Tone};

/// The plan of a redispatch that was not made.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) dispatch_id: cov_core::ids::DispatchId,
    pub(crate) reuse: bool,
    pub(crate) nodes: Vec<NodePlan>,
}

impl Report for Plan {
    const EVENT: &'static str = "redispatch_plan";

    fn text(&self, screen: &Screen) -> String {
        let mut table = Table::new(["NODE", "", "BECAUSE"]);
        let runs = |node: &&NodePlan| node.verdict != "reused";
        for node in &self.nodes {
            let (word, tone) = match node.verdict.as_str() {
                "reused" => ("reused", Tone::Good),
                "new" => ("runs", Tone::Warn),
                _ => ("runs again", Tone::Warn),
            };
            table.row([
                format!("{} {}", node.node_id, node.name).into(),
                Cell::new(word).tone(tone),
                Cell::new(because(node)).tone(Tone::Dim),
            ]);
        }
        let run = self.nodes.iter().filter(runs).count();
        let id = short(&self.dispatch_id);
        let reuse = if self.reuse { " --reuse" } else { "" };
        let advice = match (self.reuse, run) {
            (true, 0) => "Nothing would run.".to_owned(),
            _ => format!("`cov redispatch{reuse} {id}` does it."),
        };
        let advice = match self.reuse {
            true => advice,
            false => format!("{advice} With --reuse, what was complete is taken over."),
        };
        let sum = format!(
            "{} would run, {} would be reused.",
            count(run, "node"),
            self.nodes.len() - run
        );
        format!("{}\n\n{sum} {advice}", table.text(screen))
    }
}

fn because(node: &NodePlan) -> String {
    let reason = match node.reason.as_str() {
        "unchanged" => "unchanged and complete".to_owned(),
        "code" => "its code was replaced".to_owned(),
        "input" => "its inputs differ".to_owned(),
        "upstream" => match node.upstream {
            Some(above) => format!("node {above} above it is not the same"),
            None => "a node above it is not the same".to_owned(),
        },
        "earlier_status" => "it was not complete".to_owned(),
        "not_asked" => "nobody asked for reuse".to_owned(),
        "added" => "it is new".to_owned(),
        other => other.replace('_', " "),
    };
    let warnings: Vec<&str> = node
        .warnings
        .iter()
        .map(|warning| match warning.as_str() {
            "function_changed" => "its function differs",
            "executor_changed" => "its executor differs",
            other => other,
        })
        .collect();
    match warnings.is_empty() {
        true => reason,
        false => format!("{reason}; but {}", warnings.join(" and ")),
    }
}

#[cfg(test)]
mod tests {
    use cov_core::ids::NodeId;
    use insta::assert_snapshot;

    use super::*;
    use crate::output::json_line;

    fn plan(reuse: bool) -> Plan {
        let node = |id, name: &str, verdict: &str, reason: &str| NodePlan {
            node_id: NodeId(id),
            name: name.into(),
            verdict: verdict.into(),
            reason: reason.into(),
            upstream: None,
            warnings: Vec::new(),
        };
        let mut nodes = vec![
            node(0, "load", "reused", "unchanged"),
            node(1, "parse", "run_again", "earlier_status"),
            node(2, "train", "run_again", "upstream"),
        ];
        nodes[2].upstream = Some(NodeId(1));
        nodes[0].warnings = vec!["function_changed".into()];
        Plan { dispatch_id: "3f2a9c10-7d1e".parse().unwrap(), reuse, nodes }
    }

    #[test]
    fn every_node_has_its_reason() {
        assert_snapshot!(plan(true).text(&Screen::for_tests(80)), @"
        NODE                 BECAUSE
        0 load   reused      unchanged and complete; but its function differs
        1 parse  runs again  it was not complete
        2 train  runs again  node 1 above it is not the same

        2 nodes would run, 1 would be reused. `cov redispatch --reuse 3f2a9c10` does it.
        ");
        let nothing = Plan { nodes: plan(true).nodes[..1].to_vec(), ..plan(true) };
        assert!(nothing.text(&Screen::pipe()).ends_with("1 would be reused. Nothing would run."));
        assert!(plan(false).text(&Screen::pipe()).contains("With --reuse"));
    }

    #[test]
    fn programs_get_the_words_of_the_server() {
        assert_snapshot!(json_line(&plan(true)).unwrap(), @r#"{"event":"redispatch_plan","dispatch_id":"3f2a9c10-7d1e","reuse":true,"nodes":[{"node_id":0,"name":"load","verdict":"reused","reason":"unchanged","warnings":["function_changed"]},{"node_id":1,"name":"parse","verdict":"run_again","reason":"earlier_status"},{"node_id":2,"name":"train","verdict":"run_again","reason":"upstream","upstream":1}]}"#);
    }
}

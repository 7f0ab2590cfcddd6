//! Any text is read or refused: never a panic, and what is planned is a graph.

use proptest::prelude::*;

use super::{Files, shown};
use crate::workflow::{Format, Workflow};

/// A file with every key, to be broken.
const WHOLE: &str = include_str!("../../../../../fuzz/seeds/workflow/whole.toml");
const WHOLE_YAML: &str = include_str!("../../../../../fuzz/seeds/workflow/whole.yaml");

fn read(text: &str, format: Format) {
    match Workflow::parse("any.file", text, format) {
        Err(faults) => drop(shown(&faults)),
        Ok(workflow) => {
            let files = Files::of(&[("data/a.csv", "1"), ("data/b.csv", "2"), ("in.txt", "3")]);
            match workflow.plan(&[], &files) {
                Err(faults) => drop(shown(&faults)),
                Ok(plan) => drop(plan.bundle.manifest.graph(usize::MAX).unwrap()),
            }
        }
    }
}

#[test]
fn the_whole_files_are_right() {
    for (text, format) in [(WHOLE, Format::Toml), (WHOLE_YAML, Format::Yaml)] {
        let workflow = Workflow::parse("whole", text, format);
        let workflow = workflow.unwrap_or_else(|faults| panic!("{}", shown(&faults)));
        let files = Files::of(&[("data/a.csv", "1"), ("data/b.csv", "2"), ("in.txt", "3")]);
        let plan = workflow.plan(&[], &files);
        assert!(plan.unwrap_or_else(|faults| panic!("{}", shown(&faults))).tasks > 5);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn broken_files_are_refused_in_words(
        edits in prop::collection::vec((0..4_000_usize, 0..20_usize, "[ -~\\n\\t\u{e4}]{0,8}"), 0..6),
        is_yaml in any::<bool>(),
    ) {
        let (whole, format) = if is_yaml { (WHOLE_YAML, Format::Yaml) } else { (WHOLE, Format::Toml) };
        let mut letters: Vec<char> = whole.chars().collect();
        for (at, remove, insert) in edits {
            let start = at % (letters.len() + 1);
            let end = (start + remove).min(letters.len());
            letters.splice(start..end, insert.chars());
        }
        read(&letters.into_iter().collect::<String>(), format);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", is_yaml in any::<bool>()) {
        read(&text, if is_yaml { Format::Yaml } else { Format::Toml });
    }

    #[test]
    fn any_value_stays_text_in_a_shell(value in "[ -~]{0,30}", place in 0..3_usize) {
        let line = ["printf %s ${{ params.x }}", "printf %s '${{ params.x }}'", "printf %s \"${{ params.x }}\""][place];
        let text = format!("params.x = {{}}\n[tasks.a]\nrun = {}\n", serde_json::to_string(line).unwrap());
        let workflow = Workflow::parse("shell.toml", &text, Format::Toml).unwrap();
        let plan = workflow.plan(&[("x".to_owned(), value.clone())], &Files::default()).unwrap();
        let bytes = plan.bundle.contents().find_map(|(bytes, _)| {
            let object = cov_core::transportable::TransportableObject::from_archive(bytes).ok()?;
            match object.to_json().ok()? {
                cov_core::command::Work::Command(command) => Some(command),
                cov_core::command::Work::Collect(_) => None,
            }
        });
        let Some(cov_core::command::Template::Text(script)) = bytes.unwrap().argv.pop() else {
            panic!("the line refers to nothing that the run brings")
        };
        let said = std::process::Command::new("sh").args(["-e", "-c", &script]).output().unwrap();
        prop_assert_eq!(String::from_utf8(said.stdout).unwrap(), value);
    }
}

//! The committed figures, and what is said of counts that differ from them.
//!
//! Reads, writes and compares texts and numbers; counts nothing.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

/// How far a count may be from its figure, in percent, unless the file says otherwise.
const TOLERANCE_PERCENT: f64 = 3.0;

/// Instructions of each scenario.
pub(super) type Counts = BTreeMap<String, u64>;

/// What is committed of one scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figure {
    instructions: u64,
    tolerance_percent: f64,
}

/// What is committed for one architecture.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Figures(BTreeMap<String, Figure>);

/// What is said of counts. Every text names a scenario, its count and its figure.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// What must not be: more instructions than the tolerance allows, or no figure to compare with.
    pub(super) faults: Vec<String>,
    /// What is welcome, and not written down yet.
    pub(super) gains: Vec<String>,
}

impl Figures {
    /// Reads the figures of an architecture out of the file's text. There may be none.
    ///
    /// # Errors
    ///
    /// When the text is no such file.
    pub(super) fn read(text: &str, architecture: &str) -> anyhow::Result<Self> {
        let file: Map<String, Value> = serde_json::from_str(text)?;
        let Some(own) = file.get(architecture) else { return Ok(Self::default()) };
        let own = own.as_object().with_context(|| format!("{architecture} is no object"))?;
        own.iter()
            .map(|(name, value)| Ok((name.clone(), figure(name, value)?)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The file's text with these counts in the place of the figures of an architecture. Tolerances stay.
    ///
    /// # Errors
    ///
    /// When the present text is no such file.
    pub(super) fn write(
        &self,
        text: &str,
        architecture: &str,
        counts: &Counts,
    ) -> anyhow::Result<String> {
        let mut file: Map<String, Value> = serde_json::from_str(text)?;
        let figures = counts.iter().map(|(name, count)| (name.clone(), self.updated(name, *count)));
        file.insert(architecture.to_owned(), figures.collect());
        Ok(serde_json::to_string_pretty(&file)? + "\n")
    }

    fn updated(&self, name: &str, count: u64) -> Value {
        match self.0.get(name).map(|figure| figure.tolerance_percent) {
            Some(tolerance) if tolerance != TOLERANCE_PERCENT => {
                json!({ "instructions": count, "tolerance_percent": tolerance })
            }
            _ => json!({ "instructions": count }),
        }
    }

    /// Whether nothing is committed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Holds counts against the figures; they may be off by so many percent beyond their tolerance.
    pub(super) fn judge(&self, counts: &Counts, allowance_percent: f64) -> Judgement {
        let mut judgement = Judgement::default();
        for (name, count) in counts {
            match self.0.get(name) {
                None => judgement
                    .faults
                    .push(format!("{name}: {} instructions, and no figure", grouped(*count))),
                Some(figure) => judgement.add(name, *count, *figure, allowance_percent),
            }
        }
        let gone = self.0.keys().filter(|name| !counts.contains_key(*name));
        judgement.faults.extend(gone.map(|name| format!("{name}: a figure, and no such scenario")));
        judgement
    }
}

impl Judgement {
    fn add(&mut self, name: &str, count: u64, figure: Figure, allowance_percent: f64) {
        let tolerance = figure.tolerance_percent + allowance_percent;
        let factor = as_float(count) / as_float(figure.instructions.max(1));
        let text = format!(
            "{name}: {} instructions, {factor:.3} times the committed {} (tolerance {tolerance} %)",
            grouped(count),
            grouped(figure.instructions),
        );
        let change = (factor - 1.0) * 100.0;
        if change > tolerance {
            self.faults.push(text);
        } else if change < -tolerance {
            self.gains.push(text);
        }
    }
}

fn figure(name: &str, value: &Value) -> anyhow::Result<Figure> {
    let instructions = value["instructions"].as_u64();
    let tolerance = &value["tolerance_percent"];
    let tolerance_percent =
        if tolerance.is_null() { Some(TOLERANCE_PERCENT) } else { tolerance.as_f64() };
    let figure = instructions.zip(tolerance_percent);
    let (instructions, tolerance_percent) =
        figure.with_context(|| format!("{name} is no figure: {value}"))?;
    Ok(Figure { instructions, tolerance_percent })
}

/// Close enough: counts are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "a factor with three decimals needs no more")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Counts, Figures, Judgement, grouped};

    const FILE: &str = r#"{
        "aarch64": {"graph": {"instructions": 7}},
        "x86_64": {
            "commit": {"instructions": 1000000, "tolerance_percent": 10},
            "graph": {"instructions": 200000}
        }
    }"#;

    fn counts(commit: u64, graph: u64) -> Counts {
        [("commit".to_owned(), commit), ("graph".to_owned(), graph)].into()
    }

    #[test]
    fn counts_within_their_tolerance_are_silent() {
        let figures = Figures::read(FILE, "x86_64").unwrap();
        for (commit, graph) in [(1_000_000, 200_000), (1_099_000, 205_900), (901_000, 194_100)] {
            assert_eq!(figures.judge(&counts(commit, graph), 0.0), Judgement::default());
        }
    }

    #[test]
    fn a_loss_is_a_fault_and_a_gain_is_said() {
        let figures = Figures::read(FILE, "x86_64").unwrap();
        let loss = figures.judge(&counts(1_000_000, 207_000), 0.0);
        assert_eq!(
            loss.faults,
            ["graph: 207,000 instructions, 1.035 times the committed 200,000 (tolerance 3 %)"]
        );
        assert!(loss.gains.is_empty());
        assert_eq!(figures.judge(&counts(1_000_000, 207_000), 1.0), Judgement::default());
        let gain = figures.judge(&counts(500_000, 200_000), 0.0);
        assert!(gain.faults.is_empty());
        assert_eq!(
            gain.gains,
            ["commit: 500,000 instructions, 0.500 times the committed 1,000,000 (tolerance 10 %)"]
        );
    }

    #[test]
    fn scenarios_and_figures_must_match() {
        let figures = Figures::read(FILE, "x86_64").unwrap();
        let mut other = counts(1_000_000, 200_000);
        let moved = other.remove("graph").unwrap();
        other.insert("plan".to_owned(), moved);
        let faults = figures.judge(&other, 0.0).faults;
        assert_eq!(
            faults,
            ["plan: 200,000 instructions, and no figure", "graph: a figure, and no such scenario"]
        );
    }

    #[test]
    fn an_update_keeps_tolerances_and_other_architectures() {
        let figures = Figures::read(FILE, "x86_64").unwrap();
        let written = figures.write(FILE, "x86_64", &counts(5, 6)).unwrap();
        let again = Figures::read(&written, "x86_64").unwrap();
        assert!(again.judge(&counts(5, 6), 0.0).faults.is_empty());
        assert_eq!(again.0["commit"].tolerance_percent, 10.0);
        assert_eq!(
            Figures::read(&written, "aarch64").unwrap(),
            Figures::read(FILE, "aarch64").unwrap()
        );
        assert!(Figures::read(FILE, "riscv64").unwrap().is_empty());
    }

    #[test]
    fn a_file_that_says_something_else_is_refused() {
        for text in ["", "[]", r#"{"x86_64": 1}"#, r#"{"x86_64": {"graph": {"instructions": -1}}}"#]
        {
            assert!(Figures::read(text, "x86_64").is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}

//! What is wrong with a workflow file, and where. Prints nothing: miette draws the frames.

use std::fmt;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// Most faults that are told of one file.
const FAULTS_MAX: usize = 20;

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    pub(crate) fn length(self) -> usize {
        self.end - self.start
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    message: String,
    labels: Vec<(Span, String)>,
    help: Option<String>,
    is_warning: bool,
}

impl Fault {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        let labels = vec![(span, String::new())];
        Self { message: message.into(), labels, help: None, is_warning: false }
    }

    /// A fault that is not in the file.
    pub(crate) fn nowhere(message: impl Into<String>) -> Self {
        Self { message: message.into(), labels: Vec::new(), help: None, is_warning: false }
    }

    /// What stands beside the place.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        if let Some((_, text)) = self.labels.first_mut() {
            *text = label.into();
        }
        self
    }

    /// A further place that has to do with it.
    pub(crate) fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    /// What to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// It keeps nothing from running.
    pub(crate) fn warning(mut self) -> Self {
        self.is_warning = true;
        self
    }

    pub(crate) fn is_warning(&self) -> bool {
        self.is_warning
    }

    fn start(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn severity(&self) -> Option<Severity> {
        self.is_warning.then_some(Severity::Warning)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |(span, text): &(Span, String)| {
            let text = (!text.is_empty()).then(|| text.clone());
            LabeledSpan::new(text, span.start, span.length())
        };
        Some(Box::new(self.labels.iter().map(label)))
    }
}

/// The faults of one file, in the order of their places. There is at least one.
#[derive(Debug, Clone)]
pub struct Faults {
    source: NamedSource<Arc<str>>,
    faults: Vec<Fault>,
    left_out: usize,
}

impl Faults {
    pub(crate) fn new(name: &str, text: &str, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(Fault::start);
        faults.dedup();
        let left_out = faults.len().saturating_sub(FAULTS_MAX);
        faults.truncate(FAULTS_MAX);
        // Tabs are as wide as one space, or the marks below a line would stand beside their words.
        let source = NamedSource::new(name, Arc::from(text.replace('\t', " ")));
        Self { source, faults, left_out }
    }

    /// The faults, one a line: file, line and column, and what is wrong there.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |fault: &Fault| match fault.labels.first() {
            None => fault.to_string(),
            Some((span, _)) => {
                let before = self.source.inner().get(..span.start).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                format!("{}:{line}:{column}: {fault}", self.source.name())
            }
        };
        self.faults.iter().map(line).collect()
    }

    fn single(&self) -> Option<&Fault> {
        match self.faults.as_slice() {
            [single] => Some(single),
            _ => None,
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fault) = self.single() {
            return fault.fmt(f);
        }
        let only_warnings = self.faults.iter().all(|fault| fault.is_warning);
        let (count, name) = (self.faults.len() + self.left_out, self.source.name());
        match (only_warnings, self.left_out) {
            (true, _) => write!(f, "{name}: {count} warnings"),
            (false, 0) => write!(f, "{name} cannot be used: {count} faults"),
            (false, _) => write!(f, "{name} cannot be used: the first of {count} faults"),
        }
    }
}

impl std::error::Error for Faults {}

impl Diagnostic for Faults {
    fn severity(&self) -> Option<Severity> {
        self.faults.iter().all(|fault| fault.is_warning).then_some(Severity::Warning)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.single().and_then(Diagnostic::help)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.single().and_then(Diagnostic::labels)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        if self.single().is_some() {
            return None;
        }
        Some(Box::new(self.faults.iter().map(|fault| fault as &dyn Diagnostic)))
    }
}

/// What the writer may have meant: the nearest of the known names, if one is near.
pub(crate) fn nearest<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(given, name);
    let limit = given.chars().count().max(3) / 3;
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= limit).then_some(nearest)
}

/// Help for a name that is not known: the nearest one, else all of them.
pub(crate) fn did_you_mean<'a>(
    given: &str,
    known: impl IntoIterator<Item = &'a str>,
    none: &str,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(name) = nearest(given, known.iter().copied()) {
        return format!("did you mean `{name}`?");
    }
    match known.as_slice() {
        [] => none.to_owned(),
        some if some.len() <= 24 => format!("known are {}", some.join(", ")),
        many => format!("there are {} of them", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!(nearest("retrys", ["retries", "env"]), Some("retries"));
        assert_eq!(nearest("need", ["needs", "env"]), Some("needs"));
        assert_eq!(nearest("colour", ["needs", "env"]), None);
        assert_eq!(nearest("x", []), None);
        assert_eq!(did_you_mean("zzz", ["a", "b"], "none"), "known are a, b");
        assert_eq!(did_you_mean("zzz", [], "there are no parameters"), "there are no parameters");
    }
}

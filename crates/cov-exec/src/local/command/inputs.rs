//! Values that reach a command: as words, as text, as files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use cov_core::command::{Form, Input, Part, Template, Values, Work};
use cov_core::transportable::Encoding;

use super::{Failed, archive};
use crate::Payload;

/// The longest word that a command can be given: the limit of Linux, with its end. Bytes.
const WORD_BYTES_MAX: usize = 128 * 1024 - 1;

/// The longest document that describes a command. Bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the function asset of a node says.
pub(super) fn work(function: &Payload) -> Result<Work, Failed> {
    let refused = |why: String| {
        Failed::task(format!("The function of this task describes no command: {why}"))
    };
    let value = archive::open(function).map_err(|error| refused(error.to_string()))?;
    if value.encoding != Encoding::Json {
        return Err(refused(format!("it is encoded as {:?}", value.encoding)));
    }
    let data = io::Read::take(value.data, DOCUMENT_BYTES_MAX);
    serde_json::from_reader(data).map_err(|error| refused(error.to_string()))
}

/// The values of one attempt.
pub(super) struct Inputs<'a> {
    values: Vec<&'a Payload>,
    folder: PathBuf,
}

impl<'a> Inputs<'a> {
    /// `folder` is where values are put that are handed over as files; created when needed.
    pub(super) fn new(values: Vec<&'a Payload>, folder: PathBuf) -> Self {
        Self { values, folder }
    }

    /// The words of a command line.
    pub(super) fn words(&mut self, templates: &[Template]) -> Result<Vec<String>, Failed> {
        let mut words = Vec::with_capacity(templates.len());
        for template in templates {
            for word in template.words(self)? {
                words.push(checked(word)?);
            }
        }
        Ok(words)
    }

    /// A template as a text that can be a word or a variable.
    pub(super) fn text(&mut self, template: &Template) -> Result<String, Failed> {
        checked(template.fill(self)?)
    }

    /// Copies values as bytes; each of several ends with a newline.
    fn copy(&self, input: &Input, to: &mut dyn Write) -> Result<(), Failed> {
        for index in input.input..input.input.saturating_add(input.count) {
            let mut last = Last { to, byte: None };
            let copied = archive::open(self.value(index)?)
                .and_then(|value| archive::copy_plain(value, &mut last));
            copied.map_err(|error| self.unreadable(index, &error))?;
            if input.count > 1 && last.byte.is_some_and(|byte| byte != b'\n') {
                to.write_all(b"\n").map_err(|error| self.unreadable(index, &error))?;
            }
        }
        Ok(())
    }

    fn unreadable(&self, index: u32, error: &io::Error) -> Failed {
        Failed::task(format!("{} cannot be handed over: {error}", self.called(index)))
    }

    fn called(&self, index: u32) -> String {
        format!("input {index} of {}", self.values.len())
    }

    fn value(&self, index: u32) -> Result<&'a Payload, Failed> {
        let value = self.values.get(index as usize).copied();
        value.ok_or_else(|| Failed::task(format!("{} is not there", self.called(index))))
    }

    /// The path of a file that holds what the template gives.
    pub(super) fn file(&mut self, template: &Template, path: &Path) -> Result<PathBuf, Failed> {
        let failed =
            |error: io::Error| Failed::system("what the command reads cannot be written", &error);
        if let Template::Parts(parts) = template
            && let [Part::Input(input)] = parts.as_slice()
            && input.form == Form::File
        {
            return Ok(PathBuf::from(Values::path(self, input)?));
        }
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let parts = match template {
            Template::Text(text) => &vec![Part::Text(text.clone())],
            Template::Parts(parts) => parts,
        };
        for part in parts {
            match part {
                Part::Text(text) => file.write_all(text.as_bytes()).map_err(failed)?,
                Part::Input(input) if input.form == Form::Text => self.copy(input, &mut file)?,
                Part::Input(input) => {
                    let words = input.words(self)?;
                    file.write_all(words.join("\n").as_bytes()).map_err(failed)?;
                }
            }
        }
        file.flush().map_err(failed)?;
        Ok(path.to_owned())
    }
}

impl Values for Inputs<'_> {
    type Error = Failed;

    fn text(&mut self, input: &Input) -> Result<String, Failed> {
        let mut bytes = Bounded(Vec::new());
        self.copy(input, &mut bytes)?;
        let text = String::from_utf8(bytes.0).map_err(|_no_text| {
            Failed::task(format!("{} is no text: hand it over as a file", self.called(input.input)))
        })?;
        Ok(match input.form {
            Form::Line => text.trim_end_matches('\n').to_owned(),
            Form::Text | Form::File | Form::Files => text,
        })
    }

    fn path(&mut self, input: &Input) -> Result<String, Failed> {
        let single = Input { form: Form::Text, ..input.clone() };
        let folder = match input.count {
            1 => self.folder.join(input.input.to_string()),
            count => self.folder.join(format!("{}+{count}", input.input)),
        };
        let path = folder.join(input.file_name());
        if !path.exists() {
            let made = std::fs::create_dir_all(&folder).and_then(|()| File::create(&path));
            let mut file =
                BufWriter::new(made.map_err(|error| self.unreadable(input.input, &error))?);
            self.copy(&single, &mut file)?;
            file.flush().map_err(|error| self.unreadable(input.input, &error))?;
        }
        Ok(path.to_string_lossy().into_owned())
    }
}

fn checked(text: String) -> Result<String, Failed> {
    if text.len() > WORD_BYTES_MAX {
        return Err(Failed::task(format!(
            "a word of the command would have {} bytes; the system takes {WORD_BYTES_MAX} at most: \
             hand large values over as files, or as standard input",
            text.len()
        )));
    }
    if text.contains('\0') {
        return Err(Failed::task(
            "a word of the command would hold a NUL byte: hand such values over as files",
        ));
    }
    Ok(text)
}

/// Refuses more than a word holds.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > WORD_BYTES_MAX {
            let why = format!(
                "it has more than {WORD_BYTES_MAX} bytes, which no word of a command can have: \
                 use it as a file, or as standard input"
            );
            return Err(io::Error::other(why));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Remembers the last byte.
struct Last<'w> {
    to: &'w mut dyn Write,
    byte: Option<u8>,
}

impl Write for Last<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.byte = bytes.get(..count).and_then(<[u8]>::last).copied().or(self.byte);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

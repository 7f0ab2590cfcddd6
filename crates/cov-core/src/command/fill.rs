//! How values get into the templates of a command: in which order, as how many words, and quoted
//! as the template says. Where they come from is the business of whoever fills.

use super::{Form, Input, Part, Template};

/// Where the values of a command come from.
pub trait Values {
    /// Why a value cannot be had.
    type Error;

    /// The values as one text: as [`Form::Line`] or [`Form::Text`].
    ///
    /// # Errors
    /// A value is not there, or is no text.
    fn text(&mut self, input: &Input) -> Result<String, Self::Error>;

    /// The path of one file that holds the values, as [`Form::Text`] does.
    ///
    /// # Errors
    /// A value is not there, or the file cannot be written.
    fn path(&mut self, input: &Input) -> Result<String, Self::Error>;
}

impl Input {
    /// Each of its values alone.
    pub fn singles(&self) -> impl Iterator<Item = Self> {
        let indices = self.input..self.input.saturating_add(self.count);
        indices.map(|input| Self { input, count: 1, ..self.clone() })
    }

    /// The name of the file that a value is put into: one that stays within its folder.
    #[must_use]
    pub fn file_name(&self) -> &str {
        match self.name.as_deref() {
            Some(name) if !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']) => name,
            Some(_) | None => "input",
        }
    }

    /// What stands for it: one text, or several paths.
    ///
    /// # Errors
    /// As those of the values.
    pub fn words<V: Values>(&self, values: &mut V) -> Result<Vec<String>, V::Error> {
        match self.form {
            Form::Line | Form::Text => Ok(vec![values.text(self)?]),
            Form::File => Ok(vec![values.path(self)?]),
            Form::Files => self.singles().map(|single| values.path(&single)).collect(),
        }
    }
}

impl Template {
    /// The template with its values, as one text.
    ///
    /// # Errors
    /// As those of the values.
    pub fn fill<V: Values>(&self, values: &mut V) -> Result<String, V::Error> {
        let parts = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Parts(parts) => parts,
        };
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Input(input) => {
                    let words = input.words(values)?.into_iter().map(|word| match input.quote {
                        Some(quote) => quote.apply(&word).into_owned(),
                        None => word,
                    });
                    text.push_str(&words.collect::<Vec<_>>().join(" "));
                }
            }
        }
        Ok(text)
    }

    /// The template with its values, as words of a command line: several paths are several words
    /// if they are all that it holds.
    ///
    /// # Errors
    /// As those of the values.
    pub fn words<V: Values>(&self, values: &mut V) -> Result<Vec<String>, V::Error> {
        match self {
            Self::Parts(parts) => match parts.as_slice() {
                [Part::Input(input)] if input.form == Form::Files && input.quote.is_none() => {
                    input.words(values)
                }
                _ => Ok(vec![self.fill(values)?]),
            },
            Self::Text(text) => Ok(vec![text.clone()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Quote;

    /// Values that say what was asked of them.
    struct Told;

    impl Values for Told {
        type Error = std::convert::Infallible;

        fn text(&mut self, input: &Input) -> Result<String, Self::Error> {
            Ok(format!("text {}+{}", input.input, input.count))
        }

        fn path(&mut self, input: &Input) -> Result<String, Self::Error> {
            Ok(format!("/p {}+{}", input.input, input.count))
        }
    }

    fn of(input: u32, count: u32, form: Form, quote: Option<Quote>) -> Part {
        Part::Input(Input { count, form, quote, ..Input::line(input) })
    }

    #[test]
    fn values_stand_where_their_places_are() {
        let template = Template::Parts(vec![
            Part::Text("cat ".into()),
            of(0, 2, Form::Files, Some(Quote::Bare)),
            Part::Text(" -".into()),
            of(2, 3, Form::Line, None),
            of(5, 2, Form::File, None),
        ]);
        let Ok(text) = template.fill(&mut Told);
        assert_eq!(text, "cat '/p 0+1' '/p 1+1' -text 2+3/p 5+2");
        let Ok(words) = template.words(&mut Told);
        assert_eq!(words, [text]);
    }

    #[test]
    fn names_of_files_stay_within_their_folder() {
        let named = |name: &str| Input { name: Some(name.into()), ..Input::line(0) };
        assert_eq!(named("a.csv").file_name(), "a.csv");
        for name in ["", ".", "..", "../a", "a\0b"] {
            assert_eq!(named(name).file_name(), "input", "{name:?}");
        }
        assert_eq!(Input::line(0).file_name(), "input");
    }

    #[test]
    fn paths_that_stand_alone_are_words_of_their_own() {
        let words = |part: Part| {
            let Ok(words) = Template::Parts(vec![part]).words(&mut Told);
            words
        };
        assert_eq!(words(of(1, 2, Form::Files, None)), ["/p 1+1", "/p 2+1"]);
        assert_eq!(words(of(1, 0, Form::Files, None)), [""; 0]);
        assert_eq!(words(of(1, 2, Form::Files, Some(Quote::Bare))), ["'/p 1+1' '/p 2+1'"]);
        assert_eq!(words(of(1, 2, Form::Text, None)), ["text 1+2"]);
    }
}

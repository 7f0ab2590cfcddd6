//! Where in a line of a POSIX shell each reference stands, so that what is put there stays text
//! whatever it holds. Knows just enough of the shell's grammar for that, and refuses what it is
//! not sure of.

use cov_core::command::Quote;

use super::fault::Fault;
use super::template::Piece;

/// What surrounds a place, from the outside in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surrounding {
    Single,
    Double,
    /// `$'…'`, which some shells have.
    Escaped,
    Backticks,
    /// `(…)` or `$(…)`.
    Parentheses,
}

#[derive(Debug, Default)]
struct Reader {
    open: Vec<Surrounding>,
    /// Whether the next character is escaped.
    escape: bool,
    comment: bool,
    here_documents: u32,
    /// The characters just before.
    last: [Option<char>; 2],
}

/// Notes how each reference has to be quoted. One in a comment is left out.
pub(super) fn quote(pieces: Vec<Piece>) -> Result<Vec<Piece>, Fault> {
    let mut reader = Reader::default();
    let mut quoted = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                text.chars().for_each(|letter| reader.take(letter));
                quoted.push(Piece::Text(text));
            }
            Piece::Reference(_) if reader.comment => {}
            Piece::Reference(mut reference) => {
                let quote = reader.quote().map_err(|why| {
                    Fault::new(reference.span, format!("no value can be put here safely: {why}"))
                        .help(
                            "hand it over in the environment: `env = { CITY = \"${{ params.city }}\" }`, \
                             then `\"$CITY\"` in the line",
                        )
                })?;
                reference.quote = Some(quote);
                reader.last = [None, Some('x')];
                quoted.push(Piece::Reference(reference));
            }
        }
    }
    Ok(quoted)
}

impl Reader {
    fn quote(&self) -> Result<Quote, &'static str> {
        if self.escape {
            return Err("a backslash stands before it");
        }
        if self.here_documents > 0 {
            return Err("a here-document begins before it");
        }
        match self.open.last() {
            None | Some(Surrounding::Parentheses) => match self.last {
                [_, Some('$')] => Err("a `$` stands before it"),
                _ => Ok(Quote::Bare),
            },
            Some(Surrounding::Single) => Ok(Quote::Single),
            Some(Surrounding::Double) => Ok(Quote::Double),
            Some(Surrounding::Escaped) => Err("it stands within `$'…'`"),
            Some(Surrounding::Backticks) => Err("it stands within backticks; use `$(…)`"),
        }
    }

    fn take(&mut self, letter: char) {
        let before = self.last;
        self.last = [before[1], Some(letter)];
        if self.comment {
            self.comment = letter != '\n';
            return;
        }
        if std::mem::take(&mut self.escape) {
            return;
        }
        match self.open.last() {
            Some(Surrounding::Single) => self.close_at(letter, '\''),
            Some(Surrounding::Escaped) if letter == '\\' => self.escape = true,
            Some(Surrounding::Escaped) => self.close_at(letter, '\''),
            Some(Surrounding::Double) => self.in_double(letter, before),
            None | Some(Surrounding::Parentheses | Surrounding::Backticks) => {
                self.in_open(letter, before);
            }
        }
    }

    fn close_at(&mut self, letter: char, end: char) {
        if letter == end {
            self.open.pop();
        }
    }

    fn in_double(&mut self, letter: char, before: [Option<char>; 2]) {
        match letter {
            '\\' => self.escape = true,
            '"' => self.close_at(letter, '"'),
            '`' => self.backtick(),
            '(' if before[1] == Some('$') => self.open.push(Surrounding::Parentheses),
            _ => {}
        }
    }

    fn in_open(&mut self, letter: char, before: [Option<char>; 2]) {
        match letter {
            '\\' => self.escape = true,
            '\'' if before[1] == Some('$') => self.open.push(Surrounding::Escaped),
            '\'' => self.open.push(Surrounding::Single),
            '"' => self.open.push(Surrounding::Double),
            '`' => self.backtick(),
            '(' => self.open.push(Surrounding::Parentheses),
            ')' if self.open.last() == Some(&Surrounding::Parentheses) => {
                self.open.pop();
            }
            '#' => {
                let begins = |before: char| before.is_whitespace() || ";&|()".contains(before);
                self.comment = before[1].is_none_or(begins);
            }
            // The third of `<<<` takes back what the second has said.
            '<' if before == [Some('<'), Some('<')] => {
                self.here_documents = self.here_documents.saturating_sub(1);
            }
            '<' if before[1] == Some('<') => self.here_documents += 1,
            _ => {}
        }
    }

    fn backtick(&mut self) {
        match self.open.iter().rposition(|open| *open == Surrounding::Backticks) {
            Some(place) => self.open.truncate(place),
            None => self.open.push(Surrounding::Backticks),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Span;
    use super::super::template::{Template, Written};
    use super::*;

    fn quotes(text: &str) -> Result<Vec<Option<Quote>>, String> {
        let written = Written { text, span: Span::new(0, text.len()), file: text };
        let template = Template::parse_shell(written).map_err(|fault| fault.to_string())?;
        Ok(template.references().map(|reference| reference.quote).collect())
    }

    #[test]
    fn every_place_has_its_quotes() {
        use Quote::{Bare, Double, Single};
        for (text, expected) in [
            ("echo ${{ item }}", Bare),
            ("echo \"a ${{ item }}\"", Double),
            ("awk '$1 > ${{ item }}' x", Single),
            ("echo 'it'${{ item }}", Bare),
            ("echo \\' ${{ item }}", Bare),
            ("echo \"\\\" ${{ item }}\"", Double),
            ("echo \"$(cat ${{ item }})\"", Bare),
            ("echo \"$(cat '${{ item }}')\"", Single),
            ("echo \"$(cat x) ${{ item }}\"", Double),
            ("# it's a comment\necho ${{ item }}", Bare),
            ("echo a#'b ${{ item }}'", Single),
            ("cat <<< ${{ item }}", Bare),
        ] {
            assert_eq!(quotes(text), Ok(vec![Some(expected)]), "{text}");
        }
        assert_eq!(quotes("echo # ${{ item }}"), Ok(vec![]));
    }

    #[test]
    fn places_that_are_not_sure_are_refused() {
        for text in [
            "echo \\${{ item }}",
            "echo `cat ${{ item }}`",
            "cat <<END\n${{ item }}\nEND",
            "echo $'${{ item }}'",
        ] {
            assert!(quotes(text).is_err(), "{text}");
        }
    }
}

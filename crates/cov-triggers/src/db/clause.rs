//! Reads conditions that a user wrote, far enough to refuse what is no condition: a second
//! statement, a half one, or one that writes. What is left is judged by the database.

use super::address::Dialect;

/// Words that begin a statement that writes, or make a query one. As the name of a column they
/// have to be quoted.
const WRITING: &[&str] = &[
    "insert", "update", "delete", "merge", "replace", "upsert", "drop", "alter", "create",
    "truncate", "grant", "revoke", "attach", "detach", "pragma", "vacuum", "into",
];

/// Looks whether a condition could be one.
///
/// # Errors
/// Why not, to be read after the condition.
pub(crate) fn check(dialect: Dialect, clause: &str) -> Result<(), String> {
    if clause.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    if clause.contains('\0') {
        return Err("holds a character of value 0".to_owned());
    }
    let mut open: Vec<char> = Vec::new();
    let mut rest = clause;
    while let Some(first) = rest.chars().next() {
        let length = token(dialect, rest)?;
        let (text, after) = rest.split_at(length.min(rest.len()));
        match first {
            ';' => return Err("holds more than one statement (`;`)".to_owned()),
            // In SQLite they quote a name, which is behind us.
            '[' if dialect == Dialect::Sqlite => {}
            '(' | '[' => open.push(first),
            ')' if open.pop() != Some('(') => return Err("closes what it did not open".to_owned()),
            ']' if open.pop() != Some('[') => return Err("closes what it did not open".to_owned()),
            _ if is_word(first) => check_word(text, after)?,
            _ => {}
        }
        rest = after;
    }
    if open.is_empty() { Ok(()) } else { Err("does not close what it opens".to_owned()) }
}

fn check_word(word: &str, after: &str) -> Result<(), String> {
    let lower = word.to_ascii_lowercase();
    // `replace(…)` and the like are functions.
    if WRITING.contains(&lower.as_str()) && !after.trim_start().starts_with('(') {
        return Err(format!("would write (`{word}`; a column of that name has to be quoted)"));
    }
    Ok(())
}

fn is_word(first: char) -> bool {
    first.is_alphanumeric() || first == '_'
}

/// The length of what the text begins with: a quoted text or name, a comment, a word, or a sign.
fn token(dialect: Dialect, text: &str) -> Result<usize, String> {
    let first = text.chars().next().unwrap_or_default();
    let escapes = dialect == Dialect::MySql && first != '`';
    match first {
        '\'' | '"' | '`' => quoted(text, first, escapes),
        '[' if dialect == Dialect::Sqlite => {
            text.find(']').map(|end| end + 1).ok_or_else(unterminated)
        }
        '$' if dialect == Dialect::Postgres => dollar_quoted(text),
        '#' if dialect == Dialect::MySql => Ok(line(text)),
        '-' if text.starts_with("--") && begins_comment(dialect, text) => Ok(line(text)),
        '/' if text.starts_with("/*!") && dialect == Dialect::MySql => {
            Err("holds a comment that MySQL runs (`/*!`)".to_owned())
        }
        '/' if text.starts_with("/*") => comment(text, dialect == Dialect::Postgres),
        'e' | 'E' if dialect == Dialect::Postgres && text[1..].starts_with('\'') => {
            quoted(&text[1..], '\'', true).map(|length| length + 1)
        }
        _ if is_word(first) => {
            let inside = |next: char| is_word(next) || next == '$';
            Ok(text.find(|next| !inside(next)).unwrap_or(text.len()))
        }
        _ => Ok(first.len_utf8()),
    }
}

fn unterminated() -> String {
    "does not end what it quotes".to_owned()
}

/// A doubled quote is one inside; the caller sees two quoted texts in a row, which is as good.
fn quoted(text: &str, quote: char, escapes: bool) -> Result<usize, String> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == quote {
            return Ok(at + quote.len_utf8());
        }
        if character == '\\' && escapes {
            characters.next();
        }
    }
    Err(unterminated())
}

/// `$$ … $$` and `$name$ … $name$`; a `$1` is a sign.
fn dollar_quoted(text: &str) -> Result<usize, String> {
    let tag_end = text[1..].find(|next: char| !is_word(next)).map(|end| end + 1);
    let Some(end) = tag_end.filter(|end| text[*end..].starts_with('$')) else {
        return Ok(1);
    };
    let tag = &text[..=end];
    if text[1..].starts_with(|next: char| next.is_ascii_digit()) {
        return Ok(1);
    }
    let body = &text[tag.len()..];
    let close = body.find(tag).ok_or_else(unterminated)?;
    Ok(tag.len() + close + tag.len())
}

/// In MySQL two dashes need a blank after them.
fn begins_comment(dialect: Dialect, text: &str) -> bool {
    let next = text.chars().nth(2);
    dialect != Dialect::MySql || next.is_none_or(char::is_whitespace)
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn comment(text: &str, nested: bool) -> Result<usize, String> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return Ok(at);
            }
        } else if rest.starts_with("/*") && (nested || depth == 0) {
            depth += 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Err("does not end a comment".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql];

    #[test]
    fn conditions_pass_as_they_are() {
        let conditions = [
            "id > 2",
            "status = pending",
            "name = 'a;b' OR name = 'it''s; fine'",
            "note LIKE '%drop table%'",
            "(a = 1 OR (b = 2)) -- and no more; really",
            "a = 1 /* ; */ AND b = 2",
            "REPLACE(name, 'a', 'b') = 'c'",
            "updated_at > now() AND is_deleted = 0",
            "id IN (SELECT id FROM other)",
            "\"update\" = 1",
        ];
        for dialect in ALL {
            for condition in conditions {
                assert_eq!(check(dialect, condition), Ok(()), "{dialect:?}: {condition}");
            }
        }
        assert_eq!(check(Dialect::Postgres, "a = $x$ ; ' $x$ AND b = E'\\';'"), Ok(()));
        assert_eq!(check(Dialect::Postgres, "tags[1] = 'a' AND b = $$;$$"), Ok(()));
        assert_eq!(check(Dialect::MySql, "a = 'x\\'; y' # rest; of it"), Ok(()));
        assert_eq!(check(Dialect::Sqlite, "[a;b] = 1"), Ok(()));
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_reason() {
        let refused = [
            ("", "empty"),
            ("1 = 1; DROP TABLE x", "more than one statement"),
            ("1 = 1)", "closes"),
            ("(1 = 1", "does not close"),
            ("a = 'x", "quotes"),
            ("a = 1 /* and", "comment"),
            ("id IN (DELETE FROM x RETURNING id)", "would write"),
            ("1 = 1 UNION SELECT * INTO OUTFILE '/tmp/x' FROM y", "would write"),
            ("id = 1 -- '\n; DROP TABLE x", "more than one statement"),
            ("a = 1\0", "value 0"),
        ];
        for dialect in ALL {
            for (clause, reason) in refused {
                let error = check(dialect, clause).unwrap_err();
                assert!(error.contains(reason), "{dialect:?}: {clause}: {error}");
            }
        }
        assert!(check(Dialect::MySql, "1 = 1 /*! INTO OUTFILE 'x' */").is_err());
        assert!(check(Dialect::Postgres, "a = '\\'; DROP TABLE x; --'").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}", signs in "[$'\"`\\[\\]()/*#;a-c0-2\\\\ é-]{0,40}") {
            for dialect in ALL {
                drop(check(dialect, &text));
                drop(check(dialect, &signs));
            }
        }
    }
}

//! What of a trigger's dictionary must not be shown again. Only for showing: what is stored and
//! what is run has everything.

use cov_core::trigger::Dictionary;
use serde_json::Value;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Fields that hold nothing but a secret.
const FIELDS: [&str; 4] = ["secret", "password", "token", "api_key"];

/// The dictionary with every secret replaced by `***`: fields that are secrets, and passwords in
/// addresses like `postgresql://user:password@host/name`, also in the query.
///
/// ```
/// let settings = serde_json::json!({"db_path": "mysql://me:pw@host/db", "secret": "xyz"});
/// let shown = cov_triggers::hide_secrets(settings.as_object().unwrap());
/// assert_eq!(shown["db_path"], "mysql://me:***@host/db");
/// assert_eq!(shown["secret"], "***");
/// ```
#[must_use]
pub fn hide_secrets(settings: &Dictionary) -> Dictionary {
    let hide = |(field, value): (&String, &Value)| {
        let secret = FIELDS.contains(&field.to_lowercase().as_str()) && !value.is_null();
        let shown = match value {
            _ if secret => HIDDEN.into(),
            Value::String(text) => hide_password(text).into(),
            other => other.clone(),
        };
        (field.clone(), shown)
    };
    settings.iter().map(hide).collect()
}

fn hide_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    // A password may itself hold `@`, `/`, `:` and `?`; what comes after the last `@` is the host.
    // Where an `@` of the query is taken for that one, less is shown than could be.
    let (login, place) = match rest.rsplit_once('@') {
        None => (String::new(), rest),
        Some((login, place)) => match login.split_once([':', '?']) {
            None => (format!("{login}@"), place),
            Some((user, _password)) => (format!("{user}:{HIDDEN}@"), place),
        },
    };
    let (place, query) = match place.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (place, None),
    };
    let query = query.map(|query| {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if name.to_lowercase().contains("pass") => format!("{name}={HIDDEN}"),
            Some(_) | None => pair.to_owned(),
        });
        format!("?{}", pairs.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{login}{place}{}", query.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::hide_password;

    #[test]
    fn passwords_in_addresses_are_hidden() {
        for (address, shown) in [
            ("sqlite:////var/data.db", "sqlite:////var/data.db"),
            ("postgresql+psycopg2://u:p@ss/w@h:5432/d", "postgresql+psycopg2://u:***@h:5432/d"),
            ("postgresql://u:p?a@h/d?sslmode=require", "postgresql://u:***@h/d?sslmode=require"),
            ("mysql://u@h/d", "mysql://u@h/d"),
            ("mysql://h/d?password=x@y&ssl=1", "mysql://h/d:***@y&ssl=1"),
            ("mysql://h/d?password=x&ssl=1", "mysql://h/d?password=***&ssl=1"),
            ("/home/me/a:b@c", "/home/me/a:b@c"),
        ] {
            assert_eq!(hide_password(address), shown);
        }
    }
}

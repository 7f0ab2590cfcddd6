//! `cov token` and `cov audit` with the real programs.

use serde_json::Value;

use crate::place::Place;

impl Place {
    /// A command that logs in with a token.
    fn with_token(&self, line: &str, token: &str) -> (i32, String) {
        let output = self.command(line).env("COV_TOKEN", token).output().unwrap();
        let errors = self.said(&output).errors;
        let said = String::from_utf8(output.stdout).unwrap() + &errors;
        (output.status.code().unwrap(), said)
    }
}

/// The text of a token that was just made.
fn made(said: (i32, String)) -> String {
    let (code, text) = said;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("cov_") && text.trim_end().len() == 56, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn tokens_are_made_on_the_machine_and_used_from_then_on() {
    let place = Place::new();
    assert_eq!(place.cov("start").code, 0);
    let root = made(place.with_token("token create root --scope admin", ""));
    assert_eq!(place.cov("restart --login always").code, 0);

    let (code, said) = place.with_token("token ls", "");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("has to log in"), "{said}");
    let ci = made(place.with_token("token create ci --scope read --expires-in 90d", &root));
    assert_eq!(place.with_token("ls", &ci).0, 0);
    let (code, said) = place.with_token("purge --older-than 1d", &ci);
    assert!(code == 1 && said.contains("has not the scope `admin`"), "{said}");
    assert!(said.contains("cov token create NAME --scope") && !said.contains("cov logs"), "{said}");
    for line in ["backup all.tar", "cancel @", "status", "redispatch @"] {
        let (_, said) = place.with_token(line, &ci);
        assert!(!said.contains("cov logs"), "{line}: {said}");
    }
    let (code, said) = place.with_token("status", "");
    assert!(code == 1 && said.contains("set COV_TOKEN"), "{said}");
    let rotated = made(place.with_token("token rotate ci", &root));
    assert_eq!(place.with_token("ls", &ci).0, 1, "the earlier secret");
    assert_eq!(place.with_token("ls", &rotated).0, 0);
    assert_eq!(place.with_token("token revoke ci", &root), (0, "token ci is revoked\n".to_owned()));
    assert_eq!(place.with_token("ls", &rotated).0, 1);
    let (_, listed) = place.with_token("token ls", &root);
    for expected in ["NAME", "root", "admin", "ci", "read", "REVOKED"] {
        assert!(listed.contains(expected), "{expected}: {listed}");
    }
    assert!(![root.as_str(), &ci].iter().any(|secret| listed.contains(secret)), "{listed}");

    let (_, json) = place.with_token("--json audit --target ci", &root);
    let rows: Value = serde_json::from_str(&json).unwrap();
    let actions: Vec<_> =
        rows["entries"].as_array().unwrap().iter().map(|row| &row["action"]).collect();
    assert_eq!(actions, ["token.revoke", "token.rotate", "token.create"]);
    assert!(rows["entries"].as_array().unwrap().iter().all(|row| row["who"] == "root"));
    let (_, shown) = place.with_token("audit -n 1", &root);
    assert!(shown.contains("token.revoke") && shown.contains("older rows"), "{shown}");
    let (_, purged) = place.with_token("audit --purge-older-than 0s", &root);
    assert_eq!(purged, "4 rows removed\n");
    let (_, left) = place.with_token("audit", &root);
    assert!(left.contains("audit.purge"), "{left}");
    assert_eq!(place.cov("stop").code, 0);
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let place = Place::new();
    assert_eq!(place.cov("start").code, 0);
    for (line, code, expected) in [
        ("token create a/b", 1, "1 to 64 letters"),
        ("token create x --scope all", 2, "`read`, `dispatch` or `admin`"),
        ("token create x --expires-in soon", 2, "a number with a unit"),
        ("token rotate nobody", 5, "no token `nobody`"),
        ("token revoke nobody", 5, "no token `nobody`"),
    ] {
        let said = place.cov(line);
        assert_eq!(said.code, code, "{line}: {}", said.errors);
        assert!(said.errors.contains(expected), "{line}: {}", said.errors);
    }
    made(place.with_token("token create x", ""));
    let twice = place.cov("token create x");
    assert!(twice.code == 1 && twice.errors.contains("exists"), "{}", twice.errors);
    assert_eq!(place.cov("stop").code, 0);
}

//! Which calls a webhook admits.

use super::WebhookTrigger;
use crate::{Error, Registry, Trigger as _, TriggerExt as _};

fn trigger() -> WebhookTrigger {
    WebhookTrigger::new("It's a Secret to Everybody").unwrap()
}

#[test]
fn what_it_signs_it_admits() {
    for body in [&b""[..], b"{}", &[0, 255, 10]] {
        trigger().admit(Some(&trigger().sign(body)), body).unwrap();
    }
}

#[test]
fn everything_else_is_forbidden() {
    let good = trigger().sign(b"body");
    let foreign = WebhookTrigger::new("another secret").unwrap().sign(b"body");
    let upper = good.to_uppercase();
    let cases = [
        None,
        Some(""),
        Some("sha256="),
        Some("sha1=00"),
        Some(&good[7..]),
        Some(&good[..good.len() - 2]),
        Some(foreign.as_str()),
        Some("sha256=zz"),
        Some("sha256=é"),
        Some(upper.as_str()),
    ];
    for signature in cases {
        let error = trigger().admit(signature, b"body").unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{signature:?}: {error}");
        assert!(!error.to_string().contains("Secret"));
    }
    trigger().admit(Some(&format!("sha256={}", good[7..].to_uppercase())), b"body").unwrap();
}

#[test]
fn the_secret_is_kept_and_never_shown() {
    let dictionary = trigger().to_dict();
    assert_eq!(dictionary["secret"], "It's a Secret to Everybody");
    assert!(!format!("{:?}", trigger()).contains("Everybody"));
    let built = Registry::builtin().build(dictionary.clone()).unwrap();
    assert_eq!(built.to_dict(), dictionary);
    for wrong in
        [serde_json::json!("short"), serde_json::json!(12_345_678), serde_json::json!(null)]
    {
        let mut dictionary = dictionary.clone();
        dictionary.insert("secret".to_owned(), wrong.clone());
        let error = Registry::builtin().build(dictionary).unwrap_err().to_string();
        assert!(error.contains("field `secret`"), "{error}");
        assert!(!error.contains("short") && !error.contains("12345678"), "{error}");
    }
}

//! The description of the native API. Written by hand in `docs/openapi.json`, served as it is, and
//! held against the routes by the test below, in both directions.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// Sends the description.
pub(super) async fn document() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use cov_core::asset::AssetKey;
    use cov_core::status::Status;
    use cov_core::time::Timestamp;
    use serde_json::Value;

    use super::*;

    fn described() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn routes_and_description_agree_both_ways() {
        let known = crate::v3::known();
        let routes: BTreeSet<String> =
            known.iter().map(|(method, path)| format!("{method} {path}")).collect();
        let document = described();
        let paths = document["paths"].as_object().unwrap();
        let written: BTreeSet<String> = paths
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        let undescribed: Vec<_> = routes.difference(&written).collect();
        let unserved: Vec<_> = written.difference(&routes).collect();
        assert!(undescribed.is_empty(), "not in docs/openapi.json: {undescribed:?}");
        assert!(unserved.is_empty(), "only in docs/openapi.json: {unserved:?}");
    }

    #[test]
    fn words_are_those_of_the_core() {
        let words = |name: &str| {
            let listed = &described()["components"]["schemas"][name]["enum"];
            let listed: Vec<String> = serde_json::from_value(listed.clone()).unwrap();
            listed
        };
        assert_eq!(words("AssetKey"), AssetKey::ALL.map(AssetKey::as_str));
        assert_eq!(words("Status"), Status::ALL.map(Status::as_str));
    }

    #[test]
    fn times_are_of_every_day_there_is_and_of_no_other() {
        let pattern = described()["components"]["schemas"]["Time"]["pattern"].clone();
        let time = regex::Regex::new(pattern.as_str().unwrap()).unwrap();
        for year in [1000, 1900, 2000, 2023, 2024, 2026, 2100, 9998] {
            for (month, day) in (0..14).flat_map(|month| (0..33).map(move |day| (month, day))) {
                let text = format!("{year:04}-{month:02}-{day:02}T23:59:59.000001");
                let read = text.parse::<Timestamp>();
                assert_eq!(time.is_match(&text), read.is_ok(), "{text}");
                assert!(read.is_err() || read.unwrap().to_string() == text, "{text}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|member| check(document, member));
                }
                Value::Array(items) => items.iter().for_each(|item| check(document, item)),
                _ => {}
            }
        }
        let document = described();
        check(&document, &document);
    }
}

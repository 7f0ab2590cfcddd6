//! Reads recordings: `protocol/golden/README.md` tells their form.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One recorded request with its answer.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) index: u64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Body>,
    pub(super) status: u16,
    pub(super) answer: Option<Body>,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Json(Value),
    Text(String),
    Bytes(Vec<u8>),
}

impl Body {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Json(value) => serde_json::to_vec(value).unwrap(),
            Self::Text(text) => text.clone().into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

pub(super) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/golden")
}

/// All exchanges of a folder, in their order. Requests for a dispatch that the recording does
/// not hold are left out.
pub(super) fn read(folder: &str) -> Vec<Exchange> {
    let folder = golden().join(folder);
    let text = std::fs::read_to_string(folder.join("exchange.jsonl")).unwrap();
    text.lines().map(|line| exchange(&folder, &serde_json::from_str(line).unwrap())).collect()
}

fn exchange(folder: &Path, line: &Value) -> Exchange {
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let headers = line["headers"].as_object().into_iter().flatten();
    // The client sets these itself, but for a length without a body.
    let unsent = line["announced_but_unsent_body"] == true;
    let own = ["connection", "host", "content-length"];
    let headers = headers
        .filter(|(name, _)| !own.contains(&name.as_str()) || (unsent && *name == "content-length"))
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    Exchange {
        index: line["i"].as_u64().unwrap(),
        method: text("method"),
        path: text("path"),
        query: text("query"),
        headers,
        body: body(folder, &line["body"]),
        status: u16::try_from(line["status"].as_u64().unwrap()).unwrap(),
        answer: body(folder, &line["response"]),
    }
}

fn body(folder: &Path, recorded: &Value) -> Option<Body> {
    let recorded = recorded.as_object()?;
    if let Some(value) = recorded.get("json") {
        return Some(Body::Json(value.clone()));
    }
    if let Some(text) = recorded.get("text") {
        return Some(Body::Text(text.as_str().unwrap().to_owned()));
    }
    if let Some(coded) = recorded.get("base64") {
        let coded = coded.as_str().unwrap();
        let engine = &base64::engine::general_purpose::STANDARD;
        return Some(Body::Bytes(base64::Engine::decode(engine, coded).unwrap()));
    }
    let path = folder.join(recorded["asset"].as_str().unwrap());
    let bytes = std::fs::read(&path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).unwrap();
        return Some(Body::Bytes(unpacked));
    }
    Some(Body::Bytes(bytes))
}

/// What stands for something else in a recording, and what for.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(HashMap<String, String>);

impl Places {
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(format!("{{{{{name}}}}}"), value.to_owned());
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(&format!("{{{{{name}}}}}"))
    }

    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for (name, value) in &self.0 {
            filled = filled.replace(name, value);
        }
        filled
    }

    pub(super) fn fill_body(&self, body: &Body) -> Body {
        match body {
            Body::Json(value) => {
                Body::Json(serde_json::from_str(&self.fill(&value.to_string())).unwrap())
            }
            Body::Text(text) => Body::Text(self.fill(text)),
            Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
        }
    }
}

/// The dispatches that a text names, as `d1`, `d2`, ….
pub(super) fn dispatches_in(text: &str) -> Vec<String> {
    let names = text.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let is_id = name.strip_prefix('d').is_some_and(|digits| digits.parse::<u32>().is_ok());
        if is_id && !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

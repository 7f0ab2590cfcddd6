//! The values of the parameters for one run: defaults, and what `--set` says instead.

use std::collections::HashMap;

use super::fault::{Fault, did_you_mean};
use super::model::{Model, Param, Scalar, Setting};

/// Values by the names of the parameters.
pub(crate) type Settings = HashMap<String, Setting>;

/// Takes defaults and `NAME=VALUE` pairs together. The last value of a name counts.
pub(super) fn settle(model: &Model, sets: &[(String, String)]) -> Result<Settings, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut settings = Settings::new();
    for (name, text) in sets {
        let Some(param) = model.params.iter().find(|param| param.name.text == *name) else {
            let known = model.params.iter().map(|param| param.name.text.as_str());
            let help = did_you_mean(name, known, "the workflow has no parameters");
            faults.push(
                Fault::nowhere(format!("--set {name}: there is no parameter `{name}`")).help(help),
            );
            continue;
        };
        match read(param, text) {
            Ok(setting) => {
                settings.insert(name.clone(), setting);
            }
            Err(fault) => faults.push(fault),
        }
    }
    for param in &model.params {
        if settings.contains_key(&param.name.text) {
            continue;
        }
        match &param.default {
            Some(default) => {
                settings.insert(param.name.text.clone(), default.clone());
            }
            None => {
                let name = &param.name.text;
                let about =
                    param.description.as_ref().map_or(String::new(), |text| format!(" ({text})"));
                let fault = Fault::new(
                    param.name.span,
                    format!("the parameter `{name}`{about} has no value"),
                )
                .help(format!("set it with `--set {name}=VALUE`, or give it a default"));
                if !sets.iter().any(|(set, _)| set == name) {
                    faults.push(fault);
                }
            }
        }
    }
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

/// A text as a value of the type that the default has; text, if there is none.
fn read(param: &Param, text: &str) -> Result<Setting, Fault> {
    let name = &param.name.text;
    let refused = |wanted: &str| {
        Fault::new(param.name.span, format!("--set {name}={text}: this has to be {wanted}"))
            .label("as it is here")
    };
    let setting = match &param.default {
        Some(Setting::Many(examples)) => {
            let example = examples.first();
            // A list in JSON, or words with commas between them.
            let items: Vec<String> = match serde_json::from_str::<Vec<serde_json::Value>>(text) {
                Ok(items) => items.iter().map(plain_text).collect(),
                Err(_) if text.is_empty() => Vec::new(),
                Err(_) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            };
            let read = items.iter().map(|item| scalar(example, item));
            let read: Result<Vec<Scalar>, &str> = read.collect();
            Setting::Many(read.map_err(|wanted| refused(&format!("a list; each item {wanted}")))?)
        }
        Some(Setting::One(example)) => Setting::One(scalar(Some(example), text).map_err(refused)?),
        None => Setting::One(scalar(param.choices.first(), text).map_err(refused)?),
    };
    if !param.choices.is_empty() && !setting.scalars().iter().all(|one| param.choices.contains(one))
    {
        let choices: Vec<String> = param.choices.iter().map(Scalar::text).collect();
        return Err(refused(&format!("one of {}", choices.join(", "))));
    }
    Ok(setting)
}

fn plain_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn scalar(example: Option<&Scalar>, text: &str) -> Result<Scalar, &'static str> {
    match example {
        Some(Scalar::Bool(_)) => match text {
            "true" => Ok(Scalar::Bool(true)),
            "false" => Ok(Scalar::Bool(false)),
            _ => Err("true or false"),
        },
        Some(Scalar::Int(_)) => {
            text.parse().map(Scalar::Int).map_err(|_no_number| "a whole number")
        }
        Some(Scalar::Float(_)) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Scalar::Float(number)),
            Ok(_) | Err(_) => Err("a number"),
        },
        Some(Scalar::Text(_)) | None => match text.contains('\0') {
            true => Err("a text without NUL bytes"),
            false => Ok(Scalar::Text(text.to_owned())),
        },
    }
}

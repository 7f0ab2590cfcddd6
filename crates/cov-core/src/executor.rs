//! Which executor an electron asks for, and the policy that rides in its attributes. Runs
//! nothing and knows no executor by name.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Retries are capped here, whatever a client asks for.
pub const RETRIES_MAX: u32 = 1_000;

/// An executor as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ExecutorSpec {
    /// The executor's short name, such as `local` or `dask`.
    pub name: String,
    /// The executor object as the client wrote it, or an empty object when it was named only.
    #[serde(default = "nothing")]
    pub data: Value,
}

fn nothing() -> Value {
    Value::Object(serde_json::Map::new())
}

/// What the engine does when an attempt fails or takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskPolicy {
    /// How many more attempts follow a failed one.
    pub retries: u32,
    /// How long one attempt may run, from its begin.
    pub time_limit: Option<Duration>,
}

impl ExecutorSpec {
    /// One of the executor's attributes, if it was sent.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.data.get("attributes")?.get(name)
    }

    /// The policy in `retries` and `time_limit` (seconds, fractions allowed). The SDK's ways of
    /// saying *none* (`-1`, `""`, `false`, a missing attribute), and anything that is no positive
    /// number, mean none.
    ///
    /// ```
    /// use cov_core::executor::ExecutorSpec;
    /// use serde_json::json;
    /// let spec = ExecutorSpec {
    ///     name: "local".into(),
    ///     data: json!({"attributes": {"retries": 2, "time_limit": -1}}),
    /// };
    /// assert_eq!(spec.policy().retries, 2);
    /// assert_eq!(spec.policy().time_limit, None);
    /// ```
    #[must_use]
    pub fn policy(&self) -> TaskPolicy {
        let number = |name| self.attribute(name).and_then(positive_number);
        let retries = number("retries").map_or(0, whole_retries);
        let time_limit =
            number("time_limit").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        TaskPolicy { retries, time_limit }
    }

    /// How much memory a process of its tasks may use, from `memory_limit_mb`: in units of 2^20
    /// bytes, at least one. What is no positive number means no limit.
    ///
    /// ```
    /// use cov_core::executor::ExecutorSpec;
    /// use serde_json::json;
    /// let data = json!({"attributes": {"memory_limit_mb": 512}});
    /// assert_eq!(ExecutorSpec { name: "rust".into(), data }.memory_limit_mb(), Some(512));
    /// assert_eq!(ExecutorSpec::default().memory_limit_mb(), None);
    /// ```
    #[must_use]
    pub fn memory_limit_mb(&self) -> Option<u64> {
        self.attribute("memory_limit_mb").and_then(positive_number).map(whole_megabytes)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is positive, and what is more than any machine has is cut off"
)]
fn whole_megabytes(count: f64) -> u64 {
    count.max(1.0) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is positive and capped, so only its fraction is lost"
)]
fn whole_retries(count: f64) -> u32 {
    count.min(f64::from(RETRIES_MAX)) as u32
}

fn positive_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|value| value.is_finite() && *value > 0.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(attributes: Value) -> TaskPolicy {
        ExecutorSpec { name: "x".into(), data: json!({ "attributes": attributes }) }.policy()
    }

    #[test]
    fn the_ways_of_saying_none_mean_none() {
        for none in [json!(-1), json!(""), json!(false), json!(null), json!(0), json!([])] {
            let read = policy(json!({ "retries": none, "time_limit": none }));
            assert_eq!(read, TaskPolicy::default(), "{none}");
        }
        assert_eq!(ExecutorSpec::default().policy(), TaskPolicy::default());
    }

    #[test]
    fn numbers_are_taken_and_capped() {
        let read = policy(json!({ "retries": 3, "time_limit": 1.5 }));
        assert_eq!(read.retries, 3);
        assert_eq!(read.time_limit, Some(Duration::from_millis(1500)));
        assert_eq!(policy(json!({ "retries": 1e12 })).retries, RETRIES_MAX);
        assert_eq!(policy(json!({ "time_limit": "2" })).time_limit, Some(Duration::from_secs(2)));
        assert_eq!(policy(json!({ "time_limit": 1e300 })).time_limit, None);
    }
}

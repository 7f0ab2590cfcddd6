//! Values on the command line: times, states, nodes. Says what would be right when they are not.

use std::time::Duration;

use cov_core::ids::NodeId;
use cov_core::status::Status;
use cov_core::time::Timestamp;

use crate::find::nearest;

/// A number with a unit.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err("give a number with a unit: s, min, h or d".to_owned()),
    };
    let number = number.parse::<u64>().map_err(|error| error.to_string())?;
    let seconds = number.checked_mul(seconds).ok_or("that is too long")?;
    Ok(Duration::from_secs(seconds))
}

pub(super) fn ended_status(text: &str) -> Result<Status, String> {
    let ends = Status::ALL.into_iter().filter(|status| status.is_terminal());
    let mut matching = ends.filter(|status| status.as_str().eq_ignore_ascii_case(text));
    matching.next().ok_or_else(|| "it must be COMPLETED, FAILED or CANCELLED".to_owned())
}

/// A state in any spelling of its letters, or the beginning of one.
pub(super) fn status(text: &str) -> Result<Status, String> {
    let asked = text.to_ascii_uppercase().replace('-', "_");
    let all = || Status::ALL.into_iter();
    if let Some(same) = all().find(|status| status.as_str() == asked) {
        return Ok(same);
    }
    let begun: Vec<Status> =
        all().filter(|status| !asked.is_empty() && status.as_str().starts_with(&asked)).collect();
    match begun.as_slice() {
        [one] => Ok(*one),
        [] => {
            let names = Status::ALL.map(Status::as_str);
            let meant = nearest(&asked, names).map(|name| format!("; did you mean {name}?"));
            let meant = meant.unwrap_or_else(|| ".".to_owned());
            Err(format!("it is no state{meant} There are {}", names.join(", ")))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|status| status.as_str()).collect();
            Err(format!("it may mean {}", names.join(" or ")))
        }
    }
}

/// A node's id.
pub(super) fn node(text: &str) -> Result<NodeId, String> {
    let number = text.parse().map(NodeId);
    number.map_err(|_error| "a node is named by its number, as `cov show` lists it".to_owned())
}

/// A moment: a time, or how long ago it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// This time.
    At(Timestamp),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    /// The time that is meant.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(age) => {
                let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(now.as_micros().saturating_sub(micros))
            }
        }
    }
}

pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(age) = age(text) {
        return Ok(Moment::Ago(age));
    }
    let time = text.parse::<Timestamp>().map(Moment::At);
    time.map_err(|_error| {
        "give an age such as 2h or 3d, or a time such as 2026-03-01T12:00:00Z".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_a_unit() {
        let seconds = |text| age(text).map(|age| age.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15min"), Ok(900));
        assert_eq!(seconds("12h"), Ok(43_200));
        assert_eq!(seconds("30d"), Ok(2_592_000));
        for refused in ["", "30", "d", "1 d", "-1d", "1w", "999999999999999999d"] {
            assert!(age(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn only_ends_can_be_purged() {
        assert_eq!(ended_status("completed"), Ok(Status::Completed));
        assert!(ended_status("RUNNING").is_err());
    }

    #[test]
    fn states_are_found_by_their_begin_and_others_are_suggested() {
        assert_eq!(status("failed"), Ok(Status::Failed));
        assert_eq!(status("comp"), Ok(Status::Completed));
        assert_eq!(status("new-object"), Ok(Status::NewObject));
        assert_eq!(
            status("pending"),
            Err("it may mean PENDING_REUSE or PENDING_REPLACEMENT".into())
        );
        let said = status("faild").unwrap_err();
        assert!(
            said.starts_with("it is no state; did you mean FAILED? There are NEW_OBJECT"),
            "{said}"
        );
        assert!(status("").unwrap_err().starts_with("it is no state. There are"));
    }

    #[test]
    fn moments_are_times_or_ages() {
        let now = Timestamp::from_micros(10_000_000);
        assert_eq!(moment("4s").unwrap().at(now), Timestamp::from_micros(6_000_000));
        assert_eq!(
            moment("1970-01-01T00:00:01Z").unwrap().at(now),
            Timestamp::from_micros(1_000_000)
        );
        assert!(moment("yesterday").is_err());
    }
}

//! Reports for programs: one JSON object a line.

use super::Report;
use crate::error::Error;

pub(super) fn text(report: &Report) -> Result<String, Error> {
    serde_json::to_string(report).map_err(|error| Error::Output(error.into()))
}

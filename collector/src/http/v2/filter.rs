//! The parameters by which alerts, groups and silences are chosen.

use regex::Regex;
use upkeep_model::{Labels, Matcher};

use super::super::error::ApiError;
use super::super::parameters::Parameters;
use crate::alert::{self, AlertFilter, LeftOut};

/// Which alerts a request wants; `None` if no receiver can match, since receivers have no labels.
pub(super) fn alert_filter(parameters: &Parameters) -> Result<Option<AlertFilter>, ApiError> {
    let receiver = parameters.get("receiver").map(|pattern| {
        Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|error| ApiError::parameter("receiver", error))
    });
    let without = LeftOut {
        active: !flag(parameters, "active")?,
        silenced: !flag(parameters, "silenced")?,
        inhibited: !flag(parameters, "inhibited")?,
        muted: !flag(parameters, "muted")?,
    };
    // Every alert is held against silences and inhibition as it is shown, so none is unprocessed.
    flag(parameters, "unprocessed")?;
    let filter = AlertFilter {
        matchers: matchers(parameters, "filter")?,
        receiver: receiver.transpose()?,
        without,
    };
    Ok(wants_receivers(parameters)?.then_some(filter))
}

/// Whether receivers without labels are wanted.
pub(super) fn wants_receivers(parameters: &Parameters) -> Result<bool, ApiError> {
    let matchers = matchers(parameters, "receiver_matchers")?;
    Ok(matchers.iter().all(|matcher| matcher.matches(&Labels::default())))
}

/// The matchers of a parameter that may be repeated.
pub(super) fn matchers(parameters: &Parameters, name: &str) -> Result<Vec<Matcher>, ApiError> {
    let mut matchers = Vec::new();
    for text in parameters.all(name) {
        let read = alert::matchers(text);
        matchers.extend(read.map_err(|error| ApiError::parameter(name, error))?);
    }
    Ok(matchers)
}

/// Whether something is wanted; it is where nothing is said.
pub(super) fn flag(parameters: &Parameters, name: &str) -> Result<bool, ApiError> {
    match parameters.get(name) {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => {
            Err(ApiError::parameter(name, format!("{other:?} is neither true nor false")))
        }
    }
}

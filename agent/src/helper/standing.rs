//! What the helper may do at the moment, for people who look.

use std::path::Path;

use serde::Serialize;

use super::{HelperError, SOCKET, Verb, ask_helper};

/// What the helper may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The verbs that it answers.
    pub answers: Vec<Verb>,
    /// The verbs that the configuration switches off.
    pub switched_off: Vec<Verb>,
    /// Why it answers nothing after all, whatever the configuration says.
    pub unknown_because: Option<String>,
}

/// Asks the helper, even where this process could read everything itself: of what is permitted, the
/// question that takes the least time. Where only long ones are, it is looked whether it listens.
pub fn standing(permitted: &[Verb]) -> Standing {
    let is_permitted = |verb: &Verb| permitted.contains(verb);
    let (answers, switched_off) = Verb::ALL.into_iter().partition(is_permitted);
    let quick = [Verb::Dmi, Verb::Energy].into_iter().find(is_permitted);
    let tried = match quick {
        Some(verb) => ask_helper(verb).map(drop),
        None if Path::new(SOCKET).exists() => Ok(()),
        None => Err(HelperError::Off { socket: SOCKET.into() }),
    };
    let unknown_because = match tried {
        Ok(()) | Err(HelperError::Absent(_) | HelperError::Failed(_)) => None,
        Err(error) => Some(error.to_string()),
    };
    Standing { answers, switched_off, unknown_because }
}

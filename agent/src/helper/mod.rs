//! What an ordinary user may not read of a host: asked of a helper with more privileges, which
//! answers one of a few fixed questions and ends.
//!
//! The agent runs without any capability. `upkeep-agent helper` is started by a socket that only
//! the agent's user may open, once a question. The question is a verb and nothing else, so there is
//! nothing that could be smuggled in; the answer is what was read, unjudged. What takes no privilege
//! but a call that the agent's sandbox refuses, the clock's, has a socket and a sandbox of its own.
//! The administrator can leave either off, or switch single verbs off: what is then not known is
//! said to be so.

#[cfg(target_os = "linux")]
mod client;
mod clock;
mod dmi;
mod energy;
mod error;
#[cfg(target_os = "linux")]
mod exchange;
#[cfg(target_os = "linux")]
mod reply;
mod restarts;
#[cfg(target_os = "linux")]
mod server;
mod smart;
mod standing;
mod verb;

use std::path::Path;

use crate::host::{ClockState, Host, Tree};

#[cfg(target_os = "linux")]
pub use self::client::ask_within;
pub use self::dmi::DmiAnswer;
pub use self::energy::{EnergyAnswer, EnergyZone};
pub use self::error::HelperError;
#[cfg(target_os = "linux")]
use self::reply::{Reply, Request};
pub use self::restarts::{RestartsAnswer, StaleProcess};
#[cfg(target_os = "linux")]
pub use self::server::{Permissions, serve};
pub use self::smart::{SmartAnswer, SmartOutput};
pub use self::standing::{Standing, standing};
pub use self::verb::{Answer, Verb};

/// Where the helper listens.
pub const SOCKET: &str = "/run/upkeep-agent/helper.sock";

/// Where the helper for [`Verb::Clock`] listens, which may read the clock and nothing else.
pub const CLOCK_SOCKET: &str = "/run/upkeep-agent/clock.sock";

/// The user that the agent runs as, and who may ask beside root.
pub const AGENT_USER: &str = "upkeep-agent";

/// The health of every disk, as `smartctl` tells it. This may take minutes; it blocks.
///
/// # Errors
/// When there is no answer; [`HelperError::is_absent`] tells whether there is no `smartctl`.
pub fn smart(host: &Host) -> Result<SmartAnswer, HelperError> {
    match ask(host, Verb::Smart)? {
        Answer::Smart(answer) => Ok(answer),
        other => Err(HelperError::OtherVerb { asked: Verb::Smart, got: other.verb() }),
    }
}

/// The serial numbers of the machine.
///
/// # Errors
/// When there is no answer.
pub fn dmi(host: &Host) -> Result<DmiAnswer, HelperError> {
    match ask(host, Verb::Dmi)? {
        Answer::Dmi(answer) => Ok(answer),
        other => Err(HelperError::OtherVerb { asked: Verb::Dmi, got: other.verb() }),
    }
}

/// The energy that the processors have used. Each question starts a process where the agent is not
/// root, so it is asked once a minute at most.
///
/// # Errors
/// When there is no answer.
pub fn energy(host: &Host) -> Result<EnergyAnswer, HelperError> {
    match ask(host, Verb::Energy)? {
        Answer::Energy(answer) => Ok(answer),
        other => Err(HelperError::OtherVerb { asked: Verb::Energy, got: other.verb() }),
    }
}

/// The processes of all users that still run code which was deleted since. This may take a minute;
/// it blocks.
///
/// # Errors
/// When there is no answer.
pub fn restarts(host: &Host) -> Result<RestartsAnswer, HelperError> {
    match ask(host, Verb::Restarts)? {
        Answer::Restarts(answer) => Ok(answer),
        other => Err(HelperError::OtherVerb { asked: Verb::Restarts, got: other.verb() }),
    }
}

/// How the kernel's clock is disciplined. Each question starts a process where the agent is not root.
///
/// # Errors
/// When there is no answer.
pub fn clock(host: &Host) -> Result<ClockState, HelperError> {
    match ask(host, Verb::Clock)? {
        Answer::Clock(answer) => Ok(answer),
        other => Err(HelperError::OtherVerb { asked: Verb::Clock, got: other.verb() }),
    }
}

/// Answers a question itself where this process may read what it takes, or where the host is a
/// recording or another root; asks the helper otherwise. It blocks, little longer than
/// [`Verb::deadline`] at most.
///
/// # Errors
/// When there is no answer, with the reason.
pub fn ask(host: &Host, verb: Verb) -> Result<Answer, HelperError> {
    if reads_itself(host) { verb.answer(host) } else { ask_helper(verb) }
}

/// Whether nothing is won by asking the helper, which sees this system as it is.
fn reads_itself(host: &Host) -> bool {
    let is_usual = host.is_this_system() && host.path(Tree::Sys, "") == Path::new("/sys/");
    !is_usual || is_root()
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn ask_helper(verb: Verb) -> Result<Answer, HelperError> {
    client::ask(verb.socket(), verb)
}

#[cfg(not(target_os = "linux"))]
fn ask_helper(verb: Verb) -> Result<Answer, HelperError> {
    Err(HelperError::Absent(format!("{verb}: there is no helper on this system")))
}

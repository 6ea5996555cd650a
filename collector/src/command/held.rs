//! The data as a whole: the running server is asked, or the command opens it.

use std::sync::Arc;

use upkeep_store::{Options, Store, StoreError};

use super::{CommandError, open_state};
use crate::archive::STORE_FOLDER;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::{self, Answer, Held, Request};
use crate::damage::Declarer;
use crate::state::State;

/// Has something done, and gives the state as well.
pub(super) fn ask(config: &Config, request: &Request) -> Result<(State, Answer), CommandError> {
    let state = open_state(config)?;
    if let Some(answer) = control::ask(&config.data_dir, request)? {
        return Ok((state, answer));
    }
    let store = match Store::open(&config.data_dir.join(STORE_FOLDER), Options::default()) {
        Err(StoreError::InUse { .. }) => return Err(CommandError::Unreachable),
        opened => Arc::new(opened.map_err(control::ControlError::Store)?),
    };
    let declarer = Arc::new(Declarer::new(state.clone(), Arc::clone(&store)));
    let held = Held::new(&config.data_dir, state.clone(), Arc::clone(&store), declarer, None);
    let answer = held.act(request, Clock::system().now_ms());
    let closed = store.close().map_err(control::ControlError::Store);
    let answer = answer?;
    closed?;
    Ok((state, answer))
}

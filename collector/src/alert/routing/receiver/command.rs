//! Commands, which Alertmanager lacks: what a receiver's section says.

use std::path::PathBuf;

use super::Reader;
use crate::notify::{COMMAND_TIMEOUT, CommandSettings};
use crate::process;
use crate::yaml::{Fields, Tree};

impl Reader {
    pub(super) fn command(&mut self, tree: &Tree) -> Option<CommandSettings> {
        let mut fields = Fields::of(tree, "a command", &mut self.faults);
        let mut words = Vec::new();
        let list = self.list(&mut fields, "command");
        for tree in list {
            words.extend(tree.text(&mut self.faults).map(str::to_owned));
        }
        let timeout = self.duration(&mut fields, "timeout").filter(|timeout| !timeout.is_zero());
        let send_resolved = self.flag(&mut fields, "send_resolved").unwrap_or(true);
        fields.refuse_rest(&mut self.faults);
        let mut words = words.into_iter();
        let (Some(program), Some(first)) = (words.next().map(PathBuf::from), list.first()) else {
            self.faults
                .at(tree.place, "`command` must name a program and its arguments, as a list");
            return None;
        };
        if let Some(refusal) = process::refusal(&program, &self.allowed.commands) {
            self.faults.at(first.place, refusal);
        }
        Some(CommandSettings {
            program,
            arguments: words.collect(),
            timeout: timeout.unwrap_or(COMMAND_TIMEOUT),
            send_resolved,
        })
    }
}

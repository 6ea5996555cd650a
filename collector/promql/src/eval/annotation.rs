//! What an evaluation noticed, for the author of the expression.

/// Warnings and infos, each once, in the order in which they came up.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: Vec<String>,
    infos: Vec<String>,
}

impl Annotations {
    pub(crate) fn warn(&mut self, message: impl AsRef<str>) {
        add(&mut self.warnings, "PromQL warning", message.as_ref());
    }

    pub(crate) fn inform(&mut self, message: impl AsRef<str>) {
        add(&mut self.infos, "PromQL info", message.as_ref());
    }

    /// Warnings, then infos.
    pub(crate) fn into_lists(self) -> (Vec<String>, Vec<String>) {
        (self.warnings, self.infos)
    }
}

/// Most messages kept of a kind: an expression over thousands of series says the same of each.
const MAX_MESSAGES: usize = 10;

fn add(list: &mut Vec<String>, level: &str, message: &str) {
    let text = format!("{level}: {message}");
    if list.len() < MAX_MESSAGES && !list.contains(&text) {
        list.push(text);
    }
}

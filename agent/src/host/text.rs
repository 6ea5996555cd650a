//! Text that was read, in a buffer that is used again.

use std::ops::Deref;

use super::Host;

/// The text of a file in a buffer lent by its host.
#[derive(Debug)]
pub struct Text {
    host: Host,
    text: String,
}

impl Text {
    pub(super) fn new(host: &Host, bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Self { host: host.clone(), text }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.host.keep(std::mem::take(&mut self.text).into_bytes());
    }
}

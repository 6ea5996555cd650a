//! One device's folder beneath `/sys`, whose files hold one value each.

use super::Faults;
use crate::host::{Host, HostError, Text, Tree};

/// A device's folder. What a device does not have is no fault of it.
#[derive(Debug)]
pub(super) struct Device<'probe> {
    host: &'probe Host,
    /// The folder, and while a file is read that file.
    path: String,
    folder_length: usize,
}

impl<'probe> Device<'probe> {
    /// The device whose folder is given relative to `/sys`.
    pub(super) fn new(host: &'probe Host, folder: String) -> Self {
        let folder_length = folder.len();
        Self { host, path: folder, folder_length }
    }

    /// What stands in a file, without the space around it.
    pub(super) fn text(&mut self, attribute: &str, faults: &mut Faults) -> Option<String> {
        let answer = self.read(attribute);
        faults.keep(answer).flatten().map(|text| text.trim().to_owned())
    }

    /// The number in a file.
    pub(super) fn number(&mut self, attribute: &str, faults: &mut Faults) -> Option<f64> {
        let answer = self.read(attribute);
        self.parse(attribute, answer, faults)
    }

    /// The number in a file that the kernel may keep for the administrator; it is no fault if it
    /// does.
    pub(super) fn number_if_permitted(
        &mut self,
        attribute: &str,
        faults: &mut Faults,
    ) -> Option<f64> {
        match self.read(attribute) {
            Err(error) if error.is_denied() => None,
            answer => self.parse(attribute, answer, faults),
        }
    }

    fn read(&mut self, attribute: &str) -> Result<Option<Text>, HostError> {
        self.path.truncate(self.folder_length);
        self.path.push('/');
        self.path.push_str(attribute);
        self.host.read_if_present(Tree::Sys, &self.path)
    }

    fn parse(
        &self,
        attribute: &str,
        answer: Result<Option<Text>, HostError>,
        faults: &mut Faults,
    ) -> Option<f64> {
        let text = faults.keep(answer).flatten()?;
        let folder = self.path.get(..self.folder_length).unwrap_or_default();
        faults.number(folder, 1, attribute, Some(text.trim()))
    }
}

/// The number at the end of a device's name: `3` of `mc3`; `None` if it is not named so.
pub(super) fn number_after<'name>(name: &'name str, prefix: &str) -> Option<&'name str> {
    let digits = name.strip_prefix(prefix)?;
    is_number(digits).then_some(digits)
}

/// Whether a text is digits and nothing else.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::host_with;

    #[test]
    fn attributes_are_read_one_after_another() {
        let (_folder, host) = host_with(&[
            ("sys/class/x/a/name", b" sensor \n"),
            ("sys/class/x/a/count", b"12\n"),
            ("sys/class/x/a/odd", b"1 2\n"),
        ]);
        let mut device = Device::new(&host, "class/x/a".to_owned());
        let mut faults = Faults::default();
        assert_eq!(device.text("name", &mut faults).as_deref(), Some("sensor"));
        assert_eq!(device.number("count", &mut faults), Some(12.0));
        assert_eq!(device.number("absent", &mut faults), None);
        assert_eq!(device.number_if_permitted("count", &mut faults), Some(12.0));
        assert_eq!(device.number("odd", &mut faults), None);
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(said, "class/x/a, line 1, odd: \"1 2\" is not a number");
    }

    #[test]
    fn names_end_in_a_number_or_are_others() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(number_after(name, "mc"), expect, "{name}");
        };
        check("mc0", Some("0"));
        check("mc12", Some("12"));
        check("mc", None);
        check("mc1x", None);
        check("mca", None);
        check("power", None);
    }
}

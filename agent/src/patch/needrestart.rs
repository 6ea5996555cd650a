//! What `needrestart` finds out, in its batch mode: one `NEEDRESTART-KEY: value` a line.

/// How something that takes a restart stands, in needrestart's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// It could not tell, or did not say.
    #[default]
    Unknown,
    /// Nothing is pending.
    Current,
    /// What runs is replaced by something that fits it: for kernels another build of the release.
    Rebuilt,
    /// Something newer is installed.
    Outdated,
}

/// What `needrestart -b` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needrestart {
    pub(super) kernel: Standing,
    /// The running kernel, and the one that should run.
    pub(super) kernel_current: String,
    pub(super) kernel_expected: String,
    pub(super) microcode: Standing,
    /// The microcode that is loaded, and the one that should be.
    pub(super) microcode_current: String,
    pub(super) microcode_expected: String,
    /// The services that run old code, as units.
    pub(super) services: Vec<String>,
}

impl Needrestart {
    /// Reads its lines; others are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut seen = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match key.strip_prefix("NEEDRESTART-") {
                Some("KSTA") => {
                    seen.kernel = match value {
                        "1" => Standing::Current,
                        "2" => Standing::Rebuilt,
                        "3" => Standing::Outdated,
                        _ => Standing::Unknown,
                    }
                }
                Some("KCUR") => value.clone_into(&mut seen.kernel_current),
                Some("KEXP") => value.clone_into(&mut seen.kernel_expected),
                Some("UCSTA") => {
                    seen.microcode = match value {
                        "1" => Standing::Current,
                        "2" => Standing::Outdated,
                        _ => Standing::Unknown,
                    }
                }
                Some("UCCUR") => value.clone_into(&mut seen.microcode_current),
                Some("UCEXP") => value.clone_into(&mut seen.microcode_expected),
                Some("SVC") if !value.is_empty() => seen.services.push(value.to_owned()),
                _ => {}
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-28-amd64\n\
            NEEDRESTART-KEXP: 6.1.0-30-amd64\nNEEDRESTART-KSTA: 3\nNEEDRESTART-UCSTA: 2\n\
            NEEDRESTART-UCCUR: 0x00f4\nNEEDRESTART-UCEXP: 0x00f6\n\
            NEEDRESTART-SVC: ssh.service\nNEEDRESTART-SVC: user@1000.service\n\
            NEEDRESTART-SESS: anna @ session #1\nodd\n";
        let expect = Needrestart {
            kernel: Standing::Outdated,
            kernel_current: "6.1.0-28-amd64".to_owned(),
            kernel_expected: "6.1.0-30-amd64".to_owned(),
            microcode: Standing::Outdated,
            microcode_current: "0x00f4".to_owned(),
            microcode_expected: "0x00f6".to_owned(),
            services: vec!["ssh.service".to_owned(), "user@1000.service".to_owned()],
        };
        assert_eq!(Needrestart::parse(text), expect);
        assert_eq!(Needrestart::parse("NEEDRESTART-KSTA: 0\n"), Needrestart::default());
        assert_eq!(Needrestart::parse(""), Needrestart::default());
    }
}

//! The questions, a closed list.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    CLOCK_SOCKET, DmiAnswer, EnergyAnswer, HelperError, RestartsAnswer, SOCKET, SmartAnswer, clock,
    dmi, energy, restarts, smart,
};
use crate::host::{ClockState, Host};

/// A question to the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// The health of the disks.
    Smart,
    /// The serial numbers of the machine.
    Dmi,
    /// The energy that the processors have used.
    Energy,
    /// The processes that run deleted code.
    Restarts,
    /// How the kernel's clock is disciplined.
    Clock,
}

/// The answer to a verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// To [`Verb::Smart`].
    Smart(SmartAnswer),
    /// To [`Verb::Dmi`].
    Dmi(DmiAnswer),
    /// To [`Verb::Energy`].
    Energy(EnergyAnswer),
    /// To [`Verb::Restarts`].
    Restarts(RestartsAnswer),
    /// To [`Verb::Clock`].
    Clock(ClockState),
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::Smart, Self::Dmi, Self::Energy, Self::Restarts, Self::Clock];

    /// The verb as it is written in the configuration and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Dmi => "dmi",
            Self::Energy => "energy",
            Self::Restarts => "restarts",
            Self::Clock => "clock",
        }
    }

    /// Where the unit listens whose sandbox permits what the answer takes.
    pub fn socket(self) -> &'static Path {
        Path::new(match self {
            Self::Smart | Self::Dmi | Self::Energy | Self::Restarts => SOCKET,
            Self::Clock => CLOCK_SOCKET,
        })
    }

    /// How long an answer may take. A disk that is about to die takes its time for each command;
    /// the others read files that the kernel has at hand.
    pub fn deadline(self) -> Duration {
        Duration::from_secs(match self {
            Self::Smart => 180,
            Self::Dmi | Self::Energy | Self::Clock => 10,
            Self::Restarts => 90,
        })
    }

    /// Reads the answer with the permissions of this process.
    pub(super) fn answer(self, host: &Host) -> Result<Answer, HelperError> {
        match self {
            Self::Smart => smart::read(host).map(Answer::Smart),
            Self::Dmi => Ok(Answer::Dmi(dmi::read(host))),
            Self::Energy => energy::read(host).map(Answer::Energy),
            Self::Restarts => restarts::read(host).map(Answer::Restarts),
            Self::Clock => clock::read(host).map(Answer::Clock),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Answer {
    /// The verb that it answers.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Smart(_) => Verb::Smart,
            Self::Dmi(_) => Verb::Dmi,
            Self::Energy(_) => Verb::Energy,
            Self::Restarts(_) => Verb::Restarts,
            Self::Clock(_) => Verb::Clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::{EnergyZone, SmartOutput, StaleProcess};
    use crate::host::Output;

    /// A recording of a few files and commands.
    fn recording(
        files: &[(&str, &str)],
        commands: &[(&[&str], i32, &str)],
    ) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("root/proc")).unwrap();
        for (path, content) in files {
            let path = folder.path().join("root").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let line = |(argv, exit, stdout): &(&[&str], i32, &str)| {
            serde_json::json!({ "argv": argv, "exit": exit, "stdout": stdout }).to_string()
        };
        let lines: Vec<String> = commands.iter().map(line).collect();
        std::fs::write(folder.path().join("commands.jsonl"), lines.join("\n")).unwrap();
        let host = Host::replay(folder.path()).unwrap();
        (folder, host)
    }

    #[test]
    fn smart_asks_each_disk_as_it_was_found() {
        let scan = r#"{"devices":[
            {"name":"/dev/sda","info_name":"/dev/sda [SAT]","type":"sat","protocol":"ATA"},
            {"name":"/dev/bus/0","type":"megaraid,4","protocol":"SCSI"},
            {"name":"--help","type":"sat"}]}"#;
        let ask = |kind, name| ["smartctl", "--json", "--all", "--nocheck=standby", kind, name];
        let (_folder, host) = recording(
            &[],
            &[
                (&["smartctl", "--scan-open", "--json"], 0, scan),
                (&ask("--device=sat", "/dev/sda"), 64, "{}"),
            ],
        );
        let answer = smart(&host).unwrap();
        assert_eq!(
            answer.scan,
            Output { exit: Some(0), stdout: scan.into(), stderr: String::new() }
        );
        let [first, second] = &answer.devices[..] else { panic!("{answer:?}") };
        let expect = SmartOutput {
            device: "/dev/sda".into(),
            kind: "sat".into(),
            protocol: "ATA".into(),
            exit: Some(64),
            stdout: "{}".into(),
            fault: None,
        };
        assert_eq!(*first, expect);
        assert_eq!((second.kind.as_str(), second.exit), ("megaraid,4", None));
        assert!(second.fault.as_ref().unwrap().contains("not in the recording"), "{second:?}");
    }

    #[test]
    fn smart_tells_a_list_that_cannot_be_read() {
        let scan: &[&str] = &["smartctl", "--scan-open", "--json"];
        let (_folder, host) = recording(&[], &[(scan, 1, "UNRECOGNIZED OPTION: json")]);
        let error = smart(&host).unwrap_err();
        assert!(error.to_string().contains("exit status Some(1)"), "{error}");
        assert!(!error.is_absent());
    }

    #[test]
    fn dmi_and_energy_leave_out_what_is_not_there() {
        let (_folder, host) = recording(
            &[
                ("sys/class/dmi/id/product_serial", "ABC 1\n"),
                ("sys/class/dmi/id/product_name", "open to all\n"),
                ("sys/class/powercap/intel-rapl/enabled", "1\n"),
                ("sys/class/powercap/intel-rapl:0/energy_uj", "240422366267\n"),
                ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"),
                ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
                ("sys/class/powercap/intel-rapl:1/energy_uj", "much\n"),
            ],
            &[],
        );
        let dmi = dmi(&host).unwrap();
        let fields: Vec<(&str, &str)> =
            dmi.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("product_serial", "ABC 1")]);
        assert_eq!(dmi.faults, [""; 0]);
        let energy = energy(&host).unwrap();
        let zone = EnergyZone {
            zone: "intel-rapl:0".into(),
            name: "package-0".into(),
            energy_uj: 240_422_366_267,
            max_energy_range_uj: Some(262_143_328_850),
        };
        assert_eq!(energy.zones, [zone]);
        assert_eq!(
            energy.faults,
            ["class/powercap/intel-rapl:1/energy_uj: \"much\" is not a number"]
        );
    }

    #[test]
    fn restarts_name_process_unit_and_files() {
        let mapped = "1000-2000 r-xp 00000000 08:01 7 /usr/lib/libssl.so.3 (deleted)\n";
        let (folder, host) = recording(
            &[
                ("proc/1/maps", "1000-2000 r-xp 00000000 08:01 7 /usr/lib/systemd/systemd\n"),
                ("proc/20/maps", mapped),
                ("proc/20/cgroup", "0::/system.slice/nginx.service\n"),
                ("proc/20/comm", "nginx\n"),
                ("proc/9/maps", mapped),
                ("proc/self/maps", mapped),
                ("usr/sbin/needrestart", ""),
            ],
            &[(&["needrestart", "-b"], 0, "NEEDRESTART-VER: 3.6\n")],
        );
        let exe = folder.path().join("root/proc/9/exe");
        std::os::unix::fs::symlink("/usr/sbin/cron (deleted)", exe).unwrap();
        let answer = restarts(&host).unwrap();
        let process = |pid, unit: Option<&str>, program: &str| StaleProcess {
            pid,
            unit: unit.map(str::to_owned),
            program: program.into(),
            files: vec!["/usr/lib/libssl.so.3".into()],
        };
        assert_eq!(
            answer.processes,
            [process(9, None, "/usr/sbin/cron"), process(20, Some("nginx.service"), "nginx")]
        );
        assert_eq!(answer.needrestart.unwrap().stdout, "NEEDRESTART-VER: 3.6\n");
        assert_eq!((answer.more, answer.unreadable, answer.fault), (0, 0, None));
    }
}

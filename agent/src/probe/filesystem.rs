//! How full file systems are.
//!
//! A file system may take for ever to answer: a network server that is away, a disk that is dying.
//! So a thread asks, and the probe waits for it only so long. A mount that does not answer keeps
//! that thread; it is left alone and shown as faulty until it does answer, and another thread asks
//! the others.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use upkeep_model::Observation;

use super::mounts::{self, Mount};
use super::{Faults, Probe, ProbeError};
use crate::host::{FilesystemUsage, Host, HostError};

/// What is not stored anywhere, or is seen elsewhere too: node_exporter's default choice.
const LEFT_OUT_KINDS: [&str; 25] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

/// Places at and below which nothing is shown, as node_exporter has them.
const LEFT_OUT_PLACES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Places below which, from one level on, nothing is shown, as node_exporter has them.
const LEFT_OUT_BELOW: [&str; 3] =
    ["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];

/// What a stuck mount is labelled with, in node_exporter's words.
const STUCK: &str = "mountpoint timeout";

/// How many questions and answers may wait: each is answered before the next one is asked.
const QUEUE: usize = 1;

/// Which file systems are shown, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct FilesystemSettings {
    /// Which places to leave out.
    pub leaves_out_place: fn(&str) -> bool,
    /// Which kinds of file system to leave out.
    pub leaves_out_kind: fn(&str) -> bool,
    /// How long one file system may take to answer.
    pub patience: Duration,
}

impl Default for FilesystemSettings {
    fn default() -> Self {
        Self {
            leaves_out_place: is_left_out_place,
            leaves_out_kind: |kind| LEFT_OUT_KINDS.contains(&kind),
            patience: Duration::from_secs(2),
        }
    }
}

/// Size and state of every file system that stores something.
#[derive(Debug, Default)]
pub struct FilesystemProbe {
    settings: FilesystemSettings,
    askers: Mutex<Askers>,
}

impl FilesystemProbe {
    /// A probe with settings of its own.
    pub fn new(settings: FilesystemSettings) -> Self {
        Self { settings, askers: Mutex::default() }
    }

    fn shown(&self, mounts: Vec<Mount>) -> Vec<Mount> {
        let mut seen = HashSet::new();
        mounts
            .into_iter()
            .filter(|mount| !(self.settings.leaves_out_place)(&mount.mount_point))
            .filter(|mount| !(self.settings.leaves_out_kind)(&mount.kind))
            .filter(|mount| {
                let Mount { device, mount_point, kind, .. } = mount;
                seen.insert([device.clone(), mount_point.clone(), kind.clone()])
            })
            .collect()
    }
}

impl Probe for FilesystemProbe {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        let mounts = self.shown(mounts::read(host, &mut faults)?);
        let mut askers = self.askers.lock().unwrap_or_else(PoisonError::into_inner);
        askers.forget_recovered();
        for mount in &mounts {
            let (host, mount_point) = (host.clone(), mount.mount_point.clone());
            let question = Box::new(move || host.filesystem(&mount_point));
            match askers.ask(&mount.mount_point, question, self.settings.patience) {
                Ok(Ok(usage)) => observe_usage(mount, usage, out),
                Ok(Err(error)) => {
                    observe_state(mount, &cause(&error), out);
                    faults.note(error);
                }
                Err(Stuck) => {
                    observe_state(mount, STUCK, out);
                    faults.note(ProbeError::Stuck { mount_point: mount.mount_point.clone() });
                }
            }
        }
        faults.into_result()
    }
}

fn is_left_out_place(place: &str) -> bool {
    LEFT_OUT_PLACES.iter().any(|start| {
        place.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }) || LEFT_OUT_BELOW
        .iter()
        .any(|start| place.strip_prefix(start).is_some_and(|rest| !rest.is_empty()))
}

/// What went wrong, without the path and as short as node_exporter's label has it.
fn cause(error: &HostError) -> String {
    let HostError::Read { source, .. } = error else { return error.to_string() };
    let text = source.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn observe_state(mount: &Mount, error: &str, out: &mut Observation) {
    let labels = labels(mount, error);
    out.gauge(
        "node_filesystem_device_error",
        "1 for a file system that could not be asked.",
        &labels,
        f64::from(u8::from(!error.is_empty())),
    );
    out.gauge(
        "node_filesystem_readonly",
        "1 for a file system that refuses writes.",
        &labels,
        f64::from(u8::from(mount.read_only)),
    );
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
fn observe_usage(mount: &Mount, usage: FilesystemUsage, out: &mut Observation) {
    observe_state(mount, "", out);
    let labels = labels(mount, "");
    let bytes = |blocks: u64| blocks as f64 * usage.block_bytes as f64;
    let values = [
        ("node_filesystem_size_bytes", "Size of a file system.", bytes(usage.blocks)),
        ("node_filesystem_free_bytes", "Free space of a file system.", bytes(usage.blocks_free)),
        (
            "node_filesystem_avail_bytes",
            "Space of a file system that users without privileges may take.",
            bytes(usage.blocks_available),
        ),
        ("node_filesystem_files", "Inodes of a file system.", usage.inodes as f64),
        ("node_filesystem_files_free", "Free inodes of a file system.", usage.inodes_free as f64),
    ];
    for (metric, help, value) in values {
        out.gauge(metric, help, &labels, value);
    }
    let labels = [
        ("device", mount.device.as_str()),
        ("major", &mount.major),
        ("minor", &mount.minor),
        ("mountpoint", &mount.mount_point),
    ];
    out.gauge("node_filesystem_mount_info", "Where a device is mounted.", &labels, 1.0);
}

fn labels<'mount>(mount: &'mount Mount, error: &'mount str) -> [(&'static str, &'mount str); 4] {
    [
        ("device", &mount.device),
        ("mountpoint", &mount.mount_point),
        ("fstype", &mount.kind),
        ("device_error", error),
    ]
}

/// A file system has not answered in time.
#[derive(Debug, PartialEq, Eq)]
struct Stuck;

type Answer = Result<FilesystemUsage, HostError>;

type Question = Box<dyn FnOnce() -> Answer + Send>;

/// The threads that ask. They end when the probe is dropped; one that is stuck ends when its file
/// system answers, since nothing can wake it before.
#[derive(Debug, Default)]
struct Askers {
    idle: Option<Asker>,
    stuck: HashMap<String, Asker>,
}

#[derive(Debug)]
struct Asker {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

impl Asker {
    fn start() -> Option<Self> {
        let (questions, asked) = mpsc::sync_channel::<Question>(QUEUE);
        let (answer, answers) = mpsc::sync_channel(QUEUE);
        let work = move || {
            for question in asked {
                if answer.send(question()).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("file systems".to_owned()).spawn(work).ok()?;
        Some(Self { questions, answers })
    }
}

impl Askers {
    /// Asks one file system, or finds it stuck.
    fn ask(
        &mut self,
        mount_point: &str,
        question: Question,
        patience: Duration,
    ) -> Result<Answer, Stuck> {
        if self.stuck.contains_key(mount_point) {
            return Err(Stuck);
        }
        let Some(asker) = self.idle.take().or_else(Asker::start) else { return Err(Stuck) };
        if asker.questions.send(question).is_err() {
            return Err(Stuck);
        }
        match asker.answers.recv_timeout(patience) {
            Ok(answer) => {
                self.idle = Some(asker);
                Ok(answer)
            }
            Err(RecvTimeoutError::Timeout) => {
                self.stuck.insert(mount_point.to_owned(), asker);
                Err(Stuck)
            }
            Err(RecvTimeoutError::Disconnected) => Err(Stuck),
        }
    }

    /// Takes back the threads whose file systems have answered meanwhile.
    fn forget_recovered(&mut self) {
        let idle = &mut self.idle;
        let recovered: Vec<String> = self
            .stuck
            .iter()
            .filter(|(_, asker)| !matches!(asker.answers.try_recv(), Err(TryRecvError::Empty)))
            .map(|(mount_point, _)| mount_point.clone())
            .collect();
        for mount_point in recovered {
            let asker = self.stuck.remove(&mount_point);
            *idle = idle.take().or(asker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::{host_with, page_of};

    const MINUTE: Duration = Duration::from_secs(60);

    fn usage(blocks: u64) -> FilesystemUsage {
        FilesystemUsage {
            block_bytes: 4096,
            blocks,
            blocks_free: 0,
            blocks_available: 0,
            inodes: 0,
            inodes_free: 0,
        }
    }

    #[test]
    fn a_stuck_mount_does_not_hold_up_the_others_and_comes_back() {
        let mut askers = Askers::default();
        let (release, wait) = mpsc::channel::<()>();
        let (ended, end) = mpsc::channel::<()>();
        let stuck = Box::new(move || {
            let _ended = ended;
            wait.recv().unwrap();
            Ok(usage(1))
        });
        assert!(askers.ask("/net", stuck, Duration::from_millis(20)).is_err());
        let other = askers.ask("/", Box::new(|| Ok(usage(2))), MINUTE).unwrap().unwrap();
        assert_eq!(other.blocks, 2);
        askers.forget_recovered();
        let again = askers.ask("/net", Box::new(|| Ok(usage(3))), MINUTE);
        assert!(again.is_err(), "asked again while it is stuck");
        release.send(()).unwrap();
        end.recv().unwrap_err();
        while askers.stuck.contains_key("/net") {
            askers.forget_recovered();
        }
        let back = askers.ask("/net", Box::new(|| Ok(usage(4))), MINUTE).unwrap().unwrap();
        assert_eq!(back.blocks, 4);
    }

    #[test]
    fn node_exporters_places_are_left_out() {
        let check = |place: &str, expect: bool| {
            assert_eq!(is_left_out_place(place), expect, "{place}");
        };
        for place in
            ["/dev", "/dev/shm", "/proc/fs", "/sys", "/run/credentials/x", "/var/lib/docker/a/b"]
        {
            check(place, true);
        }
        for place in ["/", "/device", "/home", "/run", "/run/credentials", "/var/lib/docker"] {
            check(place, false);
        }
    }

    #[test]
    fn a_file_system_that_cannot_be_asked_is_shown_as_faulty() {
        let table = b"29 1 259:2 / /gone rw - ext4 /dev/sda1 ro\n1 1 0:2 / /sys rw - sysfs s rw\n\
            29 1 259:2 / /gone rw - ext4 /dev/sda1 ro\n";
        let (_folder, host) = host_with(&[("proc/self/mountinfo", table)]);
        let mut out = Observation::at(0);
        let error = FilesystemProbe::default().observe(&host, &mut out).unwrap_err();
        assert!(error.to_string().contains("/gone: "), "{error}");
        let labels = "device=\"/dev/sda1\",device_error=\"no such file or directory\",\
            fstype=\"ext4\",mountpoint=\"/gone\"";
        assert_eq!(
            page_of(&out),
            [
                format!("node_filesystem_device_error{{{labels}}} 1"),
                format!("node_filesystem_readonly{{{labels}}} 1"),
            ]
        );
    }
}

//! The agent's questions to systemd over a real message bus: Debian's `dbus-daemon`, on which a small
//! service plays systemd.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use upkeep_agent::host::{Host, HostPaths};
use upkeep_agent::probe::{Probe, SystemdDetail, SystemdProbe, UnitChoice};
use upkeep_agent::systemd;
use upkeep_model::Observation;

/// Everybody may do everything on this bus; the one of a real system lets everybody ask systemd.
const BUS_CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC
 "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
  </policy>
</busconfig>"#;

/// The units that the service has: name, whether it is loaded, how it is.
const UNITS: [(&str, &str, &str); 7] = [
    ("cron.service", "loaded", "active"),
    ("nginx.service", "loaded", "failed"),
    ("gone.service", "not-found", "inactive"),
    ("srv.mount", "loaded", "failed"),
    ("apt-daily.timer", "loaded", "active"),
    ("dbus.socket", "loaded", "active"),
    ("odd.service", "loaded", "maintenance"),
];

/// A bus with a systemd on it, in a folder that is the root of a host.
struct Bus {
    root: tempfile::TempDir,
    daemon: Daemon,
}

/// The program, which ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Bus {
    /// `None` where there is no `dbus-daemon`, which is said.
    fn start() -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/dbus")).unwrap();
        fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        let daemon = Self::daemon(root.path())?;
        Some(Self { root, daemon })
    }

    fn daemon(root: &Path) -> Option<Daemon> {
        let socket = socket(root);
        let configuration = root.join("bus.conf");
        let text = BUS_CONFIGURATION.replace("SOCKET", socket.to_str().unwrap());
        fs::write(&configuration, text).unwrap();
        let spawned = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg("--print-address")
            .arg(format!("--config-file={}", configuration.display()))
            .stdout(Stdio::piped())
            // It says that it may not raise a limit, which does not matter here.
            .stderr(Stdio::null())
            .spawn();
        let Ok(daemon) = spawned else {
            eprintln!("skipped: there is no dbus-daemon");
            return None;
        };
        let mut daemon = Daemon(daemon);
        let mut address = String::new();
        BufReader::new(daemon.0.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:"), "{address:?}");
        Service::start(&socket);
        Some(daemon)
    }

    fn host(&self) -> Host {
        let paths = HostPaths { rootfs: self.root.path().into(), ..HostPaths::default() };
        Host::new(paths)
    }
}

fn socket(root: &Path) -> PathBuf {
    root.join("run/dbus/system_bus_socket")
}

/// Plays systemd until the bus ends.
struct Service {
    stream: UnixStream,
    serial: u32,
}

impl Service {
    fn start(socket: &Path) {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").unwrap();
        let mut greeting = Vec::new();
        while !greeting.windows(3).any(|some| some == b"OK ") || !greeting.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            greeting.push(byte[0]);
        }
        let mut service = Self { stream, serial: 0 };
        service.call("Hello", |_| "");
        service.call("RequestName", |body| {
            text(body, "org.freedesktop.systemd1");
            pad(body, 4);
            body.extend(4_u32.to_le_bytes());
            "su"
        });
        for _ in 0..2 {
            while service.receive().unwrap().kind != 2 {}
        }
        thread::spawn(move || {
            while let Some(call) = service.receive() {
                if call.kind == 1 {
                    service.answer(&call);
                }
            }
        });
    }

    fn answer(&mut self, call: &Received) {
        let mut body = Vec::new();
        let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
        let signature = match (call.member.as_str(), &words[..]) {
            ("ListUnits", []) => list(&mut body, |_| true),
            ("ListUnitsFiltered", [state]) => list(&mut body, |is| is == *state),
            ("Get", [_, name]) => property(&mut body, &call.path, name),
            other => panic!("systemd was asked {other:?}"),
        };
        let fields = |out: &mut Vec<u8>| {
            if signature.is_empty() {
                field(out, 4, 's', "org.freedesktop.DBus.Error.UnknownProperty");
            }
            number_field(out, 5, call.serial);
            field(out, 6, 's', &call.sender);
        };
        let (kind, signature) = match signature {
            "" => {
                text(&mut body, "there is none");
                (3, "s")
            }
            signature => (2, signature),
        };
        self.send(kind, fields, signature, &body);
    }

    /// Calls a method of the bus itself.
    fn call(&mut self, member: &str, arguments: fn(&mut Vec<u8>) -> &'static str) {
        let mut body = Vec::new();
        let signature = arguments(&mut body);
        let fields = |out: &mut Vec<u8>| {
            field(out, 1, 'o', "/org/freedesktop/DBus");
            field(out, 2, 's', "org.freedesktop.DBus");
            field(out, 3, 's', member);
            field(out, 6, 's', "org.freedesktop.DBus");
        };
        self.send(1, fields, signature, &body);
    }

    fn send(&mut self, kind: u8, fields: impl Fn(&mut Vec<u8>), signature: &str, body: &[u8]) {
        self.serial += 1;
        let mut out = vec![b'l', kind, 0, 1];
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        out.extend([0; 4]);
        fields(&mut out);
        if !signature.is_empty() {
            pad(&mut out, 8);
            out.extend([8, 1, b'g', 0, signature.len() as u8]);
            out.extend(signature.bytes());
            out.push(0);
        }
        let length = (out.len() as u32 - 16).to_le_bytes();
        out[12..16].copy_from_slice(&length);
        pad(&mut out, 8);
        out.extend(body);
        // The bus may have ended, and with it the test.
        drop(self.stream.write_all(&out));
    }

    fn receive(&mut self) -> Option<Received> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head).ok()?;
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (body, fields) = (number(4) as usize, number(12) as usize);
        let mut rest = vec![0; (16 + fields).next_multiple_of(8) - 16 + body];
        self.stream.read_exact(&mut rest).ok()?;
        let mut received = Received { kind: head[1], serial: number(8), ..Received::default() };
        let (mut at, end) = (0, fields);
        while at < end {
            at = at.next_multiple_of(8);
            let (code, kind) = (rest[at], rest[at + 2]);
            at += 4;
            match kind {
                b'u' => at += 4,
                b'g' => at += rest[at] as usize + 2,
                _ => {
                    let value = take_text(&rest, &mut at);
                    match code {
                        1 => received.path = value,
                        3 => received.member = value,
                        7 => received.sender = value,
                        _ => {}
                    }
                }
            }
        }
        let body = &rest[rest.len() - body..];
        // A list of texts begins with its length in bytes, which is no text's.
        let mut at = if received.member == "ListUnitsFiltered" { 4 } else { 0 };
        while at < body.len() && received.kind == 1 {
            received.words.push(take_text(body, &mut at));
            at = at.next_multiple_of(4);
        }
        Some(received)
    }
}

#[derive(Default)]
struct Received {
    kind: u8,
    serial: u32,
    path: String,
    member: String,
    sender: String,
    words: Vec<String>,
}

fn list(body: &mut Vec<u8>, matches: impl Fn(&str) -> bool) -> &'static str {
    body.extend([0; 4]);
    pad(body, 8);
    let begin = body.len();
    for (name, load, active) in UNITS.iter().filter(|(_, _, active)| matches(active)) {
        pad(body, 8);
        for word in [name, "A unit", load, active, "detail", "", &path_of(name)] {
            text(body, word);
        }
        pad(body, 4);
        body.extend(0_u32.to_le_bytes());
        text(body, "");
        text(body, "/");
    }
    let length = ((body.len() - begin) as u32).to_le_bytes();
    body[..4].copy_from_slice(&length);
    "a(ssssssouso)"
}

/// Writes a property; an empty signature says that there is none.
fn property(body: &mut Vec<u8>, path: &str, name: &str) -> &'static str {
    let unit = UNITS.iter().map(|(unit, ..)| *unit).find(|unit| path_of(unit) == path);
    match (unit, name) {
        (None, "Version") => variant_text(body, "252.39-1~deb12u1"),
        (None, "Virtualization") => variant_text(body, ""),
        (None, "SystemState") => variant_text(body, "degraded"),
        (Some("srv.mount"), "Type") => variant_text(body, "ext4"),
        (Some(_), "Type") => variant_text(body, "notify"),
        (Some("nginx.service"), "NRestarts") => variant_number(body, 5),
        (Some(_), "NRestarts" | "NRefused") => variant_number(body, 0),
        (Some(_), "NAccepted") => variant_number(body, 9),
        (Some(_), "NConnections") => variant_number(body, 2),
        (Some(_), "LastTriggerUSec") => variant_long(body, 1_700_000_000_500_000),
        (Some(_), "ActiveEnterTimestamp") => variant_long(body, 1_600_000_000_000_000),
        (Some("cron.service"), "TasksCurrent") => variant_long(body, 3),
        (Some(_), "TasksCurrent" | "TasksMax") => variant_long(body, u64::MAX),
        _ => return "",
    }
    "v"
}

fn path_of(unit: &str) -> String {
    format!("/org/freedesktop/systemd1/unit/{}", unit.replace(['.', '-'], "_"))
}

fn variant_text(body: &mut Vec<u8>, value: &str) {
    body.extend(b"\x01s\0");
    text(body, value);
}

fn variant_number(body: &mut Vec<u8>, value: u32) {
    body.extend(b"\x01u\0\0");
    body.extend(value.to_le_bytes());
}

fn variant_long(body: &mut Vec<u8>, value: u64) {
    body.extend(b"\x01t\0");
    pad(body, 8);
    body.extend(value.to_le_bytes());
}

fn field(out: &mut Vec<u8>, code: u8, kind: char, value: &str) {
    pad(out, 8);
    out.extend([code, 1, kind as u8, 0]);
    text(out, value);
}

fn number_field(out: &mut Vec<u8>, code: u8, value: u32) {
    pad(out, 8);
    out.extend([code, 1, b'u', 0]);
    out.extend(value.to_le_bytes());
}

fn text(out: &mut Vec<u8>, value: &str) {
    pad(out, 4);
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value.bytes());
    out.push(0);
}

fn take_text(bytes: &[u8], at: &mut usize) -> String {
    let length = u32::from_le_bytes(bytes[*at..*at + 4].try_into().unwrap()) as usize;
    let begin = *at + 4;
    *at = begin + length + 1;
    String::from_utf8(bytes[begin..begin + length].to_vec()).unwrap()
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

fn page(probe: &SystemdProbe, host: &Host, at_ms: i64) -> Result<Vec<String>, String> {
    let mut out = Observation::at(at_ms);
    probe.observe(host, &mut out).map_err(|error| error.to_string())?;
    let mut page = Vec::new();
    upkeep_agent::exposition::write(&out, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let mut lines: Vec<String> =
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

const BY_DEFAULT: [&str; 13] = [
    r#"node_systemd_service_restart_total{name="nginx.service"} 5"#,
    "node_systemd_system_running 0",
    r#"node_systemd_timer_last_trigger_seconds{name="apt-daily.timer"} 1.7000000005e+09"#,
    r#"node_systemd_unit_state{name="nginx.service",state="failed",type="notify"} 1"#,
    r#"node_systemd_unit_state{name="srv.mount",state="failed",type="ext4"} 1"#,
    r#"node_systemd_units{state="activating"} 0"#,
    r#"node_systemd_units{state="active"} 3"#,
    r#"node_systemd_units{state="deactivating"} 0"#,
    r#"node_systemd_units{state="failed"} 2"#,
    r#"node_systemd_units{state="inactive"} 1"#,
    r#"node_systemd_units{state="maintenance"} 1"#,
    r#"node_systemd_version{version="252.39-1~deb12u1"} 252.39"#,
    r#"node_systemd_virtualization_info{virtualization_type="none"} 1"#,
];

#[test]
fn what_failed_and_what_was_restarted_is_told_by_default() {
    let Some(bus) = Bus::start() else { return };
    let host = bus.host();
    assert_eq!(page(&SystemdProbe::default(), &host, 1_000).unwrap(), BY_DEFAULT);
    let failed = systemd::failed_units(&host).unwrap();
    let names: Vec<_> = failed.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["nginx.service", "srv.mount"]);
}

#[test]
fn every_unit_is_told_where_that_is_asked_for() {
    let Some(bus) = Bus::start() else { return };
    let page =
        page(&SystemdProbe::new(SystemdDetail::Units, UnitChoice::default()), &bus.host(), 1_000)
            .unwrap();
    let of = |start: &str| -> Vec<&str> {
        let lines = page.iter().map(String::as_str);
        lines.filter(|line| line.starts_with(start) && !line.contains("_units{")).collect()
    };
    assert_eq!(
        of("node_systemd_socket"),
        [
            r#"node_systemd_socket_accepted_connections_total{name="dbus.socket"} 9"#,
            r#"node_systemd_socket_current_connections{name="dbus.socket"} 2"#,
            r#"node_systemd_socket_refused_connections_total{name="dbus.socket"} 0"#,
        ]
    );
    assert_eq!(
        of("node_systemd_unit_tasks"),
        [r#"node_systemd_unit_tasks_current{name="cron.service"} 3"#]
    );
    assert_eq!(
        of("node_systemd_unit_start_time_seconds"),
        [
            r#"node_systemd_unit_start_time_seconds{name="apt-daily.timer"} 1.6e+09"#,
            r#"node_systemd_unit_start_time_seconds{name="cron.service"} 1.6e+09"#,
            r#"node_systemd_unit_start_time_seconds{name="dbus.socket"} 1.6e+09"#,
            r#"node_systemd_unit_start_time_seconds{name="nginx.service"} 0"#,
            r#"node_systemd_unit_start_time_seconds{name="odd.service"} 0"#,
        ]
    );
    // Five states of each unit that is loaded and of no type that is left out, and the mount that
    // failed.
    assert_eq!(of("node_systemd_unit_state").len(), 5 * 5 + 1);
    let one = r#"node_systemd_unit_state{name="cron.service",state="active",type="notify"} 1"#;
    assert!(page.iter().any(|line| line == one), "{page:#?}");
}

#[test]
fn units_are_left_out_by_their_names() {
    let Some(bus) = Bus::start() else { return };
    let names = |include: &[&str], exclude: Option<&[&str]>, detail: SystemdDetail| {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let choice = UnitChoice { include: patterns(include), exclude: exclude.map(patterns) };
        let page = page(&SystemdProbe::new(detail, choice), &bus.host(), 1_000).unwrap();
        let is_sum = |line: &&String| line.contains("_units{state=\"failed\"} 2");
        assert_eq!(page.iter().filter(is_sum).count(), 1, "sums are of all units: {page:#?}");
        let name =
            |line: &String| Some(line.split_once("{name=\"")?.1.split_once('"')?.0.to_owned());
        page.iter().filter_map(name).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let (events, units) = (SystemdDetail::Events, SystemdDetail::Units);
    assert_eq!(names(&[], None, events), ["apt-daily.timer", "nginx.service", "srv.mount"]);
    assert_eq!(names(&[r".+\.service"], None, events), ["nginx.service"]);
    assert_eq!(names(&[], Some(&["nginx.*"]), events), ["apt-daily.timer", "srv.mount"]);
    let expect = ["apt-daily.timer", "dbus.socket", "srv.mount"];
    assert_eq!(names(&[], Some(&[r".+\.service"]), units), expect);
}

#[test]
fn an_answer_holds_for_a_minute_and_a_bus_that_was_restarted_is_found_again() {
    let Some(mut bus) = Bus::start() else { return };
    let (host, probe) = (bus.host(), SystemdProbe::default());
    assert_eq!(page(&probe, &host, 1_000).unwrap(), BY_DEFAULT);
    bus.daemon.0.kill().unwrap();
    bus.daemon.0.wait().unwrap();
    assert_eq!(page(&probe, &host, 60_999).unwrap(), BY_DEFAULT);
    let error = page(&probe, &host, 61_000).unwrap_err();
    assert!(error.contains("the system bus: "), "{error}");
    fs::remove_file(socket(bus.root.path())).unwrap();
    assert!(page(&probe, &host, 121_000).unwrap().is_empty(), "a host without a bus");
    bus.daemon = Bus::daemon(bus.root.path()).unwrap();
    assert_eq!(page(&probe, &host, 181_000).unwrap(), BY_DEFAULT);
}

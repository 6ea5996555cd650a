//! The program itself, as a shell starts it.

#[cfg(target_os = "linux")]
use std::io::{Read, Write};
#[cfg(target_os = "linux")]
use std::os::{fd::OwnedFd, unix::net::UnixStream};
use std::process::{Command, Stdio};

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    let state = tempfile::tempdir().unwrap();
    let config = state.path().join("agent.toml");
    std::fs::write(&config, "").unwrap();
    let replay = state.path().join("replay");
    std::fs::create_dir_all(replay.join("root")).unwrap();
    std::fs::write(replay.join("commands.jsonl"), "").unwrap();
    for command in [&["check-config"][..], &["metrics"], &["updates"], &["updates", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut agent = Command::new(env!("CARGO_BIN_EXE_upkeep-agent"));
        agent.arg("--config").arg(&config).arg("--replay").arg(&replay).args(command);
        let ended = agent.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success() && !said.contains("pipe"), "{command:?}: {said}");
    }
}

/// As systemd starts it: one question on standard input, a socket.
#[cfg(target_os = "linux")]
#[test]
fn the_helper_answers_what_the_configuration_leaves_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("agent.toml");
    let replay = folder.path().join("replay");
    for below in ["root/etc", "root/sys/class/dmi/id"] {
        std::fs::create_dir_all(replay.join(below)).unwrap();
    }
    std::fs::write(replay.join("commands.jsonl"), "").unwrap();
    std::fs::write(replay.join("root/sys/class/dmi/id/product_uuid"), "4711\n").unwrap();
    let user = rustix::process::geteuid().as_raw();
    let users = format!("upkeep-agent:x:{user}:{user}::/:\n");
    std::fs::write(replay.join("root/etc/passwd"), users).unwrap();
    let check = |configuration: &str, expect: &str| {
        std::fs::write(&config, configuration).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let start = |socket: OwnedFd| {
            let mut agent = Command::new(env!("CARGO_BIN_EXE_upkeep-agent"));
            agent.arg("--config").arg(&config).arg("--replay").arg(&replay).arg("helper");
            agent.stdin(socket).stderr(Stdio::piped()).spawn().unwrap()
        };
        let agent = start(theirs.into());
        ours.write_all(b"{\"version\":1,\"verb\":\"dmi\"}\n").unwrap();
        let ended = agent.wait_with_output().unwrap();
        let mut said = String::new();
        ours.read_to_string(&mut said).unwrap();
        assert!(said.contains(expect), "{configuration:?}: {said}{ended:?}");
    };
    check("", "\"product_uuid\":\"4711\"");
    check("[helper]\nverbs = [\"smart\", \"dmi\"]\n", "\"product_uuid\":\"4711\"");
    check("[helper]\nverbs = [\"smart\"]\n", "dmi is switched off in the configuration");
    check("[helper]\nverbs = []\n", "dmi is switched off in the configuration");
}

//! What package managers and other programs print, and the recordings that hold it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Value, json};
use upkeep_agent::host::Host;
use upkeep_agent::patch;
use upkeep_tests::fuzz;

/// What `needrestart` says in its batch mode of a host where much is due.
const NEEDRESTART: &str = "NEEDRESTART-VER: 3.6\nNEEDRESTART-KCUR: 6.1.0-9-amd64\n\
    NEEDRESTART-KEXP: 6.1.0-10-amd64\nNEEDRESTART-KSTA: 3\nNEEDRESTART-UCSTA: 2\n\
    NEEDRESTART-UCCUR: 0x1\nNEEDRESTART-UCEXP: 0x2\nNEEDRESTART-SVC: ssh.service\n\
    NEEDRESTART-SESS: root @ session #1\n";

/// This project's recordings, in a folder of their own each, with an answer of `needrestart` added.
fn recordings(work: &Path) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recordings = entries.filter(|path| path.join("commands.jsonl").exists());
    let copies: Vec<PathBuf> = recordings
        .map(|recording| {
            let copy = work.join(recording.file_name().unwrap());
            let status = Command::new("cp").arg("-a").arg(recording).arg(&copy).status();
            assert!(status.unwrap().success());
            let added = json!({"argv": ["needrestart", "-b"], "exit": 0, "stdout": NEEDRESTART});
            let commands = copy.join("commands.jsonl");
            let text = fs::read_to_string(&commands).unwrap();
            fs::write(commands, format!("{}\n{added}\n", text.trim_end())).unwrap();
            copy
        })
        .collect();
    assert!(!copies.is_empty());
    copies
}

fn report(recording: &Path) {
    if let Ok(host) = Host::replay(recording) {
        drop(patch::report(&host, 0, &mut patch::Memory::default()));
    }
}

#[test]
fn spoilt_answers_of_package_managers_are_survived() {
    let work = tempfile::tempdir().unwrap();
    let copies = recordings(work.path());
    let answers = prop::collection::vec(prop::option::of(fuzz::spoils()), 1..=8);
    let cases = (prop::sample::select(copies), answers);
    fuzz::survive("package managers", 48, &cases, |(recording, answers)| {
        let commands = recording.join("commands.jsonl");
        let text = fs::read_to_string(&commands).unwrap();
        // The spoilings are dealt out to the answers in turn.
        let lines = text.lines().zip(answers.iter().cycle());
        let spoilt: String =
            lines.map(|(line, spoils)| spoil_answer(line, spoils.as_deref())).collect();
        let _changed = crate::Changed::to(&commands, text.clone().into_bytes(), spoilt.as_bytes());
        report(&recording);
    });
}

/// A recorded command with its output spoilt.
fn spoil_answer(line: &str, spoils: Option<&[fuzz::Spoil]>) -> String {
    let mut command: Value = serde_json::from_str(line).unwrap();
    for stream in ["stdout", "stderr"] {
        if let (Some(text), Some(spoils)) = (command[stream].as_str(), spoils) {
            let bytes = fuzz::spoilt(text.as_bytes(), spoils);
            command[stream] = String::from_utf8_lossy(&bytes).into_owned().into();
        }
    }
    format!("{command}\n")
}

#[test]
fn spoilt_recordings_are_survived() {
    let work = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    for recording in recordings(work.path()) {
        let usage = json!({"mount_point": "/", "block_bytes": 4096, "blocks": 9, "blocks_free": 5,
            "blocks_available": 4, "inodes": 7, "inodes_free": 3});
        fs::write(recording.join("filesystems.jsonl"), format!("{usage}\n")).unwrap();
        fs::write(recording.join("recorded_at"), "2026-11-22T01:02:03Z\n").unwrap();
        let names = ["commands.jsonl", "filesystems.jsonl", "recorded_at"];
        files.extend(names.map(|name| recording.join(name)));
    }
    let cases = (prop::sample::select(files), fuzz::spoils());
    fuzz::survive("recordings", 32, &cases, |(file, spoils)| {
        let good = fs::read(&file).unwrap();
        let spoilt = fuzz::spoilt(&good, &spoils);
        let _changed = crate::Changed::to(&file, good, &spoilt);
        report(file.parent().unwrap());
    });
}

//! The program itself, as a shell starts it.

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

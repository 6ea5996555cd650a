//! Runs this same program as the agent's user, where an administrator enrolls as root.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use upkeep_wire::Token;

use super::arguments::{Arguments, EnrollArguments};

/// This program, also when an update has just replaced its file.
#[cfg(target_os = "linux")]
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Enrolls as the agent's user; `false` if this process is to do that itself.
pub(super) fn enroll(
    state_dir: &Path,
    arguments: &Arguments,
    given: &EnrollArguments,
    token: &Token,
) -> Result<bool> {
    let Some(user) = agents_user(state_dir)? else { return Ok(false) };
    enroll_as(user, arguments, given, token)?;
    Ok(true)
}

/// A user with a group, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    id: u32,
    group: u32,
}

/// The user to become: who owns the state folder, as the package makes it. `None` if that is root,
/// if there is no folder yet, or if this process is not root.
fn agents_user(state_dir: &Path) -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    match fs::metadata(state_dir) {
        Ok(owner) if owner.uid() == 0 => Ok(None),
        Ok(owner) => Ok(Some(User { id: owner.uid(), group: owner.gid() })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| state_dir.display().to_string()),
    }
}

/// Runs this program as a user. Its supplementary groups go with root's other privileges.
fn enroll_as(
    user: User,
    arguments: &Arguments,
    given: &EnrollArguments,
    token: &Token,
) -> Result<()> {
    let mut command = Command::new(this_program()?);
    command.arg0("upkeep-agent").env_clear().uid(user.id).gid(user.group).stdin(Stdio::piped());
    // What is logged is the administrator's choice; nothing else of root's environment is passed on.
    command.envs(std::env::var_os("RUST_LOG").map(|filter| ("RUST_LOG", filter)));
    let paths = &arguments.paths;
    for (option, value) in [
        ("--config", &arguments.config),
        ("--replay", &arguments.replay),
        ("--path.rootfs", &paths.rootfs),
        ("--path.procfs", &paths.procfs),
        ("--path.sysfs", &paths.sysfs),
        ("--path.udev.data", &paths.udev_data),
    ] {
        if let Some(value) = value {
            command.arg(option).arg(value);
        }
    }
    command.args(["enroll", "--token-file", "-"]);
    if given.force {
        command.arg("--force");
    }
    let status = run_with_input(&mut command, &token.to_text())
        .with_context(|| format!("this program cannot be run as user {}", user.id))?;
    if !status.success() {
        bail!("enrolling as user {}, who owns the state folder, failed", user.id);
    }
    Ok(())
}

fn run_with_input(command: &mut Command, input: &str) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let status = child.wait()?;
    match written {
        // Whoever ends before it has read everything has said why.
        Err(error) if status.success() => Err(error),
        _ => Ok(status),
    }
}

#[cfg(target_os = "linux")]
fn this_program() -> io::Result<PathBuf> {
    Ok(THIS_PROGRAM.into())
}

#[cfg(not(target_os = "linux"))]
fn this_program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_the_state_folder_is_the_agents_user() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give folders away");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, expect: Option<(u32, u32)>| {
            let user = agents_user(path).unwrap();
            assert_eq!(user.map(|user| (user.id, user.group)), expect);
        };
        check(folder.path(), None);
        check(&folder.path().join("none"), None);
        std::os::unix::fs::chown(folder.path(), Some(4711), Some(4712)).unwrap();
        check(folder.path(), Some((4711, 4712)));
    }

    #[test]
    fn the_other_program_gets_its_input_and_only_its_environment() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read -r line && [ \"$line\" = secret ] && [ -z \"$HOME\" ]"]);
        command.env_clear().stdin(Stdio::piped());
        assert!(run_with_input(&mut command, "secret\n").unwrap().success());
        let mut refuses = Command::new("/bin/false");
        let long = "x".repeat(1 << 20);
        assert!(!run_with_input(refuses.stdin(Stdio::piped()), &long).unwrap().success());
    }
}

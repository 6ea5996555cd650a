//! Commands of the operator's: programs of an allow-list, with arguments as a list and never by a shell,
//! an empty environment, a bounded time, and a bounded part of what they say.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time;

/// How much of what a command says is kept of each of its two streams.
const OUTPUT_BYTES: usize = 2048;

/// How long the streams of a command that has ended may stay open: somebody it started may hold them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// How.
    pub end: End,
    /// The beginning of what it printed, and of its errors behind it.
    pub output: String,
}

/// The end of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ended by itself, with this code.
    Code(i32),
    /// A signal ended it.
    Signal,
    /// It was ended since its time was up.
    TimedOut,
}

/// Why a program may not be run; `None` if it may.
pub fn refusal(program: &Path, allowed: &[PathBuf]) -> Option<String> {
    let name = program.display();
    if !program.is_absolute() {
        return Some(format!("`{name}` must be an absolute path"));
    }
    if allowed.iter().any(|one| one == program) {
        return None;
    }
    Some(format!("`{name}` is not in `alerts.allow_commands` of the collector's configuration"))
}

/// Runs a command with the given input, and ends it and whom it started once its time is up, or when
/// nobody waits for it any longer.
///
/// # Errors
/// When it cannot be started.
pub async fn run(
    program: &Path,
    arguments: &[String],
    input: &[u8],
    limit: Duration,
) -> io::Result<Ran> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut printed, mut errors) = (Vec::new(), Vec::new());
    let talk = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command that does not want its input closes it early.
                drop(stdin.write_all(input).await);
            }
        };
        let listen = keep_beginning(stdout, &mut printed);
        tokio::join!(feed, listen, keep_beginning(stderr, &mut errors));
    };
    let end = finish(&mut child, talk, &group, limit).await?;
    group.forget();
    Ok(Ran { end, output: text(&printed, &errors) })
}

/// Waits for the command's end, and for its last words.
async fn finish(
    child: &mut Child,
    talk: impl Future<Output = ()>,
    group: &Group,
    limit: Duration,
) -> io::Result<End> {
    let mut talk = std::pin::pin!(talk);
    let mut is_silent = false;
    let waiting = time::timeout(limit, async {
        tokio::select! {
            status = child.wait() => status,
            () = &mut talk => {
                is_silent = true;
                child.wait().await
            }
        }
    });
    let end = match waiting.await {
        Ok(status) => End::of(status?),
        Err(_) => End::TimedOut,
    };
    if end == End::TimedOut {
        group.end();
    }
    if !is_silent && time::timeout(LAST_WORDS, &mut talk).await.is_err() {
        group.end();
    }
    Ok(end)
}

impl End {
    fn of(status: ExitStatus) -> Self {
        status.code().map_or(Self::Signal, Self::Code)
    }
}

/// The command and all whom it started, as far as they stayed with it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self(number.and_then(Pid::from_raw))
    }

    fn end(&self) {
        if let Some(pid) = self.0 {
            // Whoever is gone already needs no signal.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps the beginning of a stream and reads the rest, so that nobody waits for a full pipe.
async fn keep_beginning(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
    }
}

fn text(printed: &[u8], errors: &[u8]) -> String {
    let texts = [printed, errors].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn shell(script: &str, input: &str, limit: Duration) -> Ran {
        let arguments = ["-c".to_owned(), script.to_owned()];
        run(Path::new("/bin/sh"), &arguments, input.as_bytes(), limit).await.unwrap()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn commands_end_in_every_way() {
        let check = async |script: &str, end: End, output: &str| {
            let ran = shell(script, "input", LONG).await;
            assert_eq!((ran.end, ran.output.as_str()), (end, output), "{script}");
        };
        check("cat", End::Code(0), "input").await;
        check("echo out; echo err >&2; exit 3", End::Code(3), "out\nerr").await;
        check("exec <&-; echo deaf", End::Code(0), "deaf").await;
        check("kill -TERM $$", End::Signal, "").await;
        check("env | grep -v -e ^PWD -e ^SHLVL -e ^_=; pwd", End::Code(0), "/").await;
    }

    #[tokio::test]
    async fn what_a_command_says_is_bounded_and_much_input_is_no_trouble() {
        let input = "x".repeat(3_000_000);
        let ran = shell("cat; cat /dev/zero | head -c 3000000 >&2; echo end", &input, LONG).await;
        assert_eq!(ran.end, End::Code(0));
        assert!(ran.output.len() <= 2 * OUTPUT_BYTES + 1, "{}", ran.output.len());
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("(sleep 1; touch {}) & echo begun; sleep 60", mark.display());
        let begun = Instant::now();
        let ran = shell(&script, "", Duration::from_millis(300)).await;
        assert_eq!((ran.end, ran.output.as_str()), (End::TimedOut, "begun"));
        assert!(begun.elapsed() < Duration::from_secs(10));
        time::sleep(Duration::from_millis(1_500)).await;
        assert!(!mark.exists(), "what it started goes on");
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_holds_up_nobody() {
        let begun = Instant::now();
        let ran = shell("sleep 60 & echo left", "", LONG).await;
        assert_eq!((ran.end, ran.output.as_str()), (End::Code(0), "left"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn only_programs_of_the_list_are_run() {
        let allowed = [PathBuf::from("/usr/local/bin/tell")];
        let check = |program: &str, is_refused: bool| {
            let refused = refusal(Path::new(program), &allowed);
            assert_eq!(refused.is_some(), is_refused, "{program}: {refused:?}");
        };
        check("/usr/local/bin/tell", false);
        check("/usr/local/bin/../bin/tell", true);
        check("/bin/sh", true);
        check("tell", true);
        let missing = run(Path::new("/no/such/program"), &[], b"", LONG).await;
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

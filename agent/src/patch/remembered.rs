//! Answers of package managers that are kept while nothing has changed on which they depend. An
//! answer takes seconds of a processor, and most hosts change once a day.

use std::fmt;

use crate::host::{EntryKind, Host, Stamp, Tree};

/// How long an answer holds at most while nothing has changed that is looked at.
const HOLDS_MS: i64 = 24 * 3600 * 1000;

/// A file or folder on which an answer depends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    /// Its place, relative to the root.
    path: &'static str,
    /// How many levels of folders below it count, too.
    levels: u8,
}

impl Input {
    /// One file, or a folder of which only its own entries count: it changes as they come and go.
    pub(super) const fn file(path: &'static str) -> Self {
        Self { path, levels: 0 }
    }

    /// A folder with what is in it, so many levels of folders deep.
    pub(super) const fn folder(path: &'static str, levels: u8) -> Self {
        Self { path, levels }
    }
}

/// The state of everything on which an answer depends: each place with its stamp, or none where it
/// is missing or may not be looked at.
pub(super) type State = Vec<(String, Option<Stamp>)>;

/// Looks at inputs. It must be done before the question is asked: what changes meanwhile is then
/// found to have changed the next time.
pub(super) fn look(host: &Host, inputs: impl IntoIterator<Item = Input>) -> State {
    let mut state = State::new();
    for Input { path, levels } in inputs {
        add(host, path.to_owned(), levels, &mut state);
    }
    state
}

/// Adds a place that is found only on the host, with what is in so many levels of folders below.
pub(super) fn add(host: &Host, path: String, levels: u8, state: &mut State) {
    let mut stamp = host.stamp(Tree::Root, &path).ok();
    if levels > 0
        && stamp.is_some_and(|stamp| !stamp.is_file)
        && let Ok(entries) = host.list(Tree::Root, &path)
    {
        for entry in entries {
            let below = format!("{path}/{}", entry.name);
            // A link may lead to a folder that has its own place elsewhere.
            let levels = if entry.kind == EntryKind::Folder { levels - 1 } else { 0 };
            add(host, below, levels, state);
        }
        // Its entries tell all; the folder also changes as locks come and go.
        stamp = None;
    }
    state.push((path, stamp));
}

/// An answer, and the state of the host that it is of.
pub(super) struct Remembered<Answer>(Option<Seen<Answer>>);

#[derive(Debug)]
struct Seen<Answer> {
    at_ms: i64,
    state: State,
    answer: Answer,
}

impl<Answer> Default for Remembered<Answer> {
    fn default() -> Self {
        Self(None)
    }
}

impl<Answer> fmt::Debug for Remembered<Answer> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_ms = self.0.as_ref().map(|seen| seen.at_ms);
        formatter.debug_struct("Remembered").field("at_ms", &at_ms).finish()
    }
}

impl<Answer: Clone> Remembered<Answer> {
    /// The answer of last time if the state is the same, else a new one. A failure is not kept:
    /// what it comes from may pass without a trace.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(super) fn or_ask(
        &mut self,
        now_ms: i64,
        state: State,
        ask: impl FnOnce() -> Result<Answer, String>,
    ) -> Result<Answer, String> {
        let holds = |seen: &&Seen<Answer>| {
            seen.state == state && (0..HOLDS_MS).contains(&(now_ms - seen.at_ms))
        };
        if let Some(seen) = self.0.as_ref().filter(holds) {
            return Ok(seen.answer.clone());
        }
        self.0 = None;
        let answer = ask()?;
        self.0 = Some(Seen { at_ms: now_ms, state, answer: answer.clone() });
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::host::HostPaths;

    const INPUTS: [Input; 2] = [Input::file("etc/one"), Input::folder("cache", 2)];

    /// A host on which every level is there.
    fn host() -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cache/a/b/c")).unwrap();
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        for file in ["etc/one", "etc/other", "cache/x", "cache/a/x", "cache/a/b/x"] {
            fs::write(folder.path().join(file), "old").unwrap();
        }
        let paths = HostPaths { rootfs: folder.path().into(), ..HostPaths::default() };
        (folder, Host::new(paths))
    }

    #[test]
    fn every_change_of_an_input_is_seen() {
        let check = |change: fn(&Path), expect: bool| {
            let (folder, host) = host();
            let before = look(&host, INPUTS);
            assert_eq!(look(&host, INPUTS), before);
            change(folder.path());
            assert_eq!(look(&host, INPUTS) != before, expect);
        };
        check(|_| {}, false);
        check(|root| fs::write(root.join("etc/one"), "longer").unwrap(), true);
        check(|root| fs::remove_file(root.join("etc/one")).unwrap(), true);
        check(|root| fs::write(root.join("cache/x"), "longer").unwrap(), true);
        check(|root| fs::write(root.join("cache/a/x"), "longer").unwrap(), true);
        check(|root| fs::write(root.join("cache/new"), "").unwrap(), true);
        check(|root| fs::write(root.join("cache/a/new"), "").unwrap(), true);
        check(|root| fs::remove_dir_all(root.join("cache")).unwrap(), true);
        // A file of the same length and age that was put in the other's place.
        let replace = |root: &Path| {
            let modified = fs::metadata(root.join("etc/one")).unwrap().modified().unwrap();
            fs::write(root.join("etc/new"), "new").unwrap();
            let new = fs::File::options().append(true).open(root.join("etc/new")).unwrap();
            new.set_modified(modified).unwrap();
            fs::rename(root.join("etc/new"), root.join("etc/one")).unwrap();
        };
        check(replace, true);
        let lock = |root: &Path| {
            fs::write(root.join("cache/lock"), "").unwrap();
            fs::remove_file(root.join("cache/lock")).unwrap();
        };
        check(lock, false);
        check(|root| fs::write(root.join("etc/other"), "longer").unwrap(), false);
        check(|root| fs::write(root.join("cache/a/b/x"), "longer").unwrap(), false);
    }

    #[test]
    fn an_answer_holds_for_a_state_and_a_day() {
        let mut remembered = Remembered::default();
        let state = |name: &str| vec![(name.to_owned(), None)];
        let mut check = |now_ms, name, answer: Result<u32, &str>, expect: Result<u32, &str>| {
            let seen = remembered.or_ask(now_ms, state(name), || answer.map_err(str::to_owned));
            assert_eq!(seen, expect.map_err(str::to_owned));
        };
        check(0, "a", Err("locked"), Err("locked"));
        check(1, "a", Ok(1), Ok(1));
        check(2, "a", Ok(2), Ok(1));
        check(HOLDS_MS, "a", Err("locked"), Ok(1));
        check(HOLDS_MS + 1, "a", Ok(3), Ok(3));
        check(HOLDS_MS + 2, "b", Ok(4), Ok(4));
        check(HOLDS_MS + 3, "b", Err("locked"), Ok(4));
        // The clock was set back.
        check(5, "b", Ok(6), Ok(6));
        check(6, "c", Err("locked"), Err("locked"));
        check(7, "b", Ok(7), Ok(7));
    }
}

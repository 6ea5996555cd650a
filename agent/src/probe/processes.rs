//! Processes and threads by their state: `/proc/PID/stat`.

use std::collections::BTreeMap;

use upkeep_model::Observation;

use super::device::is_number;
use super::{Faults, Probe, ProbeError};
use crate::host::{Host, HostError, Text, Tree};

/// Where a number stands after the name in parentheses: the state comes first.
const THREADS: usize = 17;

/// The two files of one number: their metrics, and what they say.
const LIMITS: [(&str, &str, &str); 2] = [
    (
        "sys/kernel/threads-max",
        "node_processes_max_threads",
        "How many threads there may be at a time.",
    ),
    (
        "sys/kernel/pid_max",
        "node_processes_max_processes",
        "How many processes and threads have a number at a time.",
    ),
];

/// Processes and threads by state. It looks at each of them, which takes a while where there are
/// many.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessesProbe;

impl Probe for ProcessesProbe {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let mut faults = Faults::default();
        for (file, metric, help) in LIMITS {
            if let Some(text) = faults.keep(host.read(Tree::Proc, file))
                && let Some(value) = faults.number(file, 1, metric, Some(text.trim()))
            {
                out.gauge(metric, help, &[], value);
            }
        }
        let (mut census, mut unread) = (Census::default(), Faults::default());
        for entry in host.list(Tree::Proc, "")? {
            if is_number(&entry.name) {
                census.take(host, &entry.name, &mut unread);
            }
        }
        // Where a process cannot be read, it is not known how many of any kind there are.
        if unread.is_empty() {
            census.observe(out);
        }
        faults.append(unread);
        faults.into_result()
    }
}

/// What one line of `stat` tells.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stat {
    state: char,
    threads: u64,
}

#[derive(Default)]
struct Census {
    processes: u64,
    threads: u64,
    process_states: BTreeMap<char, u64>,
    thread_states: BTreeMap<char, u64>,
}

impl Census {
    fn take(&mut self, host: &Host, process: &str, faults: &mut Faults) {
        let file = format!("{process}/stat");
        let Some(stat) = read(host, &file, faults) else { return };
        self.processes += 1;
        self.threads += stat.threads;
        *self.process_states.entry(stat.state).or_default() += 1;
        let folder = format!("{process}/task");
        if stat.threads == 1 {
            // The only thread is in the state of the process; it need not be read.
            if host.exists(Tree::Proc, &folder) {
                *self.thread_states.entry(stat.state).or_default() += 1;
            }
            return;
        }
        let threads = host.list(Tree::Proc, &folder).or_else(|error| match ended(&error) {
            true => Ok(Vec::new()),
            false => Err(error),
        });
        for thread in faults.keep(threads).unwrap_or_default() {
            let state = if thread.name == process {
                Some(stat.state)
            } else {
                let file = format!("{folder}/{}/stat", thread.name);
                read(host, &file, faults).map(|stat| stat.state)
            };
            if let Some(state) = state {
                *self.thread_states.entry(state).or_default() += 1;
            }
        }
    }

    fn observe(&self, out: &mut Observation) {
        let help = "Processes that there are.";
        out.gauge("node_processes_pids", help, &[], self.processes as f64);
        let help = "Threads that there are.";
        out.gauge("node_processes_threads", help, &[], self.threads as f64);
        let states = [
            ("node_processes_state", "state", "Processes in a state.", &self.process_states),
            (
                "node_processes_threads_state",
                "thread_state",
                "Threads in a state.",
                &self.thread_states,
            ),
        ];
        for (metric, label, help, counts) in states {
            for (state, count) in counts {
                let mut name = [0; 4];
                out.gauge(metric, help, &[(label, state.encode_utf8(&mut name))], *count as f64);
            }
        }
    }
}

/// Reads a process' or thread's line; none if it ended meanwhile.
fn read(host: &Host, file: &str, faults: &mut Faults) -> Option<Stat> {
    let text: Text = match host.read(Tree::Proc, file) {
        Ok(text) => text,
        Err(error) if ended(&error) => return None,
        Err(error) => {
            faults.note(error);
            return None;
        }
    };
    let stat = parse(&text);
    if stat.is_none() {
        faults.value(file, 1, "state and threads", "cannot be read");
    }
    stat
}

/// Reads a line such as `11 (a name) S 2 0 …`. A name may contain anything, parentheses too.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let mut state = words.next()?.chars();
    let state =
        state.next().filter(|first| first.is_ascii_alphabetic() && state.as_str().is_empty());
    // The first word was taken.
    let threads = words.nth(THREADS - 1)?.parse().ok()?;
    Some(Stat { state: state?, threads })
}

/// Whether an error says that the process ended: its folder is gone, or is the folder of nobody.
fn ended(error: &HostError) -> bool {
    let no_such_process = match error {
        HostError::Read { source, .. } => is_no_such_process(source),
        _ => false,
    };
    no_such_process || error.is_absent()
}

#[cfg(unix)]
fn is_no_such_process(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(not(unix))]
fn is_no_such_process(_error: &std::io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::super::tests::{host_with, page_of};
    use super::*;

    fn line(name: &str, state: &str, threads: &str) -> String {
        format!("1 ({name}) {state} 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 29 0\n")
    }

    #[test]
    fn a_name_may_contain_anything() {
        let check = |text: &str, expect: Option<(char, u64)>| {
            let expect = expect.map(|(state, threads)| Stat { state, threads });
            assert_eq!(parse(text), expect, "{text:?}");
        };
        check(&line("systemd", "S", "1"), Some(('S', 1)));
        check(&line("a) R 1 (b", "D", "12"), Some(('D', 12)));
        check(&line("x", "SS", "1"), None);
        check(&line("x", "7", "1"), None);
        check(&line("x", "S", "many"), None);
        check("1 (x) S 0 1", None);
        check("1 x S", None);
        check("", None);
    }

    #[test]
    fn processes_and_threads_are_counted_by_state() {
        let [one, two, idle] =
            [line("a", "S", "1"), line("b", "R", "2"), line("c", "I", "1")].map(String::into_bytes);
        let (folder, host) = host_with(&[
            ("proc/sys/kernel/threads-max", b"7801\n"),
            ("proc/sys/kernel/pid_max", b"x\n"),
            ("proc/1/stat", &one),
            ("proc/1/task/1/stat", &one),
            ("proc/20/stat", &two),
            ("proc/20/task/20/stat", &two),
            ("proc/20/task/21/stat", &one),
            ("proc/30/stat", &idle),
            ("proc/40/comm", b"it ended"),
            ("proc/self/stat", &one),
        ]);
        let mut out = Observation::at(0);
        let error = ProcessesProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert_eq!(
            error,
            "sys/kernel/pid_max, line 1, node_processes_max_processes: \"x\" is not a number"
        );
        assert_eq!(
            page_of(&out),
            [
                "node_processes_max_threads 7801",
                "node_processes_pids 3",
                "node_processes_state{state=\"I\"} 1",
                "node_processes_state{state=\"R\"} 1",
                "node_processes_state{state=\"S\"} 1",
                "node_processes_threads 4",
                "node_processes_threads_state{thread_state=\"R\"} 1",
                "node_processes_threads_state{thread_state=\"S\"} 2",
            ]
        );
        std::fs::write(folder.path().join("proc/30/stat"), "broken").unwrap();
        let mut out = Observation::at(0);
        let error = ProcessesProbe.observe(&host, &mut out).unwrap_err().to_string();
        assert!(error.ends_with("; 30/stat, line 1, state and threads: cannot be read"), "{error}");
        assert_eq!(page_of(&out), ["node_processes_max_threads 7801"]);
    }
}

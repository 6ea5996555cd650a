//! The processes that take the most of the processor and of memory: a bounded fact.

use std::collections::HashMap;
use std::time::Instant;

use upkeep_model::{ProcessReport, ProcessUsage};

use crate::host::{Host, HostError, Tree};

/// So many processes are told, by each measure.
const MOST: usize = 10;

/// The unit in which the kernel counts the time of processes; Linux has it the same everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// The endings of units that hold processes, in the order of control groups from the outside in.
const UNITS: [&str; 2] = [".service", ".scope"];

/// Watches the processes of a host. It keeps a few numbers for each between two looks.
#[derive(Debug, Default)]
pub struct ProcessWatch {
    last: Option<Looked>,
}

#[derive(Debug)]
struct Looked {
    at: Instant,
    /// When each process was started and what it had used of the processor, by its number.
    used: HashMap<u32, (u64, u64)>,
}

impl ProcessWatch {
    /// Looks at every process; `None` at the first look, which has nothing to measure from. One
    /// that ends meanwhile is passed over.
    ///
    /// # Errors
    /// When the processes cannot be listed.
    pub fn look(
        &mut self,
        host: &Host,
        now_ms: i64,
        now: Instant,
    ) -> Result<Option<ProcessReport>, HostError> {
        let Some(page_bytes) = host.page_bytes() else { return Ok(None) };
        let mut used = HashMap::new();
        let (mut by_cpu, mut by_memory) = (Heaviest::default(), Heaviest::default());
        for entry in host.list(Tree::Proc, "")? {
            let Ok(pid) = entry.name.parse::<u32>() else { continue };
            let Ok(text) = host.read(Tree::Proc, &format!("{pid}/stat")) else { continue };
            let Some(stat) = Stat::parse(&text) else { continue };
            used.insert(pid, (stat.started, stat.ticks));
            let before = self.last.as_ref().and_then(|last| last.used.get(&pid));
            // A number that was given to another process meanwhile is one that just began.
            let before = before.filter(|(started, _)| *started == stat.started);
            let ticks = stat.ticks.saturating_sub(before.map_or(0, |(_, ticks)| *ticks));
            by_cpu.add(ticks, pid, ticks, &stat);
            by_memory.add(stat.pages, pid, ticks, &stat);
        }
        let Some(last) = self.last.replace(Looked { at: now, used }) else { return Ok(None) };
        let over_seconds = now.saturating_duration_since(last.at).as_secs_f64();
        let usage = |heavy: Heavy| heavy.usage(host, over_seconds, page_bytes);
        Ok((over_seconds > 0.0).then(|| ProcessReport {
            at_ms: now_ms,
            over_seconds,
            by_cpu: by_cpu.0.into_iter().filter_map(usage).collect(),
            by_memory: by_memory.0.into_iter().filter_map(usage).collect(),
        }))
    }
}

/// What is needed of a process' `stat` file.
#[derive(Debug, PartialEq, Eq)]
struct Stat<'text> {
    name: &'text str,
    /// What it used of the processor, for itself and in the kernel.
    ticks: u64,
    /// When it was started, in ticks since the boot.
    started: u64,
    /// Its memory in use.
    pages: u64,
}

impl<'text> Stat<'text> {
    /// Reads the line. The name stands in parentheses and may hold any character.
    fn parse(text: &'text str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        // Behind the name stands the third field of the line.
        let mut fields = after.split_ascii_whitespace();
        let mut number = |skip: usize| fields.nth(skip)?.parse::<u64>().ok();
        let (user, kernel) = (number(11)?, number(0)?);
        let started = number(6)?;
        let pages = number(1)?;
        Some(Self { name, ticks: user.saturating_add(kernel), started, pages })
    }
}

/// A process that is among the heaviest so far.
#[derive(Debug)]
struct Heavy {
    weight: u64,
    pid: u32,
    name: String,
    ticks: u64,
    pages: u64,
}

impl Heavy {
    /// What is told of it; what is not needed to find it is read only now. `None` if it ended
    /// meanwhile, or does not say whose it is.
    fn usage(self, host: &Host, over_seconds: f64, page_bytes: f64) -> Option<ProcessUsage> {
        let read = |file: &str| host.read(Tree::Proc, &format!("{}/{file}", self.pid)).ok();
        let uid = read("status").and_then(|text| uid_of(&text))?;
        let unit = read("cgroup").map(|text| unit_of(&text).to_owned()).unwrap_or_default();
        Some(ProcessUsage {
            pid: self.pid,
            name: self.name,
            uid,
            unit,
            cpu: self.ticks as f64 / TICKS_PER_SECOND / over_seconds,
            memory_bytes: (self.pages as f64 * page_bytes) as u64,
        })
    }
}

/// The heaviest processes, the heaviest first.
#[derive(Debug, Default)]
struct Heaviest(Vec<Heavy>);

impl Heaviest {
    fn add(&mut self, weight: u64, pid: u32, ticks: u64, stat: &Stat<'_>) {
        let is_light =
            self.0.len() == MOST && self.0.last().is_some_and(|one| one.weight >= weight);
        if weight == 0 || is_light {
            return;
        }
        let at = self.0.partition_point(|one| one.weight >= weight);
        let (name, pages) = (stat.name.to_owned(), stat.pages);
        self.0.insert(at, Heavy { weight, pid, name, ticks, pages });
        self.0.truncate(MOST);
    }
}

/// The user that a process runs as: the second of the four numbers, the effective one.
fn uid_of(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The unit that a process is of: the outermost of its control group's that is a service or a
/// scope. A user's own services are within the unit of the user's manager.
fn unit_of(cgroup: &str) -> &str {
    // One line a hierarchy: its number, what it is for, and the group; systemd's own is `0::` or
    // the one by its name.
    let group = cgroup.lines().find_map(|line| {
        let (head, group) = (line.get(..line.find('/')?)?, line.get(line.find('/')?..)?);
        (head == "0::" || head.ends_with(":name=systemd:")).then_some(group)
    });
    let mut parts = group.unwrap_or_default().split('/');
    parts.find(|part| UNITS.iter().any(|ending| part.ends_with(ending))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::tests::host_with;
    use super::*;

    fn stat(name: &str, ticks: u64, started: u64, pages: u64) -> String {
        format!(
            "7 ({name}) S 1 7 7 0 -1 4194560 100 0 0 0 {ticks} 3 0 0 20 0 1 0 {started} 1000 {pages} 18446744073709551615\n"
        )
    }

    #[test]
    fn a_line_is_a_process() {
        let check = |text: &str, expect: Option<(&str, u64, u64, u64)>| {
            let seen =
                Stat::parse(text).map(|stat| (stat.name, stat.ticks, stat.started, stat.pages));
            assert_eq!(seen, expect, "{text}");
        };
        check(&stat("bash", 5, 9, 70), Some(("bash", 8, 9, 70)));
        check(&stat("tmux: (1) S) x", 5, 9, 70), Some(("tmux: (1) S) x", 8, 9, 70)));
        check("7 (bash) S 1 7", None);
        check("", None);
    }

    #[test]
    fn units_are_found_in_either_kind_of_hierarchy() {
        let check = |text: &str, expect: &str| assert_eq!(unit_of(text), expect, "{text}");
        check("0::/system.slice/nginx.service\n", "nginx.service");
        check(
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
            "user@1000.service",
        );
        check("0::/user.slice/user-0.slice/session-3.scope\n", "session-3.scope");
        check("2:cpu:/\n1:name=systemd:/system.slice/a.service\n", "a.service");
        check("0::/system.slice/docker-ab.scope\n", "docker-ab.scope");
        check("0::/\n", "");
        check("", "");
    }

    #[test]
    fn the_heaviest_are_told_since_the_last_look() {
        let (folder, host) = host_with(&[("proc/uptime", "1 1\n")]);
        let write = |pid: u32, text: &str| {
            let place = folder.path().join(format!("proc/{pid}"));
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("stat"), text).unwrap();
            fs::write(place.join("status"), "Name:\tx\nUid:\t0\t33\t0\t0\n").unwrap();
            fs::write(place.join("cgroup"), "0::/system.slice/x.service\n").unwrap();
        };
        for pid in 1..=20 {
            write(pid, &stat(&format!("p{pid}"), 1_000, 5, u64::from(pid)));
        }
        let mut watch = ProcessWatch::default();
        let begun = Instant::now();
        assert_eq!(watch.look(&host, 1, begun).unwrap(), None);
        write(3, &stat("p3", 1_500, 5, 3));
        // Another process under the number of one that ended.
        write(4, &stat("new", 97, 6, 4));
        // Whose process this is cannot be read; it must not pass for root's.
        fs::write(folder.path().join("proc/19/status"), "Name:\tx\nUid:\t?\n").unwrap();
        let report = watch.look(&host, 2, begun + Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!((report.at_ms, report.over_seconds), (2, 10.0));
        let cpu: Vec<_> = report.by_cpu.iter().map(|one| (one.name.as_str(), one.cpu)).collect();
        assert_eq!(cpu, [("p3", 0.5), ("new", 0.1)]);
        let memory: Vec<_> = report.by_memory.iter().map(|one| one.pid).collect();
        assert_eq!(memory, [20, 18, 17, 16, 15, 14, 13, 12, 11]);
        let first = &report.by_memory[0];
        assert_eq!((first.uid, first.unit.as_str()), (33, "x.service"));
        assert_eq!(first.memory_bytes as f64, 20.0 * host.page_bytes().unwrap());
    }
}

//! Software RAID: `/proc/mdstat` and `/sys/block/md*/md`.

use upkeep_model::Observation;

use super::{Faults, Probe, ProbeError};
use crate::host::{Host, Tree};

const FILE: &str = "mdstat";

const BLOCK_FOLDER: &str = "block";

/// Software RAID arrays: their disks, state and progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct MdadmProbe;

impl Probe for MdadmProbe {
    fn name(&self) -> &'static str {
        "mdadm"
    }

    fn observe(&self, host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
        let Some(text) = host.read_if_present(Tree::Proc, FILE)? else { return Ok(()) };
        let mut faults = Faults::default();
        for array in parse(&text, &mut faults) {
            observe_array(&array, out);
        }
        faults.check(observe_redundancy(host, out));
        faults.into_result()
    }
}

/// What an array does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Inactive,
    Recovering,
    Resync,
    Check,
    /// Something that has no series of its own, such as a change of its shape.
    Other,
}

/// The states that have a series.
const STATES: [(State, &str); 5] = [
    (State::Active, "active"),
    (State::Inactive, "inactive"),
    (State::Recovering, "recovering"),
    (State::Resync, "resync"),
    (State::Check, "check"),
];

#[derive(Debug, PartialEq)]
struct Array<'text> {
    name: &'text str,
    state: State,
    required: Option<f64>,
    active: Option<f64>,
    failed: f64,
    spare: f64,
    blocks: Option<f64>,
    synced: Option<f64>,
}

impl Array<'_> {
    /// What of it could not be read. What an idle array has in step is all of it, and not told apart.
    fn unread(&self) -> impl Iterator<Item = &'static str> {
        let is_busy = ![State::Active, State::Inactive].contains(&self.state);
        [
            ("blocks", self.blocks.is_none()),
            ("disks", self.active.is_none()),
            ("progress", is_busy && self.synced.is_none()),
        ]
        .into_iter()
        .filter_map(|(item, is_unread)| is_unread.then_some(item))
    }
}

/// Reads the arrays. Each is a line at the margin and the indented lines that follow it.
fn parse<'text>(text: &'text str, faults: &mut Faults) -> Vec<Array<'text>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut arrays = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_array = line.starts_with(|letter: char| !letter.is_whitespace())
            && !line.starts_with("Personalities")
            && !line.starts_with("unused");
        if !is_array {
            continue;
        }
        let details: Vec<&str> = lines
            .iter()
            .skip(at + 1)
            .copied()
            .take_while(|line| line.starts_with(char::is_whitespace))
            .collect();
        match parse_array(line, &details) {
            Some(array) => {
                for item in array.unread() {
                    let item = format!("{} {item}", array.name);
                    faults.value(FILE, at + 1, &item, "not understood");
                }
                arrays.push(array);
            }
            None => {
                let name = line.split_ascii_whitespace().next().unwrap_or_default();
                faults.value(FILE, at + 1, name, "not understood");
            }
        }
    }
    arrays
}

fn parse_array<'text>(line: &'text str, details: &[&str]) -> Option<Array<'text>> {
    let (name, members) = line.split_once(" : ")?;
    let status = details.first()?;
    let is_inactive = match members.split([' ', '(']).next() {
        Some("active") => false,
        Some("inactive") => true,
        _ => return None,
    };
    let blocks = status.split_ascii_whitespace().next().and_then(whole);
    let count = |mark: &str| number(members.matches(mark).count());
    let (required, active) = if is_inactive {
        (Some(0.0), Some(0.0))
    } else if members.contains(" raid0 ") || members.contains(" linear ") {
        // These need all their disks, so the kernel does not count those that work.
        let members = Some(count("["));
        (members, members)
    } else {
        disks(status).unzip()
    };
    let (state, synced) = match progress(details.get(1..).unwrap_or_default()) {
        Some(progress) => progress,
        None => (if is_inactive { State::Inactive } else { State::Active }, blocks),
    };
    let (failed, spare) = (count("(F)"), count("(S)"));
    Some(Array { name, state, required, active, failed, spare, blocks, synced })
}

/// The two numbers of `[4/3]`: disks that are needed, and disks that work.
fn disks(status: &str) -> Option<(f64, f64)> {
    status.split_ascii_whitespace().find_map(|word| {
        let (required, active) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
        Some((whole(required)?, whole(active)?))
    })
}

/// A number without sign, point or exponent, as the kernel writes counts.
fn whole(text: &str) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
    text.parse::<u64>().ok().map(|number| number as f64)
}

/// What an array is busy with and how many blocks of it are done, from lines such as
/// `[=>…] recovery = 8.5% (1677/19531) finish=17.0min` and `resync=DELAYED`; `None` if it is idle,
/// and no number where there should be one.
fn progress(details: &[&str]) -> Option<(State, Option<f64>)> {
    let kinds = [
        ("recovery", State::Recovering),
        ("resync", State::Resync),
        ("check", State::Check),
        ("reshape", State::Other),
    ];
    details.iter().find_map(|line| {
        let (_, state) =
            kinds.iter().find(|(kind, _)| line.split([' ', '=']).any(|word| word == *kind))?;
        if ["PENDING", "DELAYED", "REMOTE"].iter().any(|waiting| line.contains(waiting)) {
            return Some((*state, Some(0.0)));
        }
        let done = line.split_once('(').and_then(|(_, rest)| rest.split_once('/'));
        Some((*state, done.and_then(|(done, _)| whole(done))))
    })
}

fn observe_array(array: &Array<'_>, out: &mut Observation) {
    let device = ("device", array.name);
    for (state, label) in STATES {
        let value = f64::from(u8::from(array.state == state));
        let help = "1 for the state that an array is in.";
        out.gauge("node_md_state", help, &[device, ("state", label)], value);
    }
    for (metric, help, value) in [
        ("node_md_disks_required", "Disks that an array needs.", array.required),
        ("node_md_blocks", "Blocks of an array.", array.blocks),
        ("node_md_blocks_synced", "Blocks of an array that are in step.", array.synced),
    ] {
        if let Some(value) = value {
            out.gauge(metric, help, &[device], value);
        }
    }
    let disks =
        [("active", array.active), ("failed", Some(array.failed)), ("spare", Some(array.spare))];
    for (label, value) in disks {
        if let Some(value) = value {
            let help = "Disks of an array by how they do.";
            out.gauge("node_md_disks", help, &[device, ("state", label)], value);
        }
    }
}

/// How many disks an array has and lacks. Kinds without redundancy have no file for the latter,
/// since they cannot lack any.
fn observe_redundancy(host: &Host, out: &mut Observation) -> Result<(), ProbeError> {
    let mut faults = Faults::default();
    for entry in host.list_if_present(Tree::Sys, BLOCK_FOLDER)? {
        if !entry.name.starts_with("md") {
            continue;
        }
        let mut attribute = |name: &str, absent: Option<f64>| {
            let path = format!("{BLOCK_FOLDER}/{}/md/{name}", entry.name);
            let Some(text) = faults.keep(host.read_if_present(Tree::Sys, &path))? else {
                return absent;
            };
            // While an array changes its shape, the old number follows in parentheses.
            faults.number(&path, 1, name, text.split_ascii_whitespace().next())
        };
        let labels = [("device", entry.name.as_str())];
        let disks = attribute("raid_disks", None);
        if let Some(disks) = disks {
            out.gauge("node_md_raid_disks", "Disks that an array has room for.", &labels, disks);
        }
        if let Some(degraded) = attribute("degraded", disks.map(|_| 0.0)) {
            out.gauge("node_md_degraded", "Disks that an array lacks.", &labels, degraded);
        }
    }
    faults.into_result()
}

#[expect(clippy::cast_precision_loss, reason = "no array has so many disks")]
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        let check = |line: &str, expect: Option<(State, Option<f64>)>| {
            assert_eq!(progress(&[line]), expect, "{line}");
        };
        check(
            "      [=>....]  recovery =  8.5% (16775552/195310144) finish=17.0min",
            Some((State::Recovering, Some(16_775_552.0))),
        );
        check("      [==>...]  check = 12.6% (5/40) finish=1min", Some((State::Check, Some(5.0))));
        check("      [>....]  reshape =  0.0% (1/9) finish=9min", Some((State::Other, Some(1.0))));
        check("      resync=DELAYED", Some((State::Resync, Some(0.0))));
        check("      resync = soon", Some((State::Resync, None)));
        check("      bitmap: 0/30 pages [0KB], 65536KB chunk", None);
    }

    #[test]
    fn an_array_that_is_not_understood_is_told() {
        let text = "Personalities : [raid1]\nmd0 : active raid1 sda[0]\n      many blocks [2/1] [U_]\n\
            md1 : active raid1 sda[0] sdb[1](F)\n      9 blocks [2/1] [U_]\nmd2 : active\n\nmd3 : odd\n  1 blocks\nunused devices: <none>\n";
        let mut faults = Faults::default();
        let arrays = parse(text, &mut faults);
        let known = Array {
            name: "md1",
            state: State::Active,
            required: Some(2.0),
            active: Some(1.0),
            failed: 1.0,
            spare: 0.0,
            blocks: Some(9.0),
            synced: Some(9.0),
        };
        let sizeless = Array { name: "md0", failed: 0.0, blocks: None, synced: None, ..known };
        assert_eq!(arrays, [sizeless, known]);
        let said = faults.into_result().unwrap_err().to_string();
        assert_eq!(
            said,
            "mdstat, line 2, md0 blocks: not understood; mdstat, line 6, md2: not understood; \
             mdstat, line 8, md3: not understood"
        );
    }
}

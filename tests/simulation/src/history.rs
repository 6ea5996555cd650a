//! What an agent made durable, held against what the collector has in the end.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use upkeep_agent::buffer::{Buffer, Portion};
use upkeep_collector::ingest::Services;
use upkeep_collector::state::{ChangeFilter, DeclaredGap};
use upkeep_model::{
    Epoch, EventKind, Gap, HostId, Lane, MatchOperator, Matcher, Ranges, StreamKey,
};
use upkeep_wire::decode_event;

use crate::collector::elapsed_ms;

/// The series that is in every observation; its value counts them.
pub const SERIES: &str = "simulated_value";

/// Why a buffer declares what it dropped.
const FULL: &str = "the buffer was full";

/// Why the collector declares what it no longer has.
const FORGOTTEN: &str = "the collector no longer has what it had acknowledged";

/// How the declaration of a lost disk begins.
const LOST: &str = "the buffer's database was lost";

/// What the declaration of a disk that was put back says.
const OLDER_COPY: &str = "the disk is an older copy of itself";

/// What went wrong in a simulation that may cost records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Causes {
    /// The collector was restored from a backup.
    pub restored: bool,
}

/// What became of the records of an agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// The collector has so many.
    pub stored: u64,
    /// So many are declared lost.
    pub declared: u64,
}

/// A record that is durable.
#[derive(Debug)]
struct Durable {
    epoch: Epoch,
    /// The place of its life among those of the buffer.
    life: usize,
    lane: Lane,
    sequence: u64,
    at_ms: i64,
    what: What,
    /// When it was made durable, in milliseconds of the simulation.
    since_ms: i64,
}

#[derive(Debug)]
enum What {
    Sample(f64),
    Change(String),
    Gap(Gap),
}

/// How far each lane came.
type Reached = BTreeMap<Lane, Reach>;

/// How far a lane was read, how far it was acknowledged, and how far records were dropped.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    read: u64,
    acknowledged: u64,
    dropped: u64,
}

/// One agent's.
#[derive(Debug, Default)]
pub struct History {
    /// Every observation that was tried, by its timestamp.
    drafts: BTreeMap<i64, f64>,
    durable: Vec<Durable>,
    /// The buffers in their order. One that was put back is there once more.
    epochs: Vec<(Epoch, Reached)>,
    disk_was_lost: bool,
    copy: Option<Copied>,
    put_back: Vec<PutBack>,
}

/// What was true as a copy of the disk was made.
#[derive(Clone, Debug)]
struct Copied {
    epoch: Epoch,
    reached: Reached,
    durable: usize,
}

/// What was on a disk that was put back to its copy, and not on the copy.
#[derive(Debug)]
struct PutBack {
    /// Their places among the durable records.
    records: Range<usize>,
    /// Whether the collector had some of it.
    is_known: bool,
}

impl History {
    /// The timestamp and value of the next observation. Clocks go back, and timestamps do not.
    pub fn draft(&mut self, now_ms: i64) -> (i64, f64) {
        let after = self.drafts.last_key_value().map_or(i64::MIN, |(at_ms, _)| at_ms + 1);
        let (at_ms, value) = (now_ms.max(after), self.drafts.len() as f64);
        self.drafts.insert(at_ms, value);
        (at_ms, value)
    }

    /// The agent's disk is lost with all that was on it.
    pub fn note_disk_lost(&mut self) {
        self.disk_was_lost = true;
    }

    /// A copy of the disk is made.
    pub fn note_copied(&mut self) {
        self.copy = self.epochs.last().map(|(epoch, reached)| Copied {
            epoch: *epoch,
            reached: reached.clone(),
            durable: self.durable.len(),
        });
    }

    /// The disk is put back to the copy.
    pub fn note_put_back(&mut self, is_known: bool) {
        if let Some(copy) = &self.copy {
            let records = copy.durable..self.durable.len();
            self.put_back.push(PutBack { records, is_known });
            self.epochs.push((copy.epoch, copy.reached.clone()));
        }
    }

    /// How far samples and events reach on the copy.
    pub fn copied(&self) -> Option<(Epoch, [u64; 2])> {
        let copy = self.copy.as_ref()?;
        let read = |lane| copy.reached.get(&lane).map_or(0, |reach| reach.read);
        Some((copy.epoch, [Lane::Samples, Lane::Events].map(read)))
    }

    /// Notes what a buffer made durable and what was acknowledged since this was last asked.
    ///
    /// # Errors
    /// When the buffer cannot be read, or has what nobody gave it.
    pub fn read(&mut self, buffer: &mut Buffer) -> Result<()> {
        let epoch = buffer.epoch();
        if self.epochs.last().is_none_or(|(last, _)| *last != epoch) {
            self.epochs.push((epoch, BTreeMap::new()));
        }
        for lane in Lane::ALL {
            let state = buffer.lane(lane);
            let lanes = &mut self.epochs.last_mut().context("an epoch")?.1;
            let reach = lanes.entry(lane).or_default();
            let after = reach.read;
            ensure!(after < state.next_sequence, "lane {lane} of {epoch} is shorter than it was");
            *reach = Reach {
                read: state.next_sequence - 1,
                acknowledged: state.acknowledged.max(reach.acknowledged),
                dropped: state.lost_through.max(reach.dropped),
            };
            if after + 1 == state.next_sequence {
                continue;
            }
            let portion = Portion { records: u64::MAX / 2, bytes: usize::MAX };
            for record in buffer.pending(lane, after, portion)? {
                let what = match lane {
                    Lane::Samples => What::Sample(
                        *self.drafts.get(&record.at_ms).context("a sample of no observation")?,
                    ),
                    Lane::Events => match decode_event(&record.body)?.kind {
                        EventKind::Change(change) => What::Change(change.id),
                        EventKind::Gap(gap) => What::Gap(gap),
                        other => bail!("an event that nobody made: {other:?}"),
                    },
                };
                let (sequence, at_ms, since_ms) = (record.sequence, record.at_ms, elapsed_ms());
                let life = self.epochs.len() - 1;
                self.durable.push(Durable { epoch, life, lane, sequence, at_ms, what, since_ms });
            }
        }
        Ok(())
    }

    /// A sample that was observed between two moments of the simulation and is not committed.
    pub fn waits(&self, committed: &Ranges, after_ms: i64, before_ms: i64) -> Option<u64> {
        let (current, _) = self.epochs.last()?;
        let recent = self.durable.iter().rev().take_while(|one| one.since_ms > after_ms);
        let mut live = recent.filter(|one| {
            one.lane == Lane::Samples && one.epoch == *current && one.since_ms < before_ms
        });
        live.find(|one| !committed.contains(one.sequence)).map(|one| one.sequence)
    }

    /// Holds it against what the collector has: each record once, unaltered, or declared as a gap
    /// for a reason that there was.
    ///
    /// # Errors
    /// The first record that is lost, altered, or declared without a reason.
    pub fn verify(
        &self,
        host: HostId,
        services: &Services,
        causes: Causes,
        has_room: bool,
    ) -> Result<Account> {
        let found = Found::at(host, services)?;
        for (at_ms, value) in &found.samples {
            let told = self.drafts.get(at_ms);
            ensure!(told == Some(value), "at {at_ms} stands {value}, and {told:?} was observed");
        }
        let aside = services.state.quarantined(host)?;
        ensure!(aside.is_empty(), "records were set aside: {aside:?}");
        let mut account = Account::default();
        for (place, record) in self.durable.iter().enumerate() {
            if found.has(record) {
                account.stored += 1;
            } else if !self.is_unknown(place, record, causes) {
                self.excuse(record, &found, causes, has_room)
                    .with_context(|| format!("{record:?} is lost"))?;
                account.declared += 1;
            }
        }
        self.verify_marks(host, services)?;
        Ok(account)
    }

    /// Nothing of the last life of the buffer is missing.
    fn verify_marks(&self, host: HostId, services: &Services) -> Result<()> {
        let Some((epoch, lanes)) = self.epochs.last() else { return Ok(()) };
        let stream = StreamKey { host, epoch: *epoch };
        for (lane, reach) in lanes {
            let committed = match lane {
                Lane::Samples => services.store.committed(stream),
                Lane::Events => Ranges::through(services.state.event_mark(stream)?),
            };
            let expected = Ranges::through(reach.read);
            ensure!(committed == expected, "{lane}: {committed:?} instead of {expected:?}");
        }
        Ok(())
    }

    /// Whether nobody can know of a record any more: it was on a disk that was put back, and the
    /// collector has nothing that was observed since the copy was made, or no longer has it.
    fn is_unknown(&self, place: usize, record: &Durable, causes: Causes) -> bool {
        let is_gone =
            |one: &PutBack| one.records.contains(&place) && (!one.is_known || causes.restored);
        (causes.restored || self.was_pending(record)) && self.put_back.iter().any(is_gone)
    }

    /// Whether a record was not acknowledged when that was last looked at. What was dropped before it
    /// could be delivered is settled, too, and what declares it may have gone with the disk.
    fn was_pending(&self, record: &Durable) -> bool {
        let lanes = self.epochs.get(record.life).map(|(_, lanes)| lanes);
        let reach = lanes.and_then(|lanes| lanes.get(&record.lane)).copied().unwrap_or_default();
        record.sequence > reach.acknowledged || record.sequence <= reach.dropped
    }

    /// Why a record is not at the collector. What declares the loss of a disk may itself be among
    /// what a restored collector declares.
    fn excuse(
        &self,
        record: &Durable,
        found: &Found,
        causes: Causes,
        has_room: bool,
    ) -> Result<()> {
        let mut reasons = Vec::new();
        for DeclaredGap { stream, gap, .. } in &found.gaps {
            let is_its_own = stream.epoch == record.epoch && gap.lane == record.lane;
            let begun = self.epochs.iter().position(|(epoch, _)| *epoch == stream.epoch);
            if is_its_own && (gap.first..=gap.last).contains(&record.sequence) {
                reasons.push(gap.reason.as_str());
            } else if begun > Some(record.life) {
                let is_lost =
                    gap.first == 0 && gap.lane == record.lane && gap.reason.starts_with(LOST);
                if is_lost && gap.reason.ends_with(OLDER_COPY) {
                    reasons.push(OLDER_COPY);
                } else if is_lost
                    || gap.lane == Lane::Events && gap.first == 1 && gap.reason == FORGOTTEN
                {
                    reasons.push(LOST);
                }
            }
        }
        let (was_put_back, was_pending) = (!self.put_back.is_empty(), self.was_pending(record));
        let holds = |reason: &&str| match *reason {
            FULL => !has_room,
            // What was acknowledged is kept as far as there is room, for longer than this takes.
            FORGOTTEN => causes.restored && !has_room,
            // What was acknowledged is at the collector, unless that was restored, too.
            LOST => (self.disk_was_lost || was_put_back) && (causes.restored || was_pending),
            OLDER_COPY => was_put_back && (causes.restored || was_pending),
            _ => false,
        };
        let lanes = self.epochs.get(record.life);
        ensure!(reasons.iter().any(holds), "{lanes:?}, declared {reasons:?}, {causes:?}");
        Ok(())
    }
}

/// What the collector has of a host.
struct Found {
    samples: BTreeMap<i64, f64>,
    changes: BTreeMap<String, i64>,
    gaps: Vec<DeclaredGap>,
}

impl Found {
    fn at(host: HostId, services: &Services) -> Result<Self> {
        let member = services.fleet.member(host).context("a host of the fleet")?;
        let instance = member.up().get("instance").unwrap_or_default().to_owned();
        let matchers = [
            Matcher::new("__name__", MatchOperator::Equal, SERIES)?,
            Matcher::new("instance", MatchOperator::Equal, &instance)?,
        ];
        let mut samples = BTreeMap::new();
        for series in services.store.select(&matchers, i64::MIN, i64::MAX)? {
            samples.extend(series.timestamps.iter().copied().zip(series.values));
        }
        let filter = ChangeFilter { host: Some(host), ..ChangeFilter::default() };
        let changes = services.state.changes(&filter, u32::MAX)?;
        let changes = changes.into_iter().map(|seen| (seen.change.id, seen.at_ms)).collect();
        Ok(Self { samples, changes, gaps: services.state.gaps(host, u32::MAX)? })
    }

    fn has(&self, record: &Durable) -> bool {
        match &record.what {
            What::Sample(value) => self.samples.get(&record.at_ms) == Some(value),
            What::Change(id) => self.changes.get(id) == Some(&record.at_ms),
            What::Gap(gap) => self.gaps.iter().any(|declared| {
                declared.stream.epoch == record.epoch
                    && declared.gap.lane == gap.lane
                    && declared.gap.first <= gap.first
                    && declared.gap.last >= gap.last
            }),
        }
    }
}

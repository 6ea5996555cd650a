//! What is known of those who write: by which number the store knows the series whose labels came as
//! these bytes.
//!
//! Of a series' labels only a hash of 128 bits is kept, under two seeds that nobody outside knows; a
//! sender has a table of its own, so whoever could make two sets alike would mix his own series.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::{fast, quality};
use sha2::{Digest, Sha256};
use upkeep_model::{HostId, INSTANCE, Labels};
use upkeep_store::{SeriesNumber, Store};

use super::admit::{self, LabelFault};
use super::message::RawSeries;

/// A series that nothing came for in this time is forgotten, and no longer counts.
const IDLE_MS: i64 = 60 * 60 * 1000;

/// How often idle series are looked for.
const SWEEP_MS: i64 = 10 * 60 * 1000;

/// How many series there may be that something came for within the last hour.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of one sender.
    pub series_per_sender: u32,
    /// Of all of them.
    pub series_of_all_senders: u32,
}

/// Why a series has no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SeriesFault {
    #[error(transparent)]
    Labels(#[from] LabelFault),
    #[error(
        "the sender has {0} series, which is the limit (limits.series_per_sender); no new ones are taken"
    )]
    TooManyOfSender(u32),
    #[error(
        "all senders have {0} series together, which is the limit (limits.series_of_all_senders); \
         no new ones are taken"
    )]
    TooManyOfAll(u32),
}

/// Hashes the bytes of labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashing([quality::RandomState; 2]);

type Hash = [u64; 2];

impl Hashing {
    pub(super) fn hash(&self, labels: &[u8]) -> Hash {
        let Self([one, other]) = self;
        [one.hash_one(labels), other.hash_one(labels)]
    }
}

/// What holds for all senders.
#[derive(Debug)]
pub(super) struct Common<'a> {
    pub(super) store: &'a Store,
    pub(super) limits: Limits,
    /// The names of the hosts that report by themselves.
    pub(super) enrolled: &'a HashSet<String>,
    /// How many series all senders have.
    pub(super) series: &'a AtomicUsize,
}

/// One who writes.
#[derive(Debug)]
pub(super) struct Sender {
    /// Where the store keeps its series.
    pub(super) home: HostId,
    known: HashMap<Hash, Known, fast::RandomState>,
    /// The values of `instance` among its series.
    instances: HashSet<String>,
    swept_ms: i64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: SeriesNumber,
    /// When something last came, in minutes since 1970.
    minute: u32,
}

impl Sender {
    /// The sender that a token stands for: its series are kept under an identity made of the token's.
    pub(super) fn of_token(token: &str, now_ms: i64) -> Self {
        let digest = Sha256::digest(format!("upkeep remote write\0{token}"));
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(byte, digest)| *byte = digest);
        let home = HostId(uuid::Builder::from_custom_bytes(bytes).into_uuid());
        let instances = HashSet::new();
        Self { home, known: HashMap::default(), instances, swept_ms: now_ms }
    }

    /// The numbers of series, each of which is hashed; series that are new are made.
    pub(super) fn resolve(
        &mut self,
        common: &Common<'_>,
        series: &[RawSeries<'_>],
        hashes: &[Hash],
        now_ms: i64,
    ) -> Vec<Result<SeriesNumber, SeriesFault>> {
        self.sweep(common, now_ms);
        let minute = u32::try_from(now_ms / 60_000).unwrap_or_default();
        let mut found = Vec::with_capacity(series.len());
        for (series, hash) in series.iter().zip(hashes) {
            if let Some(known) = self.known.get_mut(hash) {
                known.minute = minute;
                found.push(Ok(known.number));
            } else {
                found.push(self.make(common, series, *hash, minute));
            }
        }
        found
    }

    fn make(
        &mut self,
        common: &Common<'_>,
        series: &RawSeries<'_>,
        hash: Hash,
        minute: u32,
    ) -> Result<SeriesNumber, SeriesFault> {
        let labels = admit::labels(&series.labels, common.enrolled)?;
        let Limits { series_per_sender, series_of_all_senders } = common.limits;
        if self.known.len() >= series_per_sender as usize {
            return Err(SeriesFault::TooManyOfSender(series_per_sender));
        }
        if common.series.load(Ordering::Relaxed) >= series_of_all_senders as usize {
            return Err(SeriesFault::TooManyOfAll(series_of_all_senders));
        }
        let number = self.number(common.store, &labels);
        self.known.insert(hash, Known { number, minute });
        common.series.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    }

    fn number(&mut self, store: &Store, labels: &Labels) -> SeriesNumber {
        if let Some(instance) = labels.get(INSTANCE).filter(|name| !self.instances.contains(*name))
        {
            self.instances.insert(instance.to_owned());
        }
        store.number(self.home, labels)
    }

    fn sweep(&mut self, common: &Common<'_>, now_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms) < SWEEP_MS {
            return;
        }
        self.swept_ms = now_ms;
        let first = u32::try_from(now_ms.saturating_sub(IDLE_MS) / 60_000).unwrap_or_default();
        let before = self.known.len();
        self.known.retain(|_, known| known.minute >= first);
        common.series.fetch_sub(before - self.known.len(), Ordering::Relaxed);
        if before > 2 * self.known.len() {
            self.known.shrink_to_fit();
        }
    }

    /// Forgets all numbers where one of them may no longer hold: a host of that name was enrolled.
    pub(super) fn heed(&mut self, enrolled: &HashSet<String>, series: &AtomicUsize) {
        if !self.instances.is_disjoint(enrolled) {
            self.forget(series);
        }
    }

    /// Takes all series for ones that something came for at a time, and that were looked at now.
    #[cfg(test)]
    pub(super) fn keep_awake(&mut self, at_ms: i64, now_ms: i64) {
        self.swept_ms = now_ms;
        let minute = u32::try_from(at_ms / 60_000).unwrap();
        self.known.values_mut().for_each(|known| known.minute = minute);
    }

    /// Forgets all numbers.
    pub(super) fn forget(&mut self, series: &AtomicUsize) {
        series.fetch_sub(self.known.len(), Ordering::Relaxed);
        self.known.clear();
        self.instances.clear();
    }
}

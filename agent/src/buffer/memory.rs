//! Databases in memory, for simulations in which a buffer's host crashes a thousand times a minute.
//! They lose what a disk would lose: what was not synced, and all of it with what a failed sync left.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sled::IVec;

use super::entry::Key;
use super::tree::Batch;

/// What a buffer's databases hold, by the numbers of their folders. Clones share it, so it outlives
/// the buffer as a disk does.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    databases: BTreeMap<u64, Pairs>,
    /// Whether the next sync fails.
    fails: bool,
}

#[derive(Clone, Debug, Default)]
struct Pairs {
    /// What is read.
    current: BTreeMap<Key, Vec<u8>>,
    /// What is left after a power cut.
    durable: BTreeMap<Key, Vec<u8>>,
    /// What the next sync makes durable.
    unsynced: Vec<Batch>,
}

impl Memory {
    /// Cuts the power: what was not synced is gone. The buffer must be opened anew.
    pub fn cut_power(&self) {
        for pairs in self.lock().databases.values_mut() {
            pairs.unsynced.clear();
            pairs.current = pairs.durable.clone();
        }
    }

    /// Loses everything, as a disk that reads as zeroes.
    pub fn wipe(&self) {
        self.lock().databases.clear();
    }

    /// A copy of what a power cut would leave, which lives on by itself.
    pub fn copy(&self) -> Self {
        let databases = self.lock().databases.clone();
        let copy = Self(Arc::new(Mutex::new(Inner { databases, fails: false })));
        copy.cut_power();
        copy
    }

    /// Puts a copy in the place of what is there. The buffer must be opened anew.
    pub fn put_back(&self, copy: &Self) {
        let databases = copy.lock().databases.clone();
        self.lock().databases = databases;
    }

    /// Lets the next sync fail. As with Linux, what it should have made durable can be read and never
    /// becomes durable, whatever is synced later.
    pub fn fail_next_sync(&self) {
        self.lock().fails = true;
    }

    pub(super) fn shelf(&self, number: u64) -> Shelf {
        Shelf { memory: self.clone(), number }
    }

    pub(super) fn remove(&self, number: u64) {
        self.lock().databases.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the databases.
pub(super) struct Shelf {
    memory: Memory,
    number: u64,
}

impl Shelf {
    pub(super) fn apply(&self, batch: Batch) {
        let mut inner = self.memory.lock();
        let pairs = inner.databases.entry(self.number).or_default();
        write(&mut pairs.current, batch.clone());
        pairs.unsynced.push(batch);
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut inner = self.memory.lock();
        let fails = std::mem::take(&mut inner.fails);
        let pairs = inner.databases.entry(self.number).or_default();
        let batches = std::mem::take(&mut pairs.unsynced);
        if fails {
            return Err(io::Error::other("the sync was made to fail"));
        }
        for batch in batches {
            write(&mut pairs.durable, batch);
        }
        Ok(())
    }

    pub(super) fn pairs(&self, keys: RangeInclusive<Key>) -> Vec<(IVec, IVec)> {
        let inner = self.memory.lock();
        // Of a range that ends before it begins the map would panic, where sled gives nothing.
        let pairs = inner.databases.get(&self.number).filter(|_| !keys.is_empty());
        let Some(pairs) = pairs else { return Vec::new() };
        let found = pairs.current.range(keys);
        found.map(|(key, value)| (IVec::from(key.as_slice()), value.as_slice().into())).collect()
    }

    pub(super) fn contains(&self, key: Key) -> bool {
        let inner = self.memory.lock();
        inner.databases.get(&self.number).is_some_and(|pairs| pairs.current.contains_key(&key))
    }
}

fn write(pairs: &mut BTreeMap<Key, Vec<u8>>, batch: Batch) {
    for (key, value) in batch.into_writes() {
        match value {
            Some(value) => pairs.insert(key, value),
            None => pairs.remove(&key),
        };
    }
}

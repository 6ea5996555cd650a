//! What was written, what was synced of it, and what a power cut leaves.

use std::collections::{BTreeMap, HashMap, HashSet};

use rand::{Rng, RngExt};

use crate::operation::{Inode, NameChange, Operation};
use crate::tree::Tree;

/// Bytes of a file reach the disk by pages.
const PAGE_BYTES: usize = 4096;

/// A page that is being written when the power goes is written up to a sector.
const SECTOR_BYTES: usize = 512;

/// What a file system keeps in order. Whatever it is, bytes that were not synced may be there, gone
/// or torn, page by page, and zeros stand where none were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// As ext4, XFS and btrfs: changes of names and lengths are durable in the order in which they
    /// were made, and a sync of anything makes all earlier ones durable.
    Journalled,
    /// As POSIX has it at least: names are durable once their folder was synced, and each change
    /// that was not synced may be there or gone whatever became of the others. A rename is one
    /// change, durable with either folder.
    Loose,
}

/// A disk while it is written to.
#[derive(Clone, Debug)]
pub struct Disk {
    ordering: Ordering,
    durable: Tree,
    /// What was done and not synced, in order.
    pending: Vec<Pending>,
    mark: Option<u64>,
}

#[derive(Clone, Debug)]
enum Pending {
    Names(NameChange),
    Write { inode: Inode, offset: u64, data: Vec<u8> },
}

impl Pending {
    /// The file whose bytes or length it changes.
    fn file(&self) -> Option<Inode> {
        match self {
            Self::Write { inode, .. } | Self::Names(NameChange::Resize { inode, .. }) => {
                Some(*inode)
            }
            Self::Names(_) => None,
        }
    }
}

impl Disk {
    /// A disk on which all of a tree is durable.
    #[must_use]
    pub fn new(ordering: Ordering, durable: Tree) -> Self {
        Self { ordering, durable, pending: Vec::new(), mark: None }
    }

    /// The last thing that the program said before now.
    #[must_use]
    pub fn mark(&self) -> Option<u64> {
        self.mark
    }

    /// What is found if nothing is lost.
    #[must_use]
    pub fn whole(&self) -> Tree {
        let mut tree = self.durable.clone();
        for pending in &self.pending {
            match pending {
                Pending::Names(change) => tree.change(change),
                Pending::Write { inode, offset, data } => tree.put(*inode, *offset, data),
            }
        }
        tree
    }

    /// Goes on by one operation.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Names(change) => self.pending.push(Pending::Names(change.clone())),
            Operation::Write { inode, offset, data } => {
                let (inode, offset, data) = (*inode, *offset, data.clone());
                self.pending.push(Pending::Write { inode, offset, data });
            }
            Operation::Sync { inode, only_data } => self.sync(*inode, *only_data),
            Operation::SyncFailed { inode } => self.pending.retain(|pending| match pending {
                Pending::Write { inode: written, .. } => written != inode,
                Pending::Names(_) => true,
            }),
            Operation::SyncFolder { inode } => {
                let (ordering, folder) = (self.ordering, *inode);
                self.settle(|pending| match pending {
                    Pending::Names(change) => {
                        ordering == Ordering::Journalled || change.touches().contains(&folder)
                    }
                    Pending::Write { .. } => false,
                });
            }
            Operation::Mark(mark) => self.mark = Some(*mark),
        }
    }

    fn sync(&mut self, file: Inode, only_data: bool) {
        // `fdatasync` of a file that is new writes the journal, too: without it there is no data.
        let is_new = |pending: &Pending| matches!(pending, Pending::Names(NameChange::Make { inode, .. }) if *inode == file);
        let writes_journal = !only_data || self.pending.iter().any(is_new);
        let with_names = self.ordering == Ordering::Journalled && writes_journal;
        self.settle(|pending| {
            pending.file() == Some(file) || with_names && matches!(pending, Pending::Names(_))
        });
    }

    /// Makes some of what is pending durable, in order. What was written to a file before its
    /// length changed durably stays pending only as far as that length reaches.
    fn settle(&mut self, is_durable: impl Fn(&Pending) -> bool) {
        let mut left: Vec<Pending> = Vec::new();
        for pending in std::mem::take(&mut self.pending) {
            if !is_durable(&pending) {
                left.push(pending);
                continue;
            }
            match &pending {
                Pending::Names(change) => {
                    if let NameChange::Resize { inode, length } = change {
                        clip(&mut left, *inode, *length);
                    }
                    self.durable.change(change);
                }
                Pending::Write { inode, offset, data } => self.durable.put(*inode, *offset, data),
            }
        }
        self.pending = left;
    }

    /// What may be found if the power goes now.
    #[must_use]
    pub fn after_cut(&self, random: &mut impl Rng) -> Tree {
        let mut tree = self.durable.clone();
        let kept = self.kept_names(random);
        let mut files: BTreeMap<Inode, Vec<(usize, &Pending)>> = BTreeMap::new();
        for (place, pending) in self.pending.iter().enumerate() {
            match pending {
                Pending::Names(change) if pending.file().is_none() => {
                    if kept.contains(&place) {
                        tree.change(change);
                    } else if let NameChange::Make { inode, is_folder, .. } = change {
                        // Another name that it was given later may be there.
                        tree.allocate(*inode, *is_folder);
                    }
                }
                _ => {
                    let Some(file) = pending.file() else { continue };
                    files.entry(file).or_default().push((place, pending));
                }
            }
        }
        for changes in files.values() {
            // What was written after a change of length cannot be there without it.
            let whole = |(place, pending): &&(usize, &Pending)| match pending {
                Pending::Names(_) => kept.contains(place),
                Pending::Write { .. } => true,
            };
            let changes: Vec<&Pending> =
                changes.iter().take_while(whole).map(|(_, pending)| *pending).collect();
            Fate::draw(random).apply(&changes, &mut tree, random);
        }
        tree
    }

    /// The places of the changes of names and lengths that a cut leaves.
    fn kept_names(&self, random: &mut impl Rng) -> HashSet<usize> {
        let is_change = |pending: &Pending| matches!(pending, Pending::Names(_));
        let places: Vec<usize> = (0..self.pending.len())
            .filter(|&place| self.pending.get(place).is_some_and(is_change))
            .collect();
        let reached = random.random_range(0..=places.len());
        match (self.ordering, random.random_range(0..4)) {
            (Ordering::Journalled, _) => places.into_iter().take(reached).collect(),
            (Ordering::Loose, 0) => self.kept_by_folder(places, random),
            (Ordering::Loose, _) => {
                // From almost none through almost all.
                let chance = f64::from(random.random_range(0..=4_u8)) / 4.0;
                places.into_iter().filter(|_| random.random_bool(chance)).collect()
            }
        }
    }

    /// In order within each folder and file, but each reached another point of time.
    fn kept_by_folder(&self, places: Vec<usize>, random: &mut impl Rng) -> HashSet<usize> {
        let mut cuts: HashMap<Inode, usize> = HashMap::new();
        let mut is_kept = |place: usize| {
            let Some(Pending::Names(change)) = self.pending.get(place) else { return false };
            change.touches().into_iter().all(|node| {
                let last = self.pending.len();
                place < *cuts.entry(node).or_insert_with(|| random.random_range(0..=last))
            })
        };
        places.into_iter().filter(|&place| is_kept(place)).collect()
    }
}

/// Takes away what was written behind a file's end.
fn clip(pending: &mut [Pending], file: Inode, length: u64) {
    for change in pending {
        if let Pending::Write { inode, offset, data } = change
            && *inode == file
        {
            let room = usize::try_from(length.saturating_sub(*offset)).unwrap_or(usize::MAX);
            data.truncate(room);
        }
    }
}

/// What becomes of a file's bytes that were not synced.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Kept,
    /// The first ones reached the disk, the last of them in part.
    Prefix,
    /// Each page has as many of its writes as it happened to have.
    Pages,
}

impl Fate {
    fn draw(random: &mut impl Rng) -> Self {
        match random.random_range(0..6) {
            0 => Self::Lost,
            1 => Self::Kept,
            2 | 3 => Self::Prefix,
            _ => Self::Pages,
        }
    }

    fn apply(self, changes: &[&Pending], tree: &mut Tree, random: &mut impl Rng) {
        let reached = match self {
            Self::Lost => 0,
            Self::Kept | Self::Pages => changes.len(),
            Self::Prefix => random.random_range(0..=changes.len()),
        };
        let mut pages =
            if matches!(self, Self::Pages) { draw_pages(changes, random) } else { HashMap::new() };
        for (place, change) in changes.iter().enumerate() {
            match change {
                // A length without its bytes reads as zeros or cuts them off, whatever their fate.
                Pending::Names(change) => tree.change(change),
                Pending::Write { .. } if place >= reached => {}
                Pending::Write { inode, offset, data } if matches!(self, Self::Pages) => {
                    for (page, at, bytes) in by_page(*offset, data) {
                        let left = pages.entry(page).or_default();
                        if *left > 0 {
                            *left -= 1;
                            let length =
                                if *left == 0 { torn(bytes.len(), random) } else { bytes.len() };
                            tree.put(*inode, at, bytes.get(..length).unwrap_or(bytes));
                        }
                    }
                }
                Pending::Write { inode, offset, data } => {
                    let is_last = matches!(self, Self::Prefix) && place + 1 == reached;
                    let length = if is_last { torn(data.len(), random) } else { data.len() };
                    tree.put(*inode, *offset, data.get(..length).unwrap_or(data));
                }
            }
        }
    }
}

/// How many of the writes to each page reached the disk.
fn draw_pages(changes: &[&Pending], random: &mut impl Rng) -> HashMap<u64, usize> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for change in changes {
        if let Pending::Write { offset, data, .. } = change {
            for (page, ..) in by_page(*offset, data) {
                *counts.entry(page).or_default() += 1;
            }
        }
    }
    counts.into_iter().map(|(page, count)| (page, random.random_range(0..=count))).collect()
}

/// The pieces of a write: page, offset, bytes.
fn by_page(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, u64, &[u8])> {
    let page_bytes = PAGE_BYTES as u64;
    let (mut at, mut rest) = (offset, data);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let room = usize::try_from(page_bytes - at % page_bytes).unwrap_or(PAGE_BYTES);
        let (piece, others) = rest.split_at(room.min(rest.len()));
        let found = (at / page_bytes, at, piece);
        at += piece.len() as u64;
        rest = others;
        Some(found)
    })
}

/// How much of the bytes that were being written is there: all of it, as often as not.
fn torn(length: usize, random: &mut impl Rng) -> usize {
    if random.random() {
        length
    } else {
        random.random_range(0..=length / SECTOR_BYTES) * SECTOR_BYTES
    }
}

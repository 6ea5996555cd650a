//! The store through its own door: what it takes, what it answers, and what damage does to it.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod care;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod downsampling;
#[cfg(test)]
mod downsampling_damage;
#[cfg(test)]
mod downsampling_power_cut;
#[cfg(test)]
mod failed_sync;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod follow;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod old_formats;
#[cfg(test)]
mod points;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod retention;

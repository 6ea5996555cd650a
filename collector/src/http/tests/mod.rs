//! The whole server over real HTTP: a store and a state in a temporary folder, port 0.

mod access;
mod bounds;
mod charts;
mod clients;
mod fleet;
mod inventory;
mod outage;
mod prometheus;
mod rules;
mod runbooks;
mod silences;
mod usefulness;
mod world;
mod write;

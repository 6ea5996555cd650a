//! `upkeep-agent`: gathers a host's health and pending patches, buffers them durably, and streams
//! them to the collector. ARCHITECTURE.md at the top of the project shows how the modules relate.

pub mod app;
pub mod buffer;
pub mod config;
pub mod dial;
pub mod enroll;
pub mod exposition;
pub mod helper;
pub mod host;
pub mod identity;
pub mod inventory;
pub mod package;
pub mod patch;
pub mod probe;
pub mod scheduler;
pub mod systemd;
pub mod uplink;

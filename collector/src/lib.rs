//! `upkeep-collector`: receives what agents report, stores it, judges it by rules, alerts, and
//! serves it over HTTP. ARCHITECTURE.md at the top of the project shows how the modules relate.

pub mod alert;
pub mod app;
pub mod archive;
pub mod auth;
pub mod ca;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
pub mod damage;
pub mod fleet;
pub mod heartbeat;
pub mod http;
pub mod ingest;
pub mod notify;
pub mod outbound;
pub mod process;
pub mod query;
pub mod remote;
pub mod rule;
pub mod state;
pub mod tolerance;
pub mod yaml;

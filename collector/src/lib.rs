//! `upkeep-collector`: receives what agents report, stores it, judges it by rules, alerts, and
//! serves it over HTTP. ARCHITECTURE.md at the top of the project shows how the modules relate.

pub mod action;
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
pub mod digest;
pub mod fleet;
pub mod forward;
pub mod heartbeat;
pub mod http;
pub mod ingest;
pub mod ledger;
pub mod notify;
pub mod outbound;
pub mod process;
pub mod query;
pub mod reload;
pub mod remote;
pub mod rule;
pub mod state;
pub mod tolerance;
pub mod yaml;

//! The harness of the end-to-end stories: starts the real agent and the real collector, each in a
//! temporary folder of its own and on ports that the system gives, and ends what it started. Beside it,
//! what all targets of `make fuzz` share.

mod agent;
mod collector;
mod conformance;
mod cut_disk;
mod enrolled;
mod fake_clock;
mod fake_host;
pub mod fuzz;
mod history;
mod leases;
mod ledger;
mod limits;
mod node_exporter;
mod peer;
mod process;
mod proxy;
mod remote_write;
mod setting;
mod small_disk;
mod smtp;
mod snapshot;
mod webhook;

pub use agent::{Agent, AgentOptions, FORGOTTEN};
pub use collector::{Collector, CollectorOptions};
pub use conformance::conformance;
pub use cut_disk::CutDisk;
pub use enrolled::Enrolled;
pub use fake_clock::FakeClock;
pub use fake_host::FakeHost;
pub use history::{Account, accounted_for, every_confirmed_once};
pub use leases::Leases;
pub use ledger::{Audit, Ledger, audit};
pub use limits::{limit_open_files, open_files, peak_memory, processor_time};
pub use node_exporter::NodeExporter;
pub use peer::{Peer, PeerKind, peer_program};
pub use process::{Output, binary, until};
pub use proxy::Proxy;
pub use remote_write::{Label, MetricMetadata, RemoteWriter, Sample, TimeSeries, WriteRequest};
pub use setting::{seed, seeded, setting};
pub use small_disk::SmallDisk;
pub use smtp::{Mail, SmtpServer};
pub use snapshot::Snapshot;
pub use webhook::WebhookServer;

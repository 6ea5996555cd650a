//! Domain types that the agent and the collector share.
//!
//! This crate knows neither the wire nor any disk format: those convert to and from these types
//! at their own edges.

mod admission;
mod annotations;
mod change;
mod delivery;
mod event;
mod facts;
mod labels;
mod matcher;
mod observation;
mod packages;
mod processes;
mod ranges;
mod re2;
mod series;
mod sum;
mod updates;

pub use admission::{
    INSTANCE, JOB, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_NAME_BYTES, SeriesFault, check_series,
    is_label_name, is_metric_name, is_reserved,
};
pub use annotations::Annotations;
pub use change::{Change, ChangeKind};
pub use delivery::{Epoch, HostId, Lane, Life, StreamKey};
pub use event::{Event, EventKind, Gap};
pub use facts::{Distribution, Hardware, HostFacts, Virtualization};
pub use labels::{Label, Labels, METRIC_NAME};
pub use matcher::{MatchOperator, Matcher, MatcherError};
pub use observation::{
    Compound, LeftOut, Observation, Sample, SeriesSamples, is_stale, stale_marker,
};
pub use packages::{InstalledPackage, PackageInventory, state_hash};
pub use processes::{ProcessReport, ProcessUsage};
pub use ranges::Ranges;
pub use re2::{PatternError, compile_anchored, compile_pattern};
pub use series::{MetricKind, Series, SeriesTable};
pub use sum::Sum;
pub use updates::{
    Knowledge, ManagerReport, PackageUpdate, RebootReport, Refresh, RestartReason, StaleService,
    Stay, Support, UpdateReport,
};

//! What the groups and rules last did, for the HTTP API and the log.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use upkeep_model::Labels;

use crate::ledger::{KnownRule, Origin};
use crate::notify::Annotations;

/// All groups, in the order in which their files were read.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// One entry a group.
    pub groups: Vec<Arc<GroupStatus>>,
}

impl Snapshot {
    /// The alerting rules, as the ledger knows them.
    pub fn alerting(&self) -> Vec<KnownRule> {
        let rules = self.groups.iter().flat_map(|group| {
            let of_group = group.rules.iter();
            of_group.filter_map(|rule| rule.known(group))
        });
        rules.collect()
    }
}

/// What a group is and how its last evaluation went.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// Its name, unique within its file.
    pub name: String,
    /// The file that it was read from.
    pub file: PathBuf,
    /// How often it is evaluated.
    pub interval: Duration,
    /// The most alerts or series that one rule may produce; 0 means any number.
    pub limit: usize,
    /// When it was last evaluated, in milliseconds since 1970.
    pub last_evaluation_ms: Option<i64>,
    /// How long that took.
    pub evaluation_time: Duration,
    /// How many evaluations were left out since the one before was still running.
    pub missed: u64,
    /// Its rules, in order.
    pub rules: Vec<RuleStatus>,
}

/// What a rule is and how its last evaluation went.
#[derive(Clone, Debug)]
pub struct RuleStatus {
    /// The alert's name or that of the recorded series.
    pub name: String,
    /// What it is called where it is counted: its name, with `#2` behind it for a second one of that
    /// name in the group.
    pub key: String,
    /// The expression.
    pub query: String,
    /// Labels that the rule adds, templates not expanded.
    pub labels: Labels,
    /// What only one of the two kinds has.
    pub kind: RuleKind,
    /// How the last evaluation went.
    pub health: Health,
    /// When it was last evaluated, in milliseconds since 1970.
    pub last_evaluation_ms: Option<i64>,
    /// How long that took.
    pub evaluation_time: Duration,
    /// How many evaluations failed since the start.
    pub failures: u64,
}

impl RuleStatus {
    fn known(&self, group: &GroupStatus) -> Option<KnownRule> {
        let RuleKind::Alerting { muted, .. } = &self.kind else { return None };
        Some(KnownRule {
            origin: Origin::Rule {
                file: group.file.display().to_string(),
                group: group.name.clone(),
                name: self.key.clone(),
            },
            muted: muted.filter(|muted| muted.is_whole()).map(Muted::reason),
        })
    }
}

/// The two kinds of rule.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// Writes its result as series.
    Recording,
    /// Raises alerts.
    Alerting {
        /// How long the condition must hold before the alert fires.
        hold: Duration,
        /// How long the alert goes on firing once the condition is gone.
        keep_firing: Duration,
        /// Annotations, templates not expanded.
        annotations: Annotations,
        /// Why the rule notifies nobody, or `None` if it does notify.
        muted: Option<Muted>,
        /// Alerts that are pending or firing.
        alerts: Vec<AlertStatus>,
    },
}

/// Why an alerting rule notifies nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Muted {
    /// Its severity is `info`: it belongs on the dashboard.
    Informational,
    /// It has no `action` annotation.
    WithoutAction,
    /// It has no `outcome` annotation.
    WithoutOutcome,
    /// It has neither `action` nor `outcome`.
    WithoutActionAndOutcome,
    /// Its severity comes from a template: it notifies, but not of what turns out to be `info`.
    WhenInformational,
}

impl Muted {
    /// The reason in words for an operator.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Informational => "its severity is info",
            Self::WithoutAction => "it has no annotation `action` that says what to do",
            Self::WithoutOutcome => "it has no annotation `outcome` that says what that is for",
            Self::WithoutActionAndOutcome => "it has neither annotation `action` nor `outcome`",
            Self::WhenInformational => {
                "its severity comes from a template, and nobody is told of alerts of severity info"
            }
        }
    }

    /// Whether none of the rule's alerts is told.
    pub fn is_whole(self) -> bool {
        self != Self::WhenInformational
    }

    /// Whether it is meant so, by severity, and not for want of a text.
    pub fn is_meant(self) -> bool {
        matches!(self, Self::Informational | Self::WhenInformational)
    }
}

/// How a rule's last evaluation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been evaluated yet.
    Unknown,
    /// It went well.
    Ok,
    /// It failed, with the reason.
    Failed(String),
}

/// One alert of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertStatus {
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations, templates expanded.
    pub annotations: Annotations,
    /// Whether it fires already.
    pub phase: Phase,
    /// Since when the condition holds, in milliseconds since 1970.
    pub active_at_ms: i64,
    /// Since when it fires only because of `keep_firing_for`, in milliseconds since 1970.
    pub keep_firing_since_ms: Option<i64>,
    /// The expression's value at the last evaluation.
    pub value: f64,
}

/// Whether an alert's condition has held for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet.
    Pending,
    /// Yes.
    Firing,
}

impl Phase {
    /// The word that Prometheus has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// A group as it takes its place on the board.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// It begins, and shows this.
    New(Arc<GroupStatus>),
    /// It was there before, goes on, and shows what it last did.
    GoesOn {
        /// The file that it was read from.
        file: PathBuf,
        /// Its name.
        name: String,
    },
}

/// Where each group puts its status and everybody may look.
#[derive(Debug, Default)]
pub struct Board {
    groups: RwLock<Vec<Arc<GroupStatus>>>,
}

impl Board {
    /// Everything as it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let groups = self.groups.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Snapshot { groups: groups.clone() }
    }

    /// Puts groups in place of all that was there.
    pub fn arrange(&self, groups: Vec<Arrival>) {
        let mut shown = self.groups.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_before = |file: &Path, name: &str| {
            shown.iter().find(|group| group.file == *file && group.name == name).cloned()
        };
        let arranged = groups.into_iter().filter_map(|arrival| match arrival {
            Arrival::New(status) => Some(status),
            Arrival::GoesOn { file, name } => of_before(&file, &name),
        });
        let arranged: Vec<_> = arranged.collect();
        *shown = arranged;
    }

    /// Replaces the status of a group that is shown.
    pub fn post(&self, status: Arc<GroupStatus>) {
        let mut groups = self.groups.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_same =
            |group: &&mut Arc<GroupStatus>| group.name == status.name && group.file == status.file;
        if let Some(slot) = groups.iter_mut().find(is_same) {
            *slot = status;
        }
    }
}

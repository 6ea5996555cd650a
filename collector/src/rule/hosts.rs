//! Some hosts of all, and a source that shows only theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use upkeep_model::{Labels, MatchOperator, Matcher, MatcherError, SeriesSamples};
use upkeep_promql::{Selection, Source, SourceError};

/// The label that names a series' host.
pub(super) const INSTANCE: &str = "instance";

/// Some hosts, by the value of the label that names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(BTreeSet<String>);

impl Hosts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, host: String) {
        self.0.insert(host);
    }

    pub(super) fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Whether a series or an alert is of one of them.
    pub(super) fn cover(&self, labels: &Labels) -> bool {
        labels.get(INSTANCE).is_some_and(|host| self.0.contains(host))
    }

    /// Accepts the series of these hosts. Of texts that stand for themselves the store reads which.
    fn matcher(&self) -> Result<Matcher, MatcherError> {
        let hosts: Vec<_> = self.0.iter().map(|host| regex::escape(host)).collect();
        Matcher::new(INSTANCE, MatchOperator::Matches, hosts.join("|"))
    }
}

/// A source that shows the series of some hosts only.
pub(super) struct Narrowed {
    source: Arc<dyn Source + Send + Sync>,
    matcher: Matcher,
}

impl Narrowed {
    /// # Errors
    /// When there are too many hosts for one matcher.
    pub(super) fn new(
        source: Arc<dyn Source + Send + Sync>,
        hosts: &Hosts,
    ) -> Result<Self, MatcherError> {
        Ok(Self { source, matcher: hosts.matcher()? })
    }

    fn narrowed(&self, selection: &Selection) -> Selection {
        let mut narrowed = selection.clone();
        narrowed.matchers.push(self.matcher.clone());
        narrowed
    }
}

impl Source for Narrowed {
    fn select(&self, selection: &Selection) -> Result<Vec<SeriesSamples>, SourceError> {
        self.source.select(&self.narrowed(selection))
    }

    fn select_all(&self, selections: &[Selection]) -> Result<Vec<Vec<SeriesSamples>>, SourceError> {
        let narrowed: Vec<_> = selections.iter().map(|one| self.narrowed(one)).collect();
        self.source.select_all(&narrowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::memory::Memory;

    #[test]
    fn only_series_of_the_hosts_are_shown_whatever_their_names() {
        let memory = Arc::new(Memory::default());
        for host in ["web1", "web2", "web-1.example.org:9100", "web-1xexample.org:9100", ""] {
            memory.put("up", &[("instance", host)], 1_000, 1.0);
        }
        let check = |names: &[&str]| {
            let mut hosts = Hosts::default();
            names.iter().for_each(|name| hosts.insert((*name).to_owned()));
            let source = Narrowed::new(memory.clone(), &hosts).unwrap();
            let query = upkeep_promql::parse("up").unwrap();
            let answer = query.instant(&source, 1_000, &Default::default()).unwrap();
            let upkeep_promql::Value::Vector(points) = answer.value else { panic!() };
            let shown: Vec<_> =
                points.iter().map(|point| point.labels.get(INSTANCE).unwrap()).collect();
            assert_eq!(shown, names);
            assert!(points.iter().all(|point| hosts.cover(&point.labels)));
        };
        check(&["web1"]);
        check(&["web1", "web2"]);
        check(&["web-1.example.org:9100"]);
        assert!(!Hosts::default().cover(&Labels::default()));
    }
}

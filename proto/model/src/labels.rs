//! Label sets in Prometheus' sense.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// One name and value of a label set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The label's name.
    pub name: Arc<str>,
    /// The label's value; never empty inside [`Labels`].
    pub value: Arc<str>,
}

/// A set of labels: sorted by name, each name once, no empty values (an empty value means that the
/// label is absent, as in Prometheus). Clones share the labels until one of them is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<Vec<Label>>);

impl Labels {
    /// Makes a set from pairs in any order; of a name given twice the last value holds.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut set = Self::default();
        for (name, value) in pairs {
            set.set(name, value);
        }
        set
    }

    /// Makes a set of labels whose texts somebody else keeps as well. They must be in the order of their
    /// names, each name once, and none without a value.
    pub fn of_sorted(labels: Vec<Label>) -> Self {
        debug_assert!(labels.is_sorted_by(|one, next| one.name < next.name), "{labels:?}");
        Self(Arc::new(labels))
    }

    /// The value of a label, or `None` where the set has no such label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.position(name).ok()?;
        self.0.get(at).map(|label| &*label.value)
    }

    /// The metric name, if the set has one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        match self.position(name) {
            Ok(at) if value.is_empty() => {
                Arc::make_mut(&mut self.0).remove(at);
            }
            Ok(at) => {
                if let Some(label) = Arc::make_mut(&mut self.0).get_mut(at) {
                    label.value = value.into();
                }
            }
            Err(_) if value.is_empty() => {}
            Err(at) => {
                let label = Label { name: name.into(), value: value.into() };
                Arc::make_mut(&mut self.0).insert(at, label);
            }
        }
    }

    /// Removes a label if it is there.
    pub fn remove(&mut self, name: &str) {
        if self.position(name).is_ok() {
            self.retain(|other| other != name);
        }
    }

    /// The set with one label set, for building in one expression.
    #[must_use]
    pub fn with(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.set(name, value);
        self
    }

    /// Keeps the labels whose name passes.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        match Arc::get_mut(&mut self.0) {
            Some(labels) => labels.retain(|label| keep(&label.name)),
            // Only what stays is copied.
            None => {
                let kept = self.0.iter().filter(|label| keep(&label.name)).cloned();
                self.0 = Arc::new(kept.collect());
            }
        }
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|label| (&*label.name, &*label.value))
    }

    /// How many labels the set has, the metric name included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|label| (*label.name).cmp(name))
    }
}

/// As Prometheus writes it: `name{label="value", …}`, values escaped.
impl fmt::Display for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.metric_name().unwrap_or_default())?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() {
            return if self.is_empty() { formatter.write_str("{}") } else { Ok(()) };
        }
        formatter.write_str("{")?;
        let mut first = true;
        for (name, value) in rest {
            if !first {
                formatter.write_str(", ")?;
            }
            first = false;
            write!(formatter, "{name}={value:?}")?;
        }
        formatter.write_str("}")
    }
}

/// A JSON object of names to values, as in the responses of Prometheus' HTTP API.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_unique_and_without_empty_values() {
        let set = Labels::new([("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(set.clone().with("a", "").len(), 1);
    }

    #[test]
    fn sorted_labels_make_the_same_set() {
        let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
        let set = Labels::of_sorted(vec![label("a", "1"), label("b", "2")]);
        assert_eq!(set, Labels::new([("b", "2"), ("a", "1")]));
    }

    #[test]
    fn a_change_is_the_own_of_one_clone() {
        let set = Labels::new([("a", "1"), ("b", "2"), ("c", "3")]);
        let mut other = set.clone();
        other.remove("b");
        other.set("a", "9");
        let kept = |set: &Labels| set.iter().map(|(_, v)| v.to_owned()).collect::<String>();
        assert_eq!((kept(&set), kept(&other)), ("123".to_owned(), "93".to_owned()));
    }

    #[test]
    fn display_is_prometheus_notation() {
        let check = |pairs: &[(&str, &str)], expect: &str| {
            assert_eq!(Labels::new(pairs.iter().copied()).to_string(), expect);
        };
        check(&[], "{}");
        check(&[(METRIC_NAME, "up")], "up");
        check(&[(METRIC_NAME, "up"), ("job", "node")], "up{job=\"node\"}");
        check(&[("b", "x\"y"), ("a", "1")], "{a=\"1\", b=\"x\\\"y\"}");
    }
}

//! Texts that an alert carries for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// Texts by name, in order of the names, each name once; a text may be empty. Clones share them: an alert that fires is held by its rule, by whoever shows it and by whoever tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Arc<[(Arc<str>, Arc<str>)]>);

impl Annotations {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(other, _)| (**other).cmp(name)).ok()?;
        self.0.get(at).map(|(_, text)| &**text)
    }

    /// Sets a text in this one, and in no clone of it.
    pub fn set(&mut self, name: &str, text: &str) {
        let others = self.0.iter().filter(|(other, _)| **other != *name).cloned();
        *self = others.chain([(name.into(), text.into())]).collect();
    }

    /// Names and texts, in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, text)| (&**name, &**text))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of them that pass.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str, &str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(name, text)| keep(name, text));
        Self(kept.cloned().collect())
    }
}

/// From pairs in any order; of a name given twice the last text holds.
impl<N: Into<Arc<str>>, T: Into<Arc<str>>> FromIterator<(N, T)> for Annotations {
    fn from_iter<P: IntoIterator<Item = (N, T)>>(pairs: P) -> Self {
        let pairs = pairs.into_iter().map(|(name, text)| (name.into(), text.into()));
        let sorted: BTreeMap<Arc<str>, Arc<str>> = pairs.collect();
        Self(sorted.into_iter().collect())
    }
}

impl<N: Into<Arc<str>>, T: Into<Arc<str>>, const COUNT: usize> From<[(N, T); COUNT]>
    for Annotations
{
    fn from(pairs: [(N, T); COUNT]) -> Self {
        pairs.into_iter().collect()
    }
}

/// A map of names to texts.
impl Serialize for Annotations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(texts.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_in_order_and_a_name_given_twice_has_the_last() {
        let texts = Annotations::from([("b", "1"), ("a", ""), ("b", "2")]);
        assert_eq!(texts.iter().collect::<Vec<_>>(), [("a", ""), ("b", "2")]);
        assert_eq!((texts.get("a"), texts.get("b"), texts.get("c")), (Some(""), Some("2"), None));
        let mut more = texts.clone();
        more.set("c", "3");
        more.set("a", "0");
        assert_eq!(more.iter().collect::<Vec<_>>(), [("a", "0"), ("b", "2"), ("c", "3")]);
        let others = texts.filtered(|name, _| name != "a");
        assert_eq!((others.len(), others.is_empty(), others.get("a")), (1, false, None));
    }
}

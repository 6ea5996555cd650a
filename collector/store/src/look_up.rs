//! Which series there are, and what labels they have, without their samples.

use hashbrown::{HashMap, HashSet};
use upkeep_model::{Labels, Matcher};

use crate::core::Core;
use crate::index::{Index, Series, Symbol, SymbolLabels};
use crate::reading::Stretch;
use crate::seal::day_of;

impl Core {
    pub(crate) fn label_sets(&self, matchers: &[Matcher], stretch: Stretch) -> Vec<Labels> {
        let index = self.index();
        let mut sets: HashMap<&SymbolLabels, &Series> = HashMap::new();
        for series in self.living(&index, matchers, stretch) {
            sets.entry(&series.labels).or_insert(series);
        }
        sets.into_values().map(|series| index.labels(series)).collect()
    }

    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        stretch: Stretch,
    ) -> Vec<String> {
        let index = self.index();
        let Some(name) = index.symbol(name) else { return Vec::new() };
        let living = self.living(&index, matchers, stretch).into_iter();
        let value_of = |series: &Series| {
            series.labels.iter().find(|(one, _)| *one == name).map(|(_, value)| *value)
        };
        sorted_texts(&index, living.filter_map(value_of))
    }

    pub(crate) fn label_names(&self, matchers: &[Matcher], stretch: Stretch) -> Vec<String> {
        let index = self.index();
        let living = self.living(&index, matchers, stretch).into_iter();
        sorted_texts(&index, living.flat_map(|series| series.labels.iter().map(|(name, _)| *name)))
    }

    /// The series that match and may have samples in a stretch of time.
    fn living<'a>(
        &self,
        index: &'a Index,
        matchers: &[Matcher],
        stretch: Stretch,
    ) -> Vec<&'a Series> {
        if stretch.is_empty() {
            return Vec::new();
        }
        let in_head = self.head().series_within(stretch);
        let mut in_head = in_head.into_iter().peekable();
        let days = (day_of(stretch.after_ms.saturating_add(1)), day_of(stretch.through_ms));
        let found = index.select(matchers).into_iter().filter_map(|number| {
            let series = index.get(number)?;
            // Both lists ascend.
            while in_head.next_if(|next| *next < number).is_some() {}
            let is_sealed =
                series.days.is_some_and(|(first, last)| first <= days.1 && last >= days.0);
            (is_sealed || in_head.peek() == Some(&number)).then_some(series)
        });
        found.collect()
    }
}

fn sorted_texts(index: &Index, symbols: impl Iterator<Item = Symbol>) -> Vec<String> {
    let unique: HashSet<Symbol> = symbols.collect();
    let mut texts: Vec<String> = unique.into_iter().map(|one| index.text(one).to_owned()).collect();
    texts.sort_unstable();
    texts
}

//! A list of things by their numbers, most of which are there: of numbers that are never given again,
//! those of long ago are gone in stretches.

/// So many numbers share a page, which goes when nothing is left on it.
const PAGE: usize = 256;

#[derive(Debug)]
pub(super) struct Slots<T> {
    pages: Vec<Page<T>>,
}

#[derive(Debug)]
struct Page<T> {
    taken: usize,
    /// As many as the largest number so far wants.
    slots: Vec<Option<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn put(&mut self, number: u32, thing: T) {
        let (page, slot) = place_of(number);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || Page { taken: 0, slots: Vec::new() });
        }
        let Some(page) = self.pages.get_mut(page) else { return };
        if page.slots.len() <= slot {
            page.slots.resize_with(slot + 1, || None);
        }
        if let Some(slot) = page.slots.get_mut(slot)
            && slot.replace(thing).is_none()
        {
            page.taken += 1;
        }
    }

    pub(super) fn take(&mut self, number: u32) -> Option<T> {
        let (page, slot) = place_of(number);
        let page = self.pages.get_mut(page)?;
        let thing = page.slots.get_mut(slot)?.take()?;
        page.taken -= 1;
        if page.taken == 0 {
            page.slots = Vec::new();
        }
        Some(thing)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let (page, slot) = place_of(number);
        self.pages.get(page)?.slots.get(slot)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (page, slot) = place_of(number);
        self.pages.get_mut(page)?.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let firsts = (0_u32..).step_by(PAGE);
        let slots = firsts.zip(&self.pages).flat_map(|(first, page)| (first..).zip(&page.slots));
        slots.filter_map(|(number, slot)| Some((number, slot.as_ref()?)))
    }
}

fn place_of(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_are_a_map_of_numbers(
            steps in prop::collection::vec((prop_oneof![0..20_u32, 250..260_u32, 5_000..5_010_u32], any::<bool>()), 0..60),
        ) {
            let (mut slots, mut map) = (Slots::default(), BTreeMap::new());
            for (step, (number, is_put)) in steps.into_iter().enumerate() {
                if is_put {
                    slots.put(number, step);
                    map.insert(number, step);
                } else {
                    prop_assert_eq!(slots.take(number), map.remove(&number));
                }
                prop_assert_eq!(slots.get(number), map.get(&number));
                let pages = slots.pages.iter().filter(|page| !page.slots.is_empty()).count();
                let all: std::collections::BTreeSet<_> = map.keys().map(|number| number / 256).collect();
                prop_assert_eq!(pages, all.len());
            }
            let all: Vec<(u32, usize)> = slots.iter().map(|(number, thing)| (number, *thing)).collect();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }
}

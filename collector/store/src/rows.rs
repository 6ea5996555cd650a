//! The rows of one stream in the head: frames as they came, in blocks that readers share.

use std::mem;
use std::sync::Arc;

use upkeep_codec::{DecodeError, decode};

use crate::reading::Stretch;
use crate::stream::Layout;

/// So many rows make a block at most. What a reader holds of the last block is copied when a row is
/// added to it, so a block is small.
const BLOCK_ROWS: usize = 64;

/// A committed frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ms: i64,
    /// The journal segment that it is in.
    pub(crate) segment: u64,
    /// What its values are of.
    pub(crate) layout: &'a Arc<Layout>,
    pub(crate) body: &'a [u8],
}

/// Rows in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    blocks: Vec<Arc<Block>>,
}

/// Rows that follow one another and lie in one journal segment.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    segment: u64,
    first_ms: i64,
    last_ms: i64,
    places: Vec<Place>,
    /// The layouts in turn, each with the row before which the next one begins.
    layouts: Vec<(usize, Arc<Layout>)>,
    /// The bodies, one after the other.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: u64,
    timestamp_ms: i64,
    /// Where its body ends and the next one's begins.
    end: u32,
}

/// Rows of a block that follow one another and have the same layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage<'a> {
    block: &'a Block,
    first: usize,
    end: usize,
    pub(crate) layout: &'a Arc<Layout>,
}

impl Rows {
    pub(crate) fn push(&mut self, row: Row<'_>) {
        let last = self.blocks.last_mut().filter(|block| block.takes(&row));
        match last {
            Some(block) => Arc::make_mut(block).push(row),
            None => {
                if let Some(last) = self.blocks.last_mut() {
                    Arc::make_mut(last).shrink();
                }
                let mut block = Block::of_segment(row.segment);
                block.push(row);
                self.blocks.push(Arc::new(block));
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.blocks.iter().flat_map(|block| block.rows())
    }

    /// The layouts in turn.
    pub(crate) fn layouts(&self) -> impl Iterator<Item = &Arc<Layout>> {
        self.blocks.iter().flat_map(|block| block.passages()).map(|passage| passage.layout)
    }

    /// The blocks, to be looked at without the head's lock.
    pub(crate) fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks
    }

    /// The blocks that may have rows of a stretch of time.
    pub(crate) fn blocks_within(&self, stretch: Stretch) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.iter().filter(move |block| stretch.overlaps(block.first_ms, block.last_ms))
    }

    /// The layouts of the rows of a stretch of time, in turn.
    pub(crate) fn layouts_within(&self, stretch: Stretch) -> impl Iterator<Item = &Arc<Layout>> {
        let passages = self.blocks_within(stretch).flat_map(move |block| {
            let is_within = block.is_within(stretch);
            let has_any = move |passage: &Passage<'_>| {
                is_within || passage.rows().any(|row| stretch.has(row.timestamp_ms))
            };
            block.passages().filter(has_any)
        });
        passages.map(|passage| passage.layout)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Row<'_>) -> bool) {
        for block in mem::take(&mut self.blocks) {
            let kept: Vec<Row<'_>> = block.rows().filter(|row| keep(row)).collect();
            if kept.len() == block.len() {
                self.blocks.push(block);
            } else if !kept.is_empty() {
                let mut fewer = Block::of_segment(block.segment);
                kept.into_iter().for_each(|row| fewer.push(row));
                fewer.shrink();
                self.blocks.push(Arc::new(fewer));
            }
        }
        self.blocks.shrink_to(2 * self.blocks.len());
    }
}

impl Row<'_> {
    /// The values in the order of the layout's series.
    pub(crate) fn values(&self) -> Result<Vec<f64>, DecodeError> {
        decode(self.body, |_| Some(&self.layout.key)).map(|frame| frame.values)
    }
}

impl Block {
    fn of_segment(segment: u64) -> Self {
        Self {
            segment,
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            places: Vec::new(),
            layouts: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn takes(&self, row: &Row<'_>) -> bool {
        let has_room = self.bytes.len() + row.body.len() <= u32::MAX as usize;
        self.segment == row.segment && self.len() < BLOCK_ROWS && has_room
    }

    fn push(&mut self, row: Row<'_>) {
        self.first_ms = self.first_ms.min(row.timestamp_ms);
        self.last_ms = self.last_ms.max(row.timestamp_ms);
        self.bytes.extend_from_slice(row.body);
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let Row { sequence, timestamp_ms, .. } = row;
        self.places.push(Place { sequence, timestamp_ms, end });
        let rows = self.places.len();
        match self.layouts.last_mut().filter(|(_, last)| Arc::ptr_eq(last, row.layout)) {
            Some((end, _)) => *end = rows,
            None => self.layouts.push((rows, Arc::clone(row.layout))),
        }
    }

    /// Gives back the room for rows to come.
    fn shrink(&mut self) {
        self.places.shrink_to_fit();
        self.layouts.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_within(&self, stretch: Stretch) -> bool {
        stretch.has(self.first_ms) && stretch.has(self.last_ms)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.passages().flat_map(|passage| passage.rows())
    }

    pub(crate) fn passages(&self) -> impl Iterator<Item = Passage<'_>> {
        let mut first = 0;
        self.layouts.iter().map(move |(end, layout)| {
            let passage = Passage { block: self, first, end: *end, layout };
            first = *end;
            passage
        })
    }
}

impl<'a> Passage<'a> {
    pub(crate) fn rows(self) -> impl Iterator<Item = Row<'a>> {
        let Self { block, first, end, layout } = self;
        let before = first.checked_sub(1).and_then(|before| block.places.get(before));
        let mut begin = before.map_or(0, |place| place.end as usize);
        let places = block.places.get(first..end).unwrap_or_default();
        places.iter().map(move |place| {
            let end = place.end as usize;
            let body = block.bytes.get(begin..end).unwrap_or_default();
            begin = end;
            let Place { sequence, timestamp_ms, .. } = *place;
            Row { sequence, timestamp_ms, segment: block.segment, layout, body }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use upkeep_codec::KeyFrame;

    use super::*;

    fn layout(generation: u32) -> Arc<Layout> {
        let key = KeyFrame { numbers: Arc::from([]), values: Arc::from([]) };
        Arc::new(Layout { generation, key, series: Arc::from([]) })
    }

    /// Rows at 0, 10, 20, …, whose body is their number, with a layout for each five of them.
    fn rows(count: u64) -> Rows {
        let layouts: Vec<_> = (0..).take(1 + count as usize / 5).map(layout).collect();
        let mut rows = Rows::default();
        for sequence in 0..count {
            rows.push(Row {
                sequence,
                timestamp_ms: sequence as i64 * 10,
                segment: 1 + sequence / 100,
                layout: &layouts[sequence as usize / 5],
                body: sequence.to_string().as_bytes(),
            });
        }
        rows
    }

    fn check(rows: &Rows, expect: impl IntoIterator<Item = u64>) {
        let found: Vec<u64> = rows
            .iter()
            .map(|row| {
                assert_eq!(row.body, row.sequence.to_string().as_bytes());
                assert_eq!(row.segment, 1 + row.sequence / 100);
                assert_eq!(u64::from(row.layout.generation), row.sequence / 5);
                row.sequence
            })
            .collect();
        assert_eq!(found, expect.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn rows_come_back_in_their_order_each_with_its_layout() {
        let mut rows = rows(333);
        check(&rows, 0..333);
        assert!(rows.blocks().iter().all(|block| block.len() <= BLOCK_ROWS));
        rows.retain(|row| row.sequence % 3 != 0 && row.sequence > 150);
        check(&rows, (151..333).filter(|sequence| sequence % 3 != 0));
        rows.retain(|_| false);
        assert!(rows.is_empty());
    }

    #[test]
    fn blocks_without_the_stretch_are_passed_over() {
        let rows = rows(333);
        let check = |after_ms, through_ms, expect: &[usize]| {
            let stretch = Stretch { after_ms, through_ms };
            let found: Vec<usize> = rows.blocks_within(stretch).map(|block| block.len()).collect();
            assert_eq!(found, expect, "{after_ms} to {through_ms}");
        };
        check(-1, 10_000, &[64, 36, 64, 36, 64, 36, 33]);
        check(630, 640, &[36]);
        check(629, 639, &[64]);
        check(629, 640, &[64, 36]);
        check(3_320, 9_000, &[]);
        check(-9, -1, &[]);
    }

    #[test]
    fn a_reader_keeps_what_it_took() {
        let mut rows = rows(3);
        let taken = Arc::clone(&rows.blocks()[0]);
        let layout = layout(0);
        let body = b"3".as_slice();
        rows.push(Row { sequence: 3, timestamp_ms: 30, segment: 1, layout: &layout, body });
        assert_eq!((taken.len(), rows.iter().count()), (3, 4));
    }
}

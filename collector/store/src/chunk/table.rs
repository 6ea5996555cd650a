//! From rows and points to columns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::index::SeriesRef;
use crate::points::Point;
use crate::rows::Row;
use crate::stream::Layout;

use super::MAX_ROWS;

/// Samples of one host over one span, by series; `V` is what the values of a series are kept in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table<V = Vec<f64>> {
    /// Milliseconds, strictly ascending.
    pub(crate) timestamps: Vec<i64>,
    /// In the order of their series; none is empty.
    pub(crate) columns: Vec<Column<V>>,
}

/// The samples of one series in a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column<V = Vec<f64>> {
    pub(crate) series: SeriesRef,
    /// For each timestamp whether the series has a value there.
    pub(crate) present: Vec<bool>,
    /// The values, one for each timestamp that has one.
    pub(crate) values: V,
}

/// What rows or points became.
#[derive(Debug, Default)]
pub(crate) struct Transposed<'a> {
    pub(crate) tables: Vec<Table>,
    /// The rows that could not be read.
    pub(crate) unread: Vec<&'a Row<'a>>,
    /// How many values were left out since their instant has another one.
    pub(crate) conflicts: u64,
}

/// Transposes rows that lie in one span, in the order in which they came: of two values of a series
/// for the same instant the first stays.
pub(crate) fn tables_of_rows<'a>(rows: &'a [Row<'a>]) -> Transposed<'a> {
    let mut timestamps: Vec<i64> = rows.iter().map(|row| row.timestamp_ms).collect();
    timestamps.sort_unstable();
    timestamps.dedup();
    let Transposed { mut tables, mut unread, mut conflicts } = Transposed::default();
    for stretch in timestamps.chunks(MAX_ROWS) {
        let mut cells = Cells { rows: stretch.len(), ..Cells::default() };
        for row in rows {
            let Ok(at) = stretch.binary_search(&row.timestamp_ms) else { continue };
            match row.values() {
                Ok(values) => cells.put(at, row.layout, values),
                Err(_) => unread.push(row),
            }
        }
        conflicts += cells.conflicts;
        tables.push(Table { timestamps: stretch.to_vec(), columns: cells.into_columns() });
    }
    tables.retain(|table| !table.columns.is_empty());
    Transposed { tables, unread, conflicts }
}

/// A table that is being filled row by row.
#[derive(Debug, Default)]
struct Cells {
    rows: usize,
    columns: Vec<(SeriesRef, Vec<Option<f64>>)>,
    by_series: HashMap<SeriesRef, usize>,
    /// The columns of the layout that came last: rows of the same layout follow each other, and
    /// looking up every value's column would cost more than packing it.
    last: Option<(Arc<Layout>, Vec<usize>)>,
    conflicts: u64,
}

impl Cells {
    fn put(&mut self, row: usize, layout: &Arc<Layout>, values: Vec<f64>) {
        let places = match self.last.take() {
            Some((last, places)) if Arc::ptr_eq(&last, layout) => places,
            _ => layout.series.iter().map(|series| self.place_of(*series)).collect(),
        };
        for (&place, value) in places.iter().zip(values) {
            let cell = self.columns.get_mut(place).and_then(|(_, cells)| cells.get_mut(row));
            match cell {
                Some(Some(first)) if first.to_bits() != value.to_bits() => self.conflicts += 1,
                Some(cell @ None) => *cell = Some(value),
                _ => {}
            }
        }
        self.last = Some((Arc::clone(layout), places));
    }

    fn place_of(&mut self, series: SeriesRef) -> usize {
        let (columns, rows) = (&mut self.columns, self.rows);
        *self.by_series.entry(series).or_insert_with(|| {
            columns.push((series, vec![None; rows]));
            columns.len() - 1
        })
    }

    fn into_columns(mut self) -> Vec<Column> {
        self.columns.sort_by_key(|(series, _)| *series);
        let columns = self.columns.into_iter().map(|(series, cells)| Column {
            series,
            present: cells.iter().map(Option::is_some).collect(),
            values: cells.into_iter().flatten().collect(),
        });
        columns.collect()
    }
}

/// Makes tables of points that lie in one span, given in the order in which they came. Series with
/// the same timestamps share a table.
pub(crate) fn tables_of_points(points: BTreeMap<SeriesRef, Vec<Point>>) -> Transposed<'static> {
    let mut conflicts = 0;
    let mut by_timestamps: HashMap<Vec<i64>, Vec<Column>> = HashMap::new();
    for (series, mut points) in points {
        points.sort_by_key(|point| point.at_ms);
        points.dedup_by(|next, first| {
            let is_again = next.at_ms == first.at_ms;
            let is_other = next.value.to_bits() != first.value.to_bits();
            conflicts += u64::from(is_again && is_other);
            is_again
        });
        for points in points.chunks(MAX_ROWS) {
            let timestamps = points.iter().map(|point| point.at_ms).collect();
            let values = points.iter().map(|point| point.value).collect();
            let column = Column { series, present: vec![true; points.len()], values };
            by_timestamps.entry(timestamps).or_default().push(column);
        }
    }
    let tables = by_timestamps.into_iter();
    let tables = tables.map(|(timestamps, columns)| Table { timestamps, columns }).collect();
    Transposed { tables, conflicts, unread: Vec::new() }
}

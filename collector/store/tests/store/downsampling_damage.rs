//! What damage does to days that become summaries: it costs what is damaged, and is told.

use std::path::Path;

use redb::{Database, ReadableTable, TableDefinition};
use upkeep_model::Labels;
use upkeep_store::Shape;

use crate::downsampling::{
    ALL, BEGIN_MS, DAY_MS, END_MS, HOUR, HOUR_MS, Lists, both, fill, five_minutes, open, points,
    read, resolutions,
};
use crate::fixture::{copy, folder, host, labels};

const CHUNKS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("chunks");
const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");

/// Changes the value of the first chunk of the database whose value begins with this.
fn damage_chunk(path: &Path, begin: &[u8]) {
    let database = Database::open(path.join("samples.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(CHUNKS).unwrap();
    let found = table.iter().unwrap().map(|row| row.unwrap());
    let found = found.map(|(key, value)| (*key.value(), value.value().to_vec()));
    let (key, mut value) = found.into_iter().find(|(_, value)| value.starts_with(begin)).unwrap();
    let middle = value.len() / 2;
    value[middle] ^= 0x40;
    table.insert(&key, value.as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

#[test]
fn a_damaged_chunk_of_summaries_costs_that_and_is_told() {
    let cold = folder();
    let store = open(cold.path(), five_minutes());
    fill(&store);
    store.downsample(BEGIN_MS + 3 * DAY_MS).unwrap();
    let whole = read(&store, Shape::Level, ALL.0, ALL.1).0;
    drop(store);
    damage_chunk(cold.path(), &[3]);
    let store = open(cold.path(), five_minutes());
    let left = read(&store, Shape::Level, ALL.0, ALL.1).0;
    let mut is_less = false;
    for (labels, samples) in &left {
        let expect = &whole[labels];
        let is_whole = samples.len() == expect.len();
        is_less |= !is_whole;
        let of_day = expect.iter().filter(|(at_ms, _)| *at_ms < BEGIN_MS + DAY_MS).count();
        assert!(is_whole || samples.len() == expect.len() - of_day, "{labels}");
    }
    let damage = store.damage();
    assert!(is_less && damage.len() == 1, "{damage:?}");
    let affected = damage[0].affected;
    assert_eq!(affected.host, Some(host(1)));
    let times = (affected.from_ms.unwrap(), affected.through_ms.unwrap());
    assert!(times.0 >= BEGIN_MS && times.1 < BEGIN_MS + DAY_MS, "{times:?}");
    assert_eq!(store.verify().unwrap().damage, damage);
    // What is damaged is not folded either, and nothing is made of what is left.
    let size = store.size();
    drop(store);
    let store = open(cold.path(), both());
    store.downsample(BEGIN_MS + 5 * DAY_MS).unwrap();
    let damage = store.damage();
    assert!(damage.iter().all(|one| one.affected.host == Some(host(1))), "{damage:?}");
    assert_eq!(resolutions(&store)[0], Some(HOUR), "host 2 is summarised");
    assert!(store.size().chunks > 0 && size.chunks > 0);
}

#[test]
fn a_host_with_a_damaged_chunk_keeps_its_samples() {
    let cold = folder();
    let store = open(cold.path(), five_minutes());
    fill(&store);
    drop(store);
    damage_chunk(cold.path(), &[2]);
    let store = open(cold.path(), five_minutes());
    let before = read(&store, Shape::Level, BEGIN_MS - 1, BEGIN_MS + DAY_MS - 1).0;
    store.downsample(BEGIN_MS + 3 * DAY_MS).unwrap();
    let (after, summaries) = read(&store, Shape::Level, BEGIN_MS - 1, BEGIN_MS + DAY_MS - 1);
    assert!(summaries.is_some() && !store.damage().is_empty());
    let is_of = |labels: &Labels| labels.get("instance") == Some("host1");
    let of_host = |lists: &Lists| -> Vec<(Labels, Vec<(i64, u64)>)> {
        let of_host = lists.iter().filter(|(labels, _)| is_of(labels));
        let bits = |list: &Vec<(i64, f64)>| {
            list.iter().map(|(at_ms, value)| (*at_ms, value.to_bits())).collect()
        };
        of_host.map(|(labels, list)| (labels.clone(), bits(list))).collect()
    };
    assert_eq!(of_host(&before), of_host(&after));
}

#[test]
fn summaries_are_found_when_the_state_is_damaged() {
    let (cold, other) = (folder(), folder());
    let store = open(cold.path(), both());
    fill(&store);
    store.downsample(BEGIN_MS + 5 * DAY_MS).unwrap();
    let stretch = (BEGIN_MS + 22 * HOUR_MS, BEGIN_MS + 50 * HOUR_MS);
    let whole = read(&store, Shape::Level, stretch.0, stretch.1);
    drop(store);
    copy(cold.path(), other.path());
    let database = Database::open(other.path().join("samples.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(STATE).unwrap().insert("state", [1, 2, 3].as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let store = open(other.path(), both());
    assert_eq!(store.damage().len(), 1);
    let found = read(&store, Shape::Level, stretch.0, stretch.1);
    assert_eq!((found.0.len(), found.1), (whole.0.len(), whole.1));
    // What comes late is folded in, not packed with it.
    let set = labels(&[("__name__", "late")]);
    store.commit(vec![points(1, &set, &[(BEGIN_MS + HOUR_MS, 1.0)])]).unwrap();
    store.seal_all(END_MS).unwrap();
    store.compact(END_MS + 9 * DAY_MS).unwrap();
    assert_eq!(store.damage().len(), 1, "{:?}", store.damage());
    assert_eq!(resolutions(&store)[0], Some(HOUR));
    store.downsample(BEGIN_MS + 5 * DAY_MS).unwrap();
    let again = read(&store, Shape::Level, stretch.0, stretch.1);
    assert_eq!((again.0.len(), again.1), (whole.0.len(), whole.1));
}

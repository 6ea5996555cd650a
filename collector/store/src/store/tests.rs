use super::*;
use upkeep_codec::Encoder;
use upkeep_model::Epoch;
use uuid::Uuid;

#[test]
fn after_a_failed_sync_nothing_more_is_taken_and_nothing_shown() {
    let place = tempfile::tempdir().unwrap();
    let (folder, damage) = (Folder::open(place.path()).unwrap(), DamageLog::default());
    let recovered = recover(&folder, &Options::default(), &damage).unwrap();
    let writer = Journal::onto(recovered.journal.clone(), "/dev/null");
    let store = Store::start(folder, Options::default(), damage, recovered, writer).unwrap();
    let stream = StreamKey { host: HostId(Uuid::nil()), epoch: Epoch([0; 16]) };
    let body: Bytes = Encoder::default().encode(1, 0, vec![(0, 1.0)]).bytes.into();
    store.describe(stream, 0, &[Labels::new([("__name__", "x")])]).unwrap();
    let frame = Append::Frame { stream, sequence: 1, body };

    let error = store.commit(vec![frame.clone()]).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "sync", .. }), "{error}");
    let error = store.commit(vec![frame.clone()]).unwrap_err();
    assert!(matches!(error, StoreError::Poisoned { .. }), "{error}");
    assert_eq!(store.committed(stream), Ranges::default());
    assert_eq!(store.select(&[], i64::MIN, i64::MAX).unwrap(), []);
    drop(store);

    let store = Store::open(place.path(), Options::default()).unwrap();
    store.describe(stream, 0, &[Labels::new([("__name__", "x")])]).unwrap();
    store.commit(vec![frame]).unwrap();
    assert_eq!(store.committed(stream), Ranges::through(1));
}

#[test]
fn while_too_much_waits_to_be_sealed_nothing_is_taken_and_nothing_lost() {
    let place = tempfile::tempdir().unwrap();
    let options = Options { journal_bytes: 1, ..Options::default() };
    let store = Store::open(place.path(), options).unwrap();
    let home = HostId(Uuid::nil());
    let append = |at_ms| {
        let points = vec![(Labels::new([("__name__", "x")]), at_ms, 1.0)];
        vec![Append::Points { home, points }]
    };
    // Sealing wants the state.
    let state = store.core.state();
    store.commit(append(1)).unwrap();
    let error = store.commit(append(2)).unwrap_err();
    assert!(matches!(error, StoreError::Overfull { limit: 1, .. }), "{error}");
    drop(state);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while store.commit(append(2)).is_err() {
        assert!(std::time::Instant::now() < until, "it was never sealed");
        thread::yield_now();
    }
    let found = store.select(&[], 0, 9).unwrap();
    assert_eq!(*found[0].timestamps, [1, 2]);
}

//! Where the lives of a buffer begin, which is what tells its copies apart.

use upkeep_agent::buffer::{Buffer, Memory};
use upkeep_model::Lane;

use super::{NOW, facts, observation, open, options};

/// Samples, events.
fn begins(buffer: &Buffer) -> [u64; 2] {
    [Lane::Samples, Lane::Events].map(|lane| buffer.life_from(lane))
}

#[test]
fn a_life_begins_behind_whatever_a_former_one_may_have_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut buffer = open(folder.path());
    let first = buffer.life();
    buffer.append(&[observation(0), observation(1), facts(10)]).unwrap();
    drop(buffer);

    // The first sent nothing.
    let mut buffer = open(folder.path());
    assert_ne!(buffer.life(), first);
    assert_eq!(begins(&buffer), [1, 1]);
    buffer.note_told().unwrap();
    buffer.append(&[observation(2)]).unwrap();
    assert_eq!(begins(&buffer), [1, 1]);
    drop(buffer);

    for tick in 3..5 {
        let mut buffer = open(folder.path());
        assert_eq!(begins(&buffer), [4, 2]);
        buffer.append(&[observation(tick), facts(10)]).unwrap();
    }
    let mut buffer = open(folder.path());
    buffer.note_told().unwrap();
    drop(buffer);
    let mut buffer = open(folder.path());
    assert_eq!(begins(&buffer), [6, 4]);
    buffer.start_over("a test").unwrap();
    assert_eq!(begins(&buffer), [1, 1]);
}

#[test]
fn that_a_life_was_told_survives_a_power_cut_as_soon_as_it_is_noted() {
    let (folder, memory) = (tempfile::tempdir().unwrap(), Memory::default());
    let open = || Buffer::open_in_memory(folder.path(), &memory, options(64 << 20), NOW).unwrap();
    let mut buffer = open();
    buffer.append(&[observation(0), facts(10)]).unwrap();
    memory.fail_next_sync();
    buffer.note_told().unwrap_err();
    let life = buffer.life();
    buffer.append(&[observation(1)]).unwrap();
    assert_eq!((begins(&buffer), buffer.life()), ([1, 1], life));
    drop(buffer);
    memory.cut_power();

    let mut buffer = open();
    assert_eq!(begins(&buffer), [1, 1], "it could not be noted");
    buffer.note_told().unwrap();
    drop(buffer);
    memory.cut_power();
    assert_eq!(begins(&open()), [3, 2]);
}

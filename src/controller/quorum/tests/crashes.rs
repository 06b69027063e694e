//! One member's files, cut off at every byte and every step.

use super::model::{Disk, first_snapshot};
use crate::controller::quorum::consensus::{Durable, Entry, Kept, LogBase, Payload, Persist};
use crate::controller::quorum::files::{FileStep, Files, FilesError, Recovered};
use crate::controller::quorum::log::LogError;
use crate::controller::quorum::snapshot::Snapshot;
use bytes::Bytes;

fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload::Records(Bytes::from(format!("decision {index} of term {term}")));
    Entry { term, index, payload }
}

fn formatted() -> Disk {
    let mut disk = Disk::default();
    Files::format(&first_snapshot(&[1])).iter().for_each(|step| disk.run(step));
    disk
}

fn recover(disk: &Disk) -> Result<Recovered, FilesError> {
    let log = disk.log.as_ref().map(|log| &log.now[..]);
    Files::recover(disk.snapshot.as_deref(), log, &disk.state.now)
}

fn write(disk: &mut Disk, files: &mut Files, entries: Vec<Entry>, commit: u64) -> Vec<FileStep> {
    let term = entries.last().map_or(1, |entry| entry.term);
    let state = Some(Durable { term, commit, ..Durable::default() });
    let steps = files.plan(vec![Persist { snapshot: None, entries, state, must_sync: false }]);
    steps.iter().for_each(|step| disk.run(step));
    steps
}

#[test]
fn a_change_of_a_lone_voter_is_one_write_and_one_sync() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    let steps = write(&mut disk, &mut files, vec![entry(1, 2)], 1);
    assert!(matches!(steps[..], [FileStep::WriteLog { .. }, FileStep::SyncLog]), "{steps:?}");
}

#[test]
fn a_write_that_is_torn_at_any_byte_leaves_what_was_before() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    write(&mut disk, &mut files, vec![entry(1, 2), entry(1, 3)], 1);
    let before = disk.log.as_ref().unwrap().now.len();
    write(&mut disk, &mut files, vec![entry(1, 4)], 3);
    let whole = disk.log.as_ref().unwrap().now.clone();
    for len in before..whole.len() {
        let mut torn = disk.clone();
        torn.log.as_mut().unwrap().now.truncate(len);
        let recovered = recover(&torn).unwrap();
        assert_eq!(recovered.entries.len(), 2, "torn at {len}");
        assert_eq!(recovered.repairs.is_empty(), len == before);
        recovered.repairs.iter().for_each(|step| torn.run(step));
        assert!(recover(&torn).unwrap().repairs.is_empty());
    }
}

/// A power cut left the last and not the first of the entries that were written together, and each
/// said that the others were committed: the broker refused to start (swarm seeds 1898, 2876).
#[test]
fn entries_that_are_written_together_do_not_vouch_for_each_other() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    let persist = |index: u64| {
        let state = Some(Durable { term: 1, commit: index - 1, ..Durable::default() });
        Persist { snapshot: None, entries: vec![entry(1, index)], state, must_sync: false }
    };
    let steps = files.plan((2..5).map(persist).collect());
    let FileStep::WriteLog { position, parts } = &steps[0] else { panic!("{steps:?}") };
    assert_eq!(parts.len(), 3, "one write");
    for lost in 0..parts.len() {
        let bytes = parts.iter().enumerate().flat_map(|(at, part)| match at == lost {
            true => vec![0; part.len()],
            false => part.to_vec(),
        });
        let mut torn = disk.clone();
        let parts = vec![bytes.collect::<Vec<u8>>().into()];
        torn.run(&FileStep::WriteLog { position: *position, parts });
        let recovered = recover(&torn).unwrap();
        assert_eq!(recovered.entries.len(), lost, "nobody was told of what comes behind");
    }
    steps.iter().for_each(|step| disk.run(step));
    assert_eq!(recover(&disk).unwrap().entries.len(), 3);
}

#[test]
fn a_committed_entry_that_cannot_be_read_stops_the_start_and_nothing_is_cut() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    write(&mut disk, &mut files, vec![entry(1, 2), entry(1, 3)], 3);
    files.plan_commit().iter().for_each(|step| disk.run(step));
    let log = disk.log.as_mut().unwrap();
    let last = log.now.len() - 1;
    log.now[last] ^= 1;
    let error = recover(&disk).unwrap_err();
    let FilesError::Log(LogError::Damaged { index, commit, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!((index, commit), (3, 3));
}

#[test]
fn entries_that_lost_an_election_are_cut_before_others_take_their_place() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    write(&mut disk, &mut files, vec![entry(1, 2), entry(1, 3), entry(1, 4)], 2);
    let steps = write(&mut disk, &mut files, vec![entry(2, 3)], 2);
    assert!(
        matches!(
            steps[..],
            [
                FileStep::CutLog { .. },
                FileStep::SyncLog,
                FileStep::WriteLog { .. },
                FileStep::SyncLog
            ]
        ),
        "{steps:?}"
    );
    let recovered = recover(&disk).unwrap();
    assert_eq!(recovered.entries, [entry(1, 2), entry(2, 3)]);
    assert_eq!(recovered.state.term, 2, "an entry of a term proves the term");
}

#[test]
fn a_compaction_cut_off_between_any_two_steps_loses_nothing() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    write(&mut disk, &mut files, vec![entry(1, 2), entry(1, 3), entry(1, 4)], 3);
    let snapshot = Snapshot { index: 3, term: 1, ..first_snapshot(&[1]) };
    let base = LogBase { index: 2, term: 1 };
    let kept = Kept { base, entries: vec![entry(1, 3), entry(1, 4)] };
    let steps = files.plan_compaction(&snapshot, &kept);
    for done in 0..=steps.len() {
        let mut disk = disk.clone();
        steps[..done].iter().for_each(|step| disk.run(step));
        let recovered = recover(&disk).unwrap();
        assert_eq!(recovered.entries.last(), Some(&entry(1, 4)), "after {done} steps");
        assert_eq!(recovered.snapshot.index, if done == 0 { 1 } else { 3 });
    }
}

#[test]
fn a_snapshot_from_the_leader_replaces_a_log_that_does_not_reach_it() {
    let mut disk = formatted();
    let mut files = recover(&disk).unwrap().files;
    write(&mut disk, &mut files, vec![entry(1, 2), entry(1, 3)], 1);
    let snapshot = Snapshot { index: 9, term: 3, ..first_snapshot(&[1]) };
    let persist = Persist { snapshot: Some(snapshot), must_sync: true, ..Persist::default() };
    let steps = files.plan(vec![persist]);
    for done in 1..=steps.len() {
        let mut disk = disk.clone();
        steps[..done].iter().for_each(|step| disk.run(step));
        let recovered = recover(&disk).unwrap();
        assert_eq!((recovered.snapshot.index, recovered.entries.len()), (9, 0));
        assert_eq!((recovered.base.index, recovered.state.commit), (9, 9));
    }
}

#[test]
fn a_log_without_its_snapshot_is_named() {
    let mut disk = formatted();
    disk.snapshot = None;
    assert_eq!(recover(&disk).unwrap_err(), FilesError::NoSnapshot { base: 1 });
}

//! A bit that rots in a segment of one of three brokers: somebody reads it, the replica is taken
//! out, is fetched anew from a good one and is in sync again, and nothing acknowledged is lost.

use super::PATIENCE;
use super::losses::{Kept, TOPIC};
use harness::{batches_in, flip_bit, segments_below, wait_until};
use std::path::{Path, PathBuf};

/// The smallest that Kafka allows.
const CONFIGS: [(&str, &str); 2] = [("segment.bytes", "1048576"), ("min.insync.replicas", "2")];
/// A hundred of these are two segments.
const RECORD_BYTES: usize = 20_000;
const CORRUPT_MESSAGE: i16 = 2;
/// In the records of a batch.
const PLACE: usize = 1000;

/// Three brokers that have a few segments.
fn start() -> Kept {
    let mut kept = Kept::start_with(3, &CONFIGS, RECORD_BYTES);
    for _ in 0..2 {
        kept.write_some("records on three brokers");
    }
    kept
}

/// Who leads, once somebody does whom `is_wanted` takes.
fn leader(kept: &Kept, what: &str, is_wanted: impl Fn(usize) -> bool) -> usize {
    let leader = wait_until(what, PATIENCE, || {
        usize::try_from(kept.leader()?).ok().filter(|leader| is_wanted(*leader))
    });
    leader.unwrap_or_else(|late| panic!("{late}\n{}", kept.cluster.report()))
}

/// Flips a bit in the middle of a broker's first segment, and says which file that is.
fn rot(kept: &mut Kept, id: usize) -> PathBuf {
    let folder = kept.cluster.folder_of(TOPIC);
    let topic = kept.cluster.broker(id).data_directory().join("topics").join(folder);
    let segments = segments_below(&topic);
    assert!(segments.len() > 1, "the first one is closed: {segments:?}");
    let batches = batches_in(&segments[0]);
    let batch = &batches[batches.len() / 2];
    assert!(batch.len() > PLACE, "{batch:?}");
    flip_bit(&segments[0], batch.start + PLACE, 3);
    segments[0].clone()
}

/// Its log names the file, and says that it was given up and replaced.
fn assert_told(kept: &mut Kept, id: usize, segment: &Path) {
    let log = kept.cluster.broker(id).log();
    let path = segment.display().to_string();
    let found = log.lines().find(|line| line.contains("the replica is damaged"));
    assert!(found.is_some_and(|line| line.contains(&path)), "no word of {path}\n{log}");
    assert!(log.contains("damaged: fetched anew from its leader"), "no word of repair\n{log}");
}

/// Each broker gives everything when it leads.
fn assert_each_has_everything(kept: &mut Kept) {
    kept.cluster.wait_until_whole(&[TOPIC]);
    for id in 1..=3 {
        kept.cluster.lead(TOPIC, id);
        let codes = kept.read_all_at(id);
        assert!(!codes.contains(&CORRUPT_MESSAGE), "broker {id}: {codes:?}");
    }
}

#[test]
fn a_follower_with_a_rotten_segment_is_taken_out_and_mends_itself() {
    let mut kept = start();
    let leads = leader(&kept, "a leader", |_| true);
    let follower = (1..=3).find(|id| *id != leads).expect("there are three");
    kept.cluster.broker(follower).stop();
    let segment = rot(&mut kept, follower);
    kept.write_some("records on two brokers");
    kept.cluster.broker(follower).restart();
    kept.cluster.wait_until_whole(&[TOPIC]);

    let codes = kept.read_all_at(follower);
    assert!(codes.contains(&CORRUPT_MESSAGE), "it was never shown: {codes:?}");
    assert_told(&mut kept, follower, &segment);
    kept.write_some("records on three brokers again");
    assert_each_has_everything(&mut kept);
}

#[test]
fn a_leader_whose_segment_rots_while_it_runs_hands_over_and_mends_itself() {
    let mut kept = start();
    // A broker knows what it has written itself; from now on it is in files only.
    for id in 1..=3 {
        kept.cluster.broker(id).stop();
        kept.cluster.broker(id).restart();
        kept.cluster.wait_until_whole(&[TOPIC]);
    }
    let first = leader(&kept, "a leader", |_| true);
    let segment = rot(&mut kept, first);

    let codes = kept.read_all_at(first);
    assert!(codes.contains(&CORRUPT_MESSAGE), "it was never shown: {codes:?}");
    leader(&kept, "another leader", |other| other != first);
    assert_told(&mut kept, first, &segment);
    kept.write_some("records of another leader");
    assert_each_has_everything(&mut kept);
}

//! What acks=all means with one and with two in-sync replicas asked for, when brokers are lost one
//! after the other. Five vote, so that the metadata goes on without two of them; three have
//! replicas.

use super::BINARY;
use bytes::Bytes;
use harness::{Cluster, Wire, now_ms, wait_until};
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord};
use highwater::protocol::record_batch::CheckedBatch;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

pub(crate) const TOPIC: &str = "kept";
const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than the answer to a batch takes that waits for a replica until the broker gives up.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);
const REPLICAS: [i32; 3] = [1, 2, 3];
const RECORDS: usize = 100;
const NOT_ENOUGH_REPLICAS: i16 = 19;

/// One record of now: older ones would be deleted while the test looks on.
pub(crate) fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let (timestamp_ms, value) = (now_ms(), Some(value.as_bytes()));
    let record = NewRecord { timestamp_ms, value, ..NewRecord::default() };
    builder.push(&record).expect("a small record");
    builder.build().expect("a small batch")
}

/// A topic on three brokers, and what was acknowledged of it.
pub(crate) struct Kept {
    pub(crate) cluster: Cluster,
    lost: Vec<i32>,
    acked: BTreeMap<i64, String>,
    next: usize,
    /// Bytes of a record beyond its number.
    padding: usize,
}

impl Kept {
    pub(crate) fn start(brokers: usize, min_insync: &str) -> Kept {
        Kept::start_with(brokers, &[("min.insync.replicas", min_insync)], 0)
    }

    /// With these configs of the topic, and records of at least so many bytes.
    pub(crate) fn start_with(brokers: usize, configs: &[(&str, &str)], padding: usize) -> Kept {
        let mut cluster = Cluster::prepare(BINARY, brokers, &[]);
        cluster.start_all();
        cluster.create_topic(TOPIC, 1, configs);
        cluster.reassign(TOPIC, |_| REPLICAS.to_vec());
        Kept { cluster, lost: Vec::new(), acked: BTreeMap::new(), next: 0, padding }
    }

    /// The leader as the last broker that was not lost knows it.
    pub(crate) fn leader(&self) -> Option<i32> {
        let is_there = |id: &usize| !self.lost.iter().any(|lost| usize::try_from(*lost) == Ok(*id));
        let asked = (1..=self.cluster.len()).rev().find(is_there)?;
        let views = self.cluster.describe(asked, TOPIC).ok()?;
        views.first().map(|view| view.leader).filter(|leader| REPLICAS.contains(leader))
    }

    fn connect(&mut self) -> Option<Wire> {
        let leader = usize::try_from(self.leader()?).ok()?;
        Wire::connect_within(&self.cluster.broker(leader).bootstrap(), ANSWER_PATIENCE).ok()
    }

    /// Writes one record; the code of the answer, which is 0 when it is acknowledged.
    fn write(&mut self, wire: &mut Wire) -> io::Result<i16> {
        let value = format!("record {}{}", self.next, ".".repeat(self.padding));
        self.next += 1;
        wire.send_batch((TOPIC, 0), -1, batch(&value))?;
        let produced = wire.receive_produced()?;
        if produced.error_code == 0 {
            let other = self.acked.insert(produced.base_offset, value);
            assert_eq!(other, None, "an offset is given once");
        }
        Ok(produced.error_code)
    }

    /// Writes until so many more are acknowledged.
    pub(crate) fn write_some(&mut self, what: &str) {
        let wanted = self.acked.len() + RECORDS;
        let written = wait_until(what, PATIENCE, || {
            let mut wire = self.connect()?;
            while self.acked.len() < wanted {
                if self.write(&mut wire).ok()? != 0 {
                    return None;
                }
            }
            Some(())
        });
        written.unwrap_or_else(|late| panic!("{late}\n{}", self.cluster.report()));
    }

    /// SIGKILL for whoever leads.
    pub(crate) fn lose_the_leader(&mut self) {
        let leader = self.leader().expect("somebody leads");
        self.cluster.broker(usize::try_from(leader).expect("an id")).kill();
        self.lost.push(leader);
    }

    pub(crate) fn wait_for_another_leader(&self) {
        let other = wait_until("another leader", PATIENCE, || {
            self.leader().filter(|leader| !self.lost.contains(leader))
        });
        other.unwrap_or_else(|late| panic!("{late}\n{}", self.cluster.report()));
    }

    /// Behind the last record that was acknowledged.
    pub(crate) fn end(&self) -> i64 {
        self.acked.keys().max().expect("something was acknowledged") + 1
    }

    /// Reads everything from the leader, by offset.
    fn read(&mut self) -> BTreeMap<i64, String> {
        let mut wire = self.connect().expect("somebody leads");
        let end = self.end();
        let mut found = BTreeMap::new();
        let mut next = 0;
        while next < end {
            let batches = wire.fetch(TOPIC, 0, next).expect("the leader runs");
            assert!(!batches.is_empty(), "nothing at {next} of {end}\n{}", self.cluster.report());
            for batch in batches {
                next = batch.header().last_offset() + 1;
                take(&batch, &mut found);
            }
        }
        found
    }

    /// Reads everything from one broker, whatever it takes; the errors on the way.
    pub(crate) fn read_all_at(&mut self, id: usize) -> BTreeSet<i16> {
        let address = self.cluster.broker(id).bootstrap();
        let end = self.end();
        let (mut next, mut codes, mut found) = (0, BTreeSet::new(), BTreeMap::new());
        let read = wait_until("every record of one broker", PATIENCE, || {
            let mut wire = Wire::connect_within(&address, ANSWER_PATIENCE).ok()?;
            while next < end {
                let batches = match wire.try_fetch(TOPIC, 0, next).ok()? {
                    Ok(batches) => batches,
                    Err(code) => {
                        codes.insert(code);
                        return None;
                    }
                };
                for batch in &batches {
                    take(batch, &mut found);
                }
                next = batches.last()?.header().last_offset() + 1;
            }
            Some(())
        });
        read.unwrap_or_else(|late| {
            panic!("{late}: {next} of {end}, {codes:?}\n{}", self.cluster.report())
        });
        for (offset, value) in &self.acked {
            assert_eq!(found.get(offset), Some(value), "acknowledged at {offset}");
        }
        codes
    }

    /// Everything acknowledged is where it was.
    pub(crate) fn assert_kept(&mut self) {
        let found = self.read();
        for (offset, value) in &self.acked {
            assert_eq!(found.get(offset), Some(value), "acknowledged at {offset}");
        }
    }

    /// No record says this.
    pub(crate) fn assert_absent(&mut self, value: &str) {
        assert!(self.read().values().all(|found| found != value), "{value} is there");
    }
}

/// The records of a batch, by offset.
fn take(batch: &CheckedBatch, found: &mut BTreeMap<i64, String>) {
    for record in batch.decode_records().expect("as sent").iter() {
        let record = record.expect("as sent");
        let value = record.value.expect("as sent").to_vec();
        found.insert(record.offset, String::from_utf8(value).expect("as sent"));
    }
}

#[test]
fn with_one_in_sync_replica_asked_for_the_last_of_three_brokers_has_everything_acknowledged() {
    let mut kept = Kept::start(5, "1");
    kept.write_some("records on three brokers");
    kept.lose_the_leader();
    kept.write_some("records on two brokers");
    kept.lose_the_leader();
    kept.write_some("records on one broker");
    kept.assert_kept();
}

#[test]
fn with_two_in_sync_replicas_asked_for_the_last_of_three_brokers_refuses_and_loses_nothing() {
    let mut kept = Kept::start(5, "2");
    kept.write_some("records on three brokers");
    kept.lose_the_leader();
    kept.write_some("records on two brokers");
    kept.lose_the_leader();
    kept.wait_for_another_leader();
    let before = kept.acked.len();
    let refused = wait_until("a refusal", PATIENCE, || {
        let mut wire = kept.connect()?;
        kept.write(&mut wire).ok().filter(|code| *code == NOT_ENOUGH_REPLICAS)
    });
    refused.unwrap_or_else(|late| panic!("{late}\n{}", kept.cluster.report()));
    assert_eq!(kept.acked.len(), before, "nothing is acknowledged with one replica in sync");
    let back = kept.lost.pop().expect("two were lost");
    kept.cluster.broker(usize::try_from(back).expect("an id")).restart();
    kept.write_some("records on two brokers again");
    kept.assert_kept();
}

//! Reads a topic in the order of offsets into a ledger, through brokers that come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::record_batch::{BatchError, BatchHeader, CheckedBatch};

use crate::clock::now_ns;
use crate::control::Control;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::topic::{LogEnd, Topic, list_offsets};
use crate::verify_producer::connect;

const MAX_WAIT_MS: i32 = 100;
const PARTITION_BYTES_MAX: i32 = 1024 * 1024;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Where a reader stands.
pub(crate) struct VerifyReader {
    bootstrap: String,
    topic: Topic,
    positions: BTreeMap<i32, i64>,
    connections: BTreeMap<String, Control>,
    pub(crate) ledger: Ledger,
    pub(crate) reconnects: u64,
}

impl VerifyReader {
    /// Reads from `positions` on, which has every partition.
    pub(crate) fn new(
        bootstrap: &str,
        topic: &Topic,
        positions: BTreeMap<i32, i64>,
        run: u64,
    ) -> VerifyReader {
        VerifyReader {
            bootstrap: bootstrap.to_owned(),
            topic: topic.clone(),
            positions,
            connections: BTreeMap::new(),
            ledger: Ledger::new(run),
            reconnects: 0,
        }
    }

    /// Reads along until `is_over` says so; failures mean to connect again.
    pub(crate) fn follow(&mut self, is_over: impl Fn() -> bool) {
        while !is_over() {
            if self.read_once().is_err() {
                self.reconnect();
            }
        }
    }

    /// Reads up to `ends`.
    ///
    /// # Errors
    /// The last failure, when `deadline_ns` has passed before.
    pub(crate) fn read_to(
        &mut self,
        ends: &BTreeMap<i32, i64>,
        deadline_ns: u64,
    ) -> Result<(), Failure> {
        let is_there = |positions: &BTreeMap<i32, i64>| {
            ends.iter().all(|(partition, end)| positions.get(partition) >= Some(end))
        };
        while !is_there(&self.positions) {
            let outcome = self.read_once();
            if now_ns() >= deadline_ns {
                // What is missing then is counted as lost.
                return outcome;
            }
            if outcome.is_err() {
                self.reconnect();
            }
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "pauses between attempts; the caller has an end")]
    fn reconnect(&mut self) {
        self.reconnects += 1;
        self.connections.clear();
        std::thread::sleep(TRY_AGAIN_AFTER);
        let found = connect(&self.bootstrap)
            .and_then(|mut control| Topic::find_now(&mut control, &self.topic.name));
        match found {
            Ok(topic) if topic.partition_count() == self.positions.len() => self.topic = topic,
            // A partition that has no leader now would not be asked for again.
            _ => {}
        }
    }

    /// One fetch from each leader.
    fn read_once(&mut self) -> Result<(), Failure> {
        for (address, led) in self.topic.leaders.clone() {
            for (partition, code, records) in self.fetch(&address, &led)? {
                if code != 0 {
                    let topic = self.topic.name.clone();
                    return Err(Failure::Refused { api: "Fetch", topic, code });
                }
                self.enter(partition, records);
            }
        }
        Ok(())
    }

    fn fetch(&mut self, address: &str, led: &[i32]) -> Result<Vec<(i32, i16, Bytes)>, Failure> {
        if !self.connections.contains_key(address) {
            self.connections.insert(address.to_owned(), connect(address)?);
        }
        let connection = self.connections.get_mut(address).expect("inserted above");
        let positions = &self.positions;
        let partitions = led.iter().filter_map(|partition| {
            let fetch_offset = *positions.get(partition)?;
            Some(FetchPartition {
                partition: *partition,
                fetch_offset,
                partition_max_bytes: PARTITION_BYTES_MAX,
                ..FetchPartition::default()
            })
        });
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: i32::MAX,
            topics: vec![FetchTopic {
                topic: self.topic.name.clone(),
                topic_id: self.topic.id,
                partitions: partitions.collect(),
            }],
            ..FetchRequest::default()
        };
        let version_max = if self.topic.id.is_nil() { 12 } else { i16::MAX };
        let answer = connection.call_at_most(&request, version_max)?;
        let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
        let parts = partitions.map(|partition| {
            (partition.partition_index, partition.error_code, partition.records.into_bytes())
        });
        Ok(parts.collect())
    }

    fn enter(&mut self, partition: i32, mut records: Bytes) {
        let Some(next) = self.positions.get_mut(&partition) else {
            return;
        };
        while !records.is_empty() {
            match CheckedBatch::check_first(&mut records) {
                Ok(batch) => {
                    enter_batch(&mut self.ledger, partition, *next, &batch);
                    *next = (*next).max(batch.header().last_offset() + 1);
                }
                // A last batch that does not fit is cut off; it comes whole with the next fetch.
                Err(BatchError::Truncated { .. }) => return,
                Err(_) => {
                    self.ledger.see_damage();
                    let Ok(header) = BatchHeader::read(&records) else {
                        return;
                    };
                    *next = (*next).max(header.last_offset().saturating_add(1));
                    let size = header.size().clamp(1, records.len());
                    records = records.slice(size..);
                }
            }
        }
    }
}

fn enter_batch(ledger: &mut Ledger, partition: i32, from: i64, batch: &CheckedBatch) {
    let Ok(records) = batch.decode_records() else {
        ledger.see_damage();
        return;
    };
    for record in records.iter() {
        match record {
            // A batch may begin before the offset that was asked for.
            Ok(record) if record.offset < from => {}
            Ok(record) => ledger.see(partition, record.value),
            Err(_) => ledger.see_damage(),
        }
    }
}

/// The ends of all partitions, asked from their leaders.
pub(crate) fn log_ends(bootstrap: &str, name: &str) -> Result<BTreeMap<i32, i64>, Failure> {
    let topic = Topic::find(&mut connect(bootstrap)?, name)?;
    let mut ends = BTreeMap::new();
    for (address, led) in &topic.leaders {
        ends.extend(list_offsets(&mut connect(address)?, name, led, LogEnd::End)?);
    }
    Ok(ends)
}

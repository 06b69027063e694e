//! Consumers: what they are shown must be there for ever.

use super::caller::{Caller, Net, RETRY_US};
use super::committed::committed_values;
use super::history::{History, Log};
use super::past;
use bytes::Bytes;
use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchTopic, PartitionData,
};
use highwater::protocol::record_batch::CheckedBatch;
use std::cell::RefCell;
use std::rc::Rc;
use uuid::Uuid;

/// What is read, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) topic: Uuid,
    pub(crate) partition: i32,
    /// 1 for committed records only.
    pub(crate) isolation_level: i8,
}

/// Follows one partition of the plain topic, for ever.
pub(crate) async fn follow(net: Net, source: Source, history: Rc<RefCell<History>>) {
    let mut caller = Caller::new(&net);
    let mut next = 0;
    loop {
        // Some begin again, and so read what others have read before.
        if net.random(|random| random.chance(1)) {
            next = 0;
        }
        let Some(data) = fetch(&mut caller, source, next).await else { continue };
        for (offset, value) in values_of(data.records.into_bytes()) {
            if offset >= next {
                assert_eq!(offset, next, "offsets of {source:?} are dense");
                history.borrow_mut().show(source.partition, offset, value);
                next = offset + 1;
            }
        }
    }
}

/// Follows the committed records of one partition, for ever.
pub(crate) async fn follow_committed(
    net: Net,
    source: Source,
    history: Rc<RefCell<past::History>>,
) {
    let mut caller = Caller::new(&net);
    let mut next = 0;
    loop {
        let Some(data) = fetch(&mut caller, source, next).await else { continue };
        let (values, end) = committed_values(data, next);
        next = end;
        for (offset, value) in values {
            history.borrow_mut().show(source.partition, offset, value);
        }
    }
}

/// Everything committed that a partition holds, once all transactions have ended.
pub(crate) async fn read_committed(net: &Net, source: Source) -> past::Seen {
    let mut caller = Caller::new(net);
    let mut seen = past::Seen::new();
    let mut next = 0;
    loop {
        let Some(data) = fetch(&mut caller, source, next).await else { continue };
        let (end, stable) = (data.high_watermark, data.last_stable_offset);
        let (values, reached) = committed_values(data, next);
        seen.extend(values);
        next = reached;
        if stable < end {
            caller.net.pause(RETRY_US).await;
        } else if next >= end {
            return seen;
        }
    }
}

async fn fetch(caller: &mut Caller, source: Source, from: i64) -> Option<PartitionData> {
    let (leader, epoch) = caller.leader(source.name, source.partition).await?;
    let part = FetchPartition {
        partition: source.partition,
        current_leader_epoch: epoch,
        fetch_offset: from,
        partition_max_bytes: 300_000,
        ..FetchPartition::default()
    };
    let topic =
        FetchTopic { topic_id: source.topic, partitions: vec![part], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1_000_000,
        isolation_level: source.isolation_level,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    let answer = caller.call(leader, request).await;
    let data = answer
        .and_then(|answer| answer.responses.into_iter().next()?.partitions.into_iter().next());
    let code = data.as_ref().map(|data| KafkaCode::from_number(data.error_code).unwrap());
    match code {
        Some(KafkaCode::None) => return data,
        None | Some(KafkaCode::OffsetOutOfRange) => {}
        Some(code) => assert!(code.is_retriable(), "{code:?}"),
    }
    caller.forget_leader(source.name, source.partition);
    caller.net.pause(RETRY_US).await;
    None
}

/// Offsets and values of whole batches.
pub(crate) fn values_of(mut bytes: Bytes) -> Log {
    let mut found = Log::new();
    while !bytes.is_empty() {
        let batch = CheckedBatch::check_first(&mut bytes).unwrap();
        for record in batch.decode_records().unwrap().iter() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            found.insert(record.offset, value);
        }
    }
    found
}

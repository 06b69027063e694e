//! What a client that reads committed records makes of an answer.

use bytes::Bytes;
use highwater::protocol::messages::fetch::{AbortedTransaction, PartitionData};
use highwater::protocol::record::TransactionMarker;
use highwater::protocol::record_batch::CheckedBatch;
use std::collections::BTreeSet;

/// What a client shows of an answer, and where it goes on: it leaves out markers and what the
/// broker's list of aborted transactions covers.
pub(crate) fn committed_values(data: PartitionData, from: i64) -> (Vec<(i64, String)>, i64) {
    let mut aborted: Vec<AbortedTransaction> = data.aborted_transactions.unwrap_or_default();
    aborted.sort_by_key(|one| one.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut skipped = BTreeSet::new();
    let mut bytes: Bytes = data.records.into_bytes();
    let (mut values, mut next) = (Vec::new(), from);
    while !bytes.is_empty() {
        let batch = CheckedBatch::check_first(&mut bytes).unwrap();
        let header = batch.header();
        while let Some(one) = aborted.next_if(|one| one.first_offset <= header.last_offset()) {
            skipped.insert(one.producer_id);
        }
        next = header.last_offset() + 1;
        assert!(next <= data.last_stable_offset, "a batch beyond the last stable offset");
        for record in batch.decode_records().unwrap().iter() {
            let record = record.unwrap();
            if header.attributes().is_control() {
                let marker = record.key.and_then(TransactionMarker::from_key).unwrap();
                if marker == TransactionMarker::Abort {
                    skipped.remove(&header.producer_id());
                }
            } else if record.offset >= from && !skipped.contains(&header.producer_id()) {
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                values.push((record.offset, value));
            }
        }
    }
    (values, next)
}

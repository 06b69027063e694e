//! What the clients of one core append: batches with and without producers, in and out of
//! transactions, sent again now and then, and the markers that end transactions.

use crate::compaction::KEYS;
use crate::model::{Marker, Model, ModelBatch, ModelRecord, Sequence, transaction_view};
use crate::storage::{CoreRef, EPOCH, Models};
use bytes::Bytes;
use highwater::model::ids::LeaderEpoch;
use highwater::protocol::record::{
    BatchBuilder, BatchOptions, NewRecord, ProducerStamp, TransactionMarker,
};
use highwater::protocol::record_batch::{self, CheckedBatch};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimHandle;
use highwater::sim::random::Random;
use highwater::storage::append_check::{AppendContext, AppendOrigin};
use highwater::storage::partition_log::PartitionLog;
use highwater::storage::tail_cache::TailArena;

/// Producers from here on are transactional.
const TRANSACTIONAL_FROM: i64 = 4;

/// Appends a batch or a marker to some partition.
pub(crate) fn append_one(core: &CoreRef, models: &Models, handle: &SimHandle) {
    let core = &mut *core.borrow_mut();
    let random = &mut core.random;
    let index = random.index(core.logs.len());
    let model = &mut models.borrow_mut()[index];
    let context = AppendContext {
        leader_epoch: LeaderEpoch(EPOCH),
        now: handle.now(),
        origin: AppendOrigin::Client,
    };
    let log = &mut core.logs[index];
    let id = i64::try_from(random.below(7)).unwrap();
    if id >= TRANSACTIONAL_FROM && random.chance(40) {
        return end_transaction(log, model, id, random, (handle, &mut core.arena));
    }
    let producers = model.producers();
    let recent = model.batches.iter().rev().take_while(|_| id > 0);
    let again = recent.filter(|batch| batch.sequence.is_some()).take(3).last();
    if let Some(again) = again.filter(|_| random.chance(10)) {
        let sequence = again.sequence.unwrap();
        let is_kept = producers[&sequence.id].1.iter().any(|span| span.0 == sequence.first);
        // As its producer sent it, before it was stamped.
        let mut sent = again.bytes.clone();
        record_batch::stamp(&mut sent, 0, -1);
        let batch = CheckedBatch::check_produced(Bytes::from(sent)).unwrap();
        let answer = log.append(batch, context, &mut core.arena);
        if is_kept && producers[&sequence.id].0 == sequence.epoch {
            let answer = answer.expect("a duplicate is no error");
            assert!(answer.is_duplicate);
            assert_eq!(answer.base_offset.get(), again.base);
        } else {
            answer.expect_err("an old batch is no duplicate any more");
        }
        return;
    }
    let sequence = (id > 0).then(|| next_sequence(&producers, id, random));
    let is_transactional = id >= TRANSACTIONAL_FROM;
    let is_keyed = log.config().cleanup.compact;
    let (bytes, mut records) = build(sequence, is_transactional, is_keyed, random);
    let batch = CheckedBatch::check_produced(bytes.clone()).unwrap();
    let answer = match log.append(batch, context, &mut core.arena) {
        Ok(answer) => answer,
        Err(error) => {
            assert!(matches!(error.kafka_code().number(), 18), "{error}");
            return;
        }
    };
    assert!(!answer.is_duplicate);
    let base = answer.base_offset.get();
    assert_eq!(base, model.end().max(log.log_start().get()), "offsets are dense");
    let mut stamped = bytes.to_vec();
    record_batch::stamp(&mut stamped, answer.base_offset.to_wire(), EPOCH);
    let end = answer.last_offset.get() + 1;
    records.iter_mut().for_each(|record| record.offset += base);
    let marker = None;
    model.batches.push(ModelBatch {
        base,
        end,
        bytes: stamped,
        sequence,
        is_transactional,
        marker,
        records,
    });
}

/// Writes a marker as a coordinator does, under the producer's epoch or, as KIP-890 has it, under
/// the next one.
fn end_transaction(
    log: &mut PartitionLog<SimDisk>,
    model: &mut Model,
    id: i64,
    random: &mut Random,
    (handle, arena): (&SimHandle, &mut TailArena),
) {
    let Some((epoch, _)) = model.producers().get(&id).cloned() else { return };
    let marker =
        Marker { id, epoch: epoch + i16::from(random.chance(50)), is_commit: random.chance(50) };
    let context = AppendContext {
        leader_epoch: LeaderEpoch(EPOCH),
        now: handle.now(),
        origin: AppendOrigin::Coordinator,
    };
    let producer =
        ProducerStamp { producer_id: id, producer_epoch: marker.epoch, base_sequence: -1 };
    let kind = match marker.is_commit {
        true => TransactionMarker::Commit,
        false => TransactionMarker::Abort,
    };
    let bytes = kind.batch(producer, 0, 1_000).unwrap();
    let batch = CheckedBatch::check_first(&mut bytes.clone()).unwrap();
    let answer = log.append(batch, context, arena).expect("the epoch is not behind");
    let base = answer.base_offset.get();
    let mut bytes = bytes.to_vec();
    record_batch::stamp(&mut bytes, answer.base_offset.to_wire(), EPOCH);
    model.batches.push(ModelBatch {
        base,
        end: base + 1,
        bytes,
        sequence: None,
        is_transactional: true,
        marker: Some(marker),
        records: Vec::new(),
    });
    let expected = model.transactions(log.log_start().get());
    match log.config().cleanup.compact {
        true => assert_eq!(transaction_view(log).open, expected.open),
        false => assert_eq!(transaction_view(log), expected),
    }
}

fn next_sequence(
    producers: &std::collections::BTreeMap<i64, crate::model::ProducerView>,
    id: i64,
    random: &mut Random,
) -> Sequence {
    let Some((epoch, spans)) = producers.get(&id) else {
        let first = i32::try_from(random.below(3)).unwrap() * (i32::MAX / 2);
        return Sequence { id, epoch: 0, first, last: first };
    };
    if random.chance(5) {
        return Sequence { id, epoch: epoch + 1, first: 0, last: 0 };
    }
    let last = spans.last().map_or(-1, |span| span.1);
    let first = last.checked_add(1).unwrap_or(0);
    Sequence { id, epoch: *epoch, first, last: first }
}

/// A batch of one record with a producer, of several without.
fn build(
    sequence: Option<Sequence>,
    is_transactional: bool,
    is_keyed: bool,
    random: &mut Random,
) -> (Bytes, Vec<ModelRecord>) {
    let producer = sequence.map_or(ProducerStamp::NONE, |sequence| ProducerStamp {
        producer_id: sequence.id,
        producer_epoch: sequence.epoch,
        base_sequence: sequence.first,
    });
    let options = BatchOptions { producer, is_transactional, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    let records = if sequence.is_some() { 1 } else { 1 + random.below(3) };
    let mut model_records = Vec::new();
    for offset in 0..records {
        let size = match random.below(40) {
            0 => 17_000,
            1..=4 => 3_000,
            _ => random.index(400),
        };
        let fill = u8::try_from(random.below(256)).unwrap();
        let timestamp_ms = i64::try_from(1_000 + random.below(1_000_000)).unwrap();
        let value = vec![fill; size];
        let value = Some(value.as_slice());
        let name;
        let record = match is_keyed {
            false => NewRecord { timestamp_ms, value, ..NewRecord::default() },
            true => {
                let (key, is_tombstone) = (random.below(KEYS), random.chance(20));
                name = key.to_be_bytes();
                model_records.push(ModelRecord { offset, key, is_tombstone });
                let value = value.filter(|_| !is_tombstone);
                NewRecord { timestamp_ms, key: Some(&name), value, ..NewRecord::default() }
            }
        };
        builder.push(&record).unwrap();
    }
    (builder.build().unwrap(), model_records)
}

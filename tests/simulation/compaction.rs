//! Compaction beside everything else that a core does, and what it may have taken.

use crate::model::{Model, ModelBatch, ModelRecord, transaction_view};
use crate::storage::{CoreRef, Models, give_up, pause, persist};
use bytes::Bytes;
use highwater::protocol::record_batch::CheckedBatch;
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimHandle;
use highwater::storage::compaction::{Round, Step, SwapPlan};
use highwater::storage::error::StorageError;
use highwater::storage::partition_log::PartitionLog;
use std::collections::{BTreeMap, BTreeSet};

/// Keys in use: few, so that most records are superseded soon.
pub(crate) const KEYS: u64 = 7;

/// The compactor of one core; gives up its round when the core stops.
pub(crate) async fn compaction_loop(
    core: CoreRef,
    models: Models,
    disk: SimDisk,
    handle: SimHandle,
) {
    while !core.borrow().is_stopping {
        pause(&core, &handle, 800).await;
        let index = {
            let core = &mut *core.borrow_mut();
            core.random.index(core.logs.len())
        };
        let snapshot = core.borrow_mut().logs[index].plan_snapshot_for_compaction();
        if let Some(plan) = snapshot {
            match plan.execute(&disk).await {
                Ok(done) => core.borrow_mut().logs[index].snapshot_written(done),
                Err(error) => {
                    give_up(&core, &error);
                    continue;
                }
            }
        }
        if persist(&core, &models, &disk).await.is_err() {
            continue;
        }
        let round = {
            let core = &mut *core.borrow_mut();
            let map_bytes = [1, 400, 1 << 20][core.random.index(3)];
            let log = &mut core.logs[index];
            let high_watermark = log.durable_end();
            log.on_committed(high_watermark);
            let stable_end = log.last_stable_offset(high_watermark);
            log.plan_compaction(handle.now(), stable_end, map_bytes)
        };
        if let Some(round) = round {
            run(&core, index, &disk, &handle, round).await;
        }
    }
}

async fn run(
    core: &CoreRef,
    index: usize,
    disk: &SimDisk,
    handle: &SimHandle,
    mut round: Round<SimDisk>,
) {
    loop {
        let is_stopping = core.borrow().is_stopping;
        let step = match is_stopping {
            true => break,
            false => round.step(disk).await,
        };
        let swapped = match step {
            Ok(Step::Worked { .. }) => Ok(true),
            Ok(Step::Done(done)) => return core.borrow_mut().logs[index].compacted(done),
            Ok(Step::Swap(plan)) => swap(core, index, disk, *plan).await,
            Err(error) => Err(error),
        };
        match swapped {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                give_up_round(core, &error);
                break;
            }
        }
        if core.borrow_mut().random.chance(30) {
            pause(core, handle, 200).await;
        }
    }
    core.borrow_mut().logs[index].compaction_failed();
    if let Err(error) = round.abandon(disk).await {
        give_up(core, &error);
    }
}

/// Retention may remove what a round still has to read.
fn give_up_round(core: &CoreRef, error: &StorageError) {
    match error {
        StorageError::Disk(error) if error.source.kind() == std::io::ErrorKind::NotFound => {}
        StorageError::Disk(_) => give_up(core, error),
        StorageError::Corrupt { .. } | StorageError::Senseless { .. } => panic!("{error}"),
    }
}

async fn swap(
    core: &CoreRef,
    index: usize,
    disk: &SimDisk,
    plan: SwapPlan<SimDisk>,
) -> Result<bool, StorageError> {
    let is_begun = core.borrow_mut().logs[index].begin_swap(&plan);
    if !is_begun {
        plan.abandon(disk).await?;
        return Ok(false);
    }
    if let Err(error) = plan.prepare(disk).await {
        core.borrow_mut().logs[index].cancel_swap();
        plan.abandon(disk).await?;
        return Err(error);
    }
    match plan.execute(disk).await {
        Ok(done) => {
            core.borrow_mut().logs[index].swapped(done);
            Ok(true)
        }
        Err(error) => {
            core.borrow_mut().is_offline = true;
            Err(error)
        }
    }
}

/// What a full read found.
#[derive(Debug, Default)]
pub(crate) struct Present {
    /// Offsets of records.
    pub(crate) records: BTreeSet<u64>,
    /// Base offsets of batches, empty ones among them.
    pub(crate) batches: BTreeSet<u64>,
}

impl Present {
    /// Adds what `bytes` has.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let mut rest = Bytes::copy_from_slice(bytes);
        while let Ok(batch) = CheckedBatch::check_first(&mut rest) {
            self.batches.insert(u64::try_from(batch.header().base_offset()).unwrap());
            for record in batch.decode_records().unwrap().iter() {
                self.records.insert(u64::try_from(record.unwrap().offset).unwrap());
            }
        }
    }
}

/// Base offsets of the batches that were aborted for good.
fn aborted_batches(model: &Model) -> BTreeSet<u64> {
    let ended = model.ended_transactions().into_iter();
    let aborted = ended.filter(|one| !one.is_commit && one.marker < model.durable_end);
    aborted.flat_map(|one| one.batches).collect()
}

/// The last offset of each key that survives a power cut.
fn last_offsets(model: &Model, aborted: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
    let batches = model.batches.iter().take_while(|batch| batch.end <= model.durable_end);
    let batches = batches.filter(|batch| !aborted.contains(&batch.base));
    let records = batches.flat_map(|batch| &batch.records);
    records.map(|record| (record.key, record.offset)).collect()
}

/// Checks one read against a model whose log is compacted; returns where the next begins.
///
/// A record that is missing was superseded by a durable one, is a tombstone, or was aborted; what
/// is there is what was appended.
pub(crate) fn check_read(model: &Model, from: u64, bytes: Vec<u8>) -> u64 {
    let aborted = aborted_batches(model);
    let last = last_offsets(model, &aborted);
    let may_miss = |original: &ModelBatch, record: &ModelRecord| {
        let is_superseded = last.get(&record.key).is_some_and(|last| *last > record.offset);
        record.is_tombstone || is_superseded || aborted.contains(&original.base)
    };
    let mut expected = model.from(from).iter();
    let (mut rest, mut next) = (Bytes::from(bytes), from);
    while !rest.is_empty() {
        let batch = CheckedBatch::check_first(&mut rest).unwrap();
        let base = u64::try_from(batch.header().base_offset()).unwrap();
        let original = loop {
            let original = expected.next().expect("a read has more than was appended");
            if original.base == base {
                break original;
            }
            assert!(original.base < base, "offset {base} is no batch's");
            let is_left_out = original.records.iter().all(|record| may_miss(original, record));
            assert!(
                is_left_out,
                "read from {from}: {base} follows, {original:?} is gone, {last:?}"
            );
        };
        next = original.end;
        if batch.bytes()[..] == original.bytes[..] {
            continue;
        }
        assert_eq!(batch.header().last_offset() + 1, i64::try_from(original.end).unwrap());
        let found: BTreeSet<u64> = batch
            .decode_records()
            .unwrap()
            .iter()
            .map(|record| u64::try_from(record.unwrap().offset).unwrap())
            .collect();
        for record in &original.records {
            let is_there = found.contains(&record.offset);
            assert!(is_there || may_miss(original, record), "record {} is gone", record.offset);
        }
        assert!(found.iter().all(|offset| (original.base..original.end).contains(offset)));
    }
    next
}

/// A key whose last record was a tombstone that is gone has nothing else left: no value is back.
pub(crate) fn check_no_value_returns(model: &Model, present: &Present) {
    let mut keys: BTreeMap<u64, Vec<&ModelRecord>> = BTreeMap::new();
    let aborted = aborted_batches(model);
    let batches = model.batches.iter().filter(|batch| !aborted.contains(&batch.base));
    for record in batches.flat_map(|batch| &batch.records) {
        keys.entry(record.key).or_default().push(record);
    }
    for (key, records) in keys {
        let last = records.last().expect("a key is made by a record");
        if present.records.contains(&last.offset) || last.offset < model.log_start {
            continue;
        }
        assert!(last.is_tombstone, "the last value of key {key} is gone");
        let back = records.iter().find(|record| present.records.contains(&record.offset));
        assert_eq!(back, None, "a deleted value of key {key} is back");
    }
}

/// A marker is there as long as anything of its transaction is, and readers of committed records
/// are told of an abort as long as they can see what it aborted, and no longer than its marker.
pub(crate) fn check_markers(log: &PartitionLog<SimDisk>, model: &Model, present: &Present) {
    let told = transaction_view(log);
    assert_eq!(told.open, model.transactions(model.log_start).open);
    let mut aborts: BTreeMap<u64, (i64, u64)> = BTreeMap::new();
    for (producer, first, marker) in told.aborted {
        aborts.insert(marker, (producer, first));
    }
    for ended in model.ended_transactions() {
        if ended.marker < model.log_start {
            continue;
        }
        let has_marker = present.batches.contains(&ended.marker);
        let left = ended.batches.iter().filter(|base| present.batches.contains(base)).min();
        assert!(has_marker || left.is_none(), "{ended:?} has lost its marker");
        let told = aborts.remove(&ended.marker);
        match told {
            Some((producer, first)) => {
                assert!(!ended.is_commit && has_marker, "{ended:?} is told of");
                assert_eq!(producer, ended.producer);
                assert!(left.is_none_or(|left| first <= *left), "{ended:?} is told of too late");
            }
            None => assert!(ended.is_commit || left.is_none(), "{ended:?} is not told of"),
        }
    }
    assert!(aborts.is_empty(), "{aborts:?} never ended");
}

//! A log that is cut, and a power cut at any point of that: what was kept stays, and what was cut
//! never comes back once the cut is complete.

use crate::bench::batch;
use bytes::Bytes;
use highwater::model::ids::{LeaderEpoch, Offset, PartitionId, TopicPartition};
use highwater::model::topic_config::TopicConfig;
use highwater::protocol::record_batch::BatchHeader;
use highwater::sim::disk::{Faults, SimDisk};
use highwater::sim::executor::{SimExecutor, SimHandle};
use highwater::sim::random::Random;
use highwater::storage::append_check::{AppendContext, AppendOrigin};
use highwater::storage::checkpoint;
use highwater::storage::disk::Disk;
use highwater::storage::journal::{Held, Journal, JournalEntry, JournalSizes};
use highwater::storage::partition_log::{Cut, OpenLog, PartitionLog, ReadPlan};
use highwater::storage::tail_cache::TailArena;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

const JOURNAL_DIR: &str = "/data/journal/0";
const SIZES: JournalSizes = JournalSizes { file_bytes: 64 * 1024, files_max: 3 };
const SEEDS: u64 = 200;

/// What the log that is cut should hold: the values of its records from an offset on.
#[derive(Debug, Clone, Default)]
struct Model {
    start: u64,
    values: Vec<i64>,
    /// Everything below survives a power cut.
    durable_end: u64,
    /// The cut under way, which may have come true for any part.
    cut: Option<Cut>,
    cuts_done: usize,
}

impl Model {
    fn end(&self) -> u64 {
        self.start + self.values.len() as u64
    }

    fn value_at(&self, offset: u64) -> Option<i64> {
        let index = usize::try_from(offset.checked_sub(self.start)?).unwrap();
        self.values.get(index).copied()
    }

    fn carry_out(&mut self, cut: Cut) {
        match cut {
            Cut::From(to) => {
                let kept = to.get().min(self.end()).saturating_sub(self.start);
                self.values.truncate(usize::try_from(kept).unwrap());
            }
            Cut::Anew(at) => (self.start, self.values) = (at.get(), Vec::new()),
        }
        self.durable_end = self.end();
        self.cut = None;
        self.cuts_done += 1;
    }

    /// Compares with what a start has found, and goes on from there.
    fn check_found(&mut self, start: u64, values: &[i64]) {
        let end = start + values.len() as u64;
        for (index, value) in values.iter().enumerate() {
            let offset = start + index as u64;
            assert_eq!(self.value_at(offset), Some(*value), "at {offset}, {self:?}");
        }
        match self.cut {
            None => {
                assert!(end >= self.durable_end && start == self.start, "{start}..{end} {self:?}")
            }
            Some(Cut::From(to)) => assert!(end >= self.durable_end.min(to.get()), "{end} {self:?}"),
            Some(Cut::Anew(at)) => assert!(end == at.get() || end <= self.end(), "{end} {self:?}"),
        }
        (self.start, self.values) = (start, values.to_vec());
        (self.durable_end, self.cut) = (end, None);
    }
}

/// One core with two logs: the first is cut now and then, the second fills the journal.
struct Core {
    disk: SimDisk,
    journal: Journal<SimDisk>,
    logs: Vec<PartitionLog<SimDisk>>,
    arena: TailArena,
    /// The fault: the cut entry never gets into the journal.
    loses_cut_entries: bool,
}

fn partition(index: usize) -> TopicPartition {
    let partition = PartitionId(i32::try_from(index).unwrap());
    TopicPartition { partition, ..TopicPartition::default() }
}

async fn start(disk: &SimDisk, handle: &SimHandle, loses_cut_entries: bool) -> Core {
    let dir = Path::new(JOURNAL_DIR);
    disk.create_dir(dir).await.unwrap();
    for above in dir.ancestors().skip(1) {
        disk.sync_dir(above).await.unwrap();
    }
    let mut points = checkpoint::read(disk, dir).await.unwrap();
    let (mut journal, entries) = Journal::open_sized(disk, dir, SIZES).await.unwrap();
    let mut logs = Vec::new();
    for index in 0..2 {
        let config = TopicConfig {
            segment_bytes: 2000,
            index_interval_bytes: 200,
            timestamp_after_max_ms: i64::MAX,
            ..TopicConfig::default()
        };
        let id = partition(index);
        let open = OpenLog {
            dir: PathBuf::from("/data/topics").join(id.to_string()),
            partition: id,
            config: Arc::new(config),
            point: points.get(&id).copied().unwrap_or_default(),
            now: handle.now(),
        };
        let (mut log, report) = PartitionLog::open(disk, open).await.unwrap();
        assert!(report.damage.is_empty());
        let own = entries.iter().filter(|entry| entry.partition == id);
        log.replay(own.cloned().collect());
        log.close(disk).await.unwrap();
        points.insert(id, log.recovery_point());
        logs.push(log);
    }
    checkpoint::write(disk, dir, &points).await.unwrap();
    logs.iter_mut().for_each(|log| log.on_recovery_point_durable(points[&log.partition()]));
    let write = journal.clear();
    disk.write_at(&write.file, write.position, write.parts).await.unwrap();
    disk.sync(&write.file).await.unwrap();
    let arena = TailArena::with_budget(0);
    Core { disk: disk.clone(), journal, logs, arena, loses_cut_entries }
}

impl Core {
    fn append(&mut self, index: usize, epoch: i32, value: i64, handle: &SimHandle) {
        let mut bytes = batch(&[value]);
        let checked =
            highwater::protocol::record_batch::CheckedBatch::check_first(&mut bytes).unwrap();
        let origin = AppendOrigin::Client;
        let context = AppendContext { leader_epoch: LeaderEpoch(epoch), now: handle.now(), origin };
        self.logs[index].append(checked, context, &mut self.arena).unwrap();
    }

    /// Writes what is pending, and syncs the journal when asked to.
    async fn commit(&mut self, syncs: bool) {
        let mut entries: Vec<JournalEntry> = Vec::new();
        let mut ends = Vec::new();
        for (index, log) in self.logs.iter_mut().enumerate() {
            if log.pending_bytes() > 0 || log.wants_cut_entry() {
                log.pending_journal(&mut entries);
                ends.push((index, log.log_end()));
            }
        }
        if self.loses_cut_entries {
            entries.retain(|entry| !entry.is_cut());
        }
        if !entries.is_empty() {
            let write = self.journal.reserve(entries).expect("room was made before");
            self.disk.write_at(&write.file, write.position, write.parts).await.unwrap();
        }
        for (index, end) in &ends {
            self.logs[*index].on_journaled(*end);
        }
        if syncs {
            for file in self.journal.unsynced_files() {
                self.disk.sync(&file).await.unwrap();
            }
            ends.iter().for_each(|(index, end)| self.logs[*index].on_journal_synced(*end));
        }
    }

    async fn drain(&mut self, index: usize) {
        while let Some(plan) = self.logs[index].plan_drain() {
            let done = plan.execute(&self.disk).await.unwrap();
            self.logs[index].drained(done);
        }
        if let Some(plan) = self.logs[index].plan_sync() {
            let done = plan.execute(&self.disk).await.unwrap();
            self.logs[index].synced(done);
        }
    }

    async fn write_points(&mut self) {
        let points = self.logs.iter().map(|log| (log.partition(), log.recovery_point())).collect();
        checkpoint::write(&self.disk, Path::new(JOURNAL_DIR), &points).await.unwrap();
        for log in &mut self.logs {
            log.on_recovery_point_durable(points[&log.partition()]);
        }
    }

    /// Gives journal files back, and makes one more when there may be.
    async fn make_room(&mut self) {
        if let Some(order) = self.journal.plan_file() {
            let file = order.execute(&self.disk).await.unwrap();
            self.journal.add_file(file);
        }
        if !self.journal.is_crowded() {
            return;
        }
        for index in 0..2 {
            self.drain(index).await;
        }
        let oldest = self.journal.oldest().cloned().unwrap_or_default();
        for (id, Held { end, .. }) in oldest {
            let index = usize::try_from(id.partition.0).unwrap();
            if self.logs[index].log_end() < end && self.logs[index].renew_cut_entry(end) {
                self.commit(true).await;
                self.journal.on_cut_synced(&id);
            }
        }
        let logs = &self.logs;
        let is_synced = |id: &TopicPartition, held: Held| {
            logs[usize::try_from(id.partition.0).unwrap()].has_in_segments(held)
        };
        let files = self.journal.releasable(is_synced);
        if !files.is_empty() {
            self.write_points().await;
            self.journal.release(&files);
        }
    }

    async fn cut(&mut self, cut: Cut, handle: &SimHandle) {
        self.prepare(cut).await;
        self.carry_out(cut, handle).await;
    }

    async fn prepare(&mut self, cut: Cut) {
        self.drain(0).await;
        self.logs[0].begin_cut(cut);
        self.commit(false).await;
        for file in self.journal.active_files() {
            self.disk.sync(&file).await.unwrap();
        }
        self.journal.on_cut_synced(&partition(0));
        self.write_points().await;
    }

    async fn carry_out(&mut self, cut: Cut, handle: &SimHandle) {
        let plan = self.logs[0].plan_cut(handle.now()).unwrap();
        let (log, report) = plan.execute(&self.disk).await.unwrap();
        assert!(report.damage.is_empty());
        assert!(log.log_end() <= self.logs[0].log_end() || matches!(cut, Cut::Anew(_)));
        self.logs[0] = log;
    }

    /// Where the first log begins, and its values.
    async fn content(&self) -> (u64, Vec<i64>) {
        let log = &self.logs[0];
        let (start, end) = (log.log_start(), log.log_end());
        let (mut from, mut values) = (start, Vec::new());
        while from < end {
            let bytes = match log.read(from, 1, end, true) {
                ReadPlan::Memory(parts) => Bytes::from(parts.concat()),
                ReadPlan::File(read) => read.execute_in_memory(&self.disk).await.unwrap(),
                _ => panic!("{from} is not readable"),
            };
            let header = BatchHeader::read(&bytes).unwrap();
            assert_eq!(header.base_offset(), from.to_wire());
            values.push(header.max_timestamp());
            from = from.advance(1);
        }
        (start.get(), values)
    }
}

/// One life: appends and cuts until the power goes.
async fn live(disk: SimDisk, handle: SimHandle, model: Rc<RefCell<Model>>, fault: bool) {
    let mut core = start(&disk, &handle, fault).await;
    let (found_start, values) = core.content().await;
    model.borrow_mut().check_found(found_start, &values);
    let draw = |bound: u64| handle.random(|random| random.below(bound));
    let mut epoch = core.logs[0].last_epoch().map_or(0, |epoch| epoch.0);
    loop {
        for _ in 0..draw(25) {
            let value = 1_000_000 + i64::try_from(draw(1_000_000)).unwrap();
            // The first log takes few records, so that it stays shorter for long.
            let index = usize::from(draw(3) > 0);
            core.append(index, epoch.max(0), value, &handle);
            if index == 0 {
                model.borrow_mut().values.push(value);
            }
            core.make_room().await;
            let syncs = draw(2) == 0;
            core.commit(syncs).await;
            model.borrow_mut().durable_end = core.logs[0].durable_end().get();
            if draw(8) == 0 {
                core.drain(0).await;
                model.borrow_mut().durable_end = core.logs[0].durable_end().get();
            }
        }
        let (start, end) = (core.logs[0].log_start().get(), core.logs[0].log_end().get());
        let cut = match draw(4) {
            0 => Cut::Anew(Offset::new(start + draw(end - start + 20))),
            _ => Cut::From(Offset::new(start + draw(end - start + 1))),
        };
        core.make_room().await;
        model.borrow_mut().cut = Some(cut);
        core.cut(cut, &handle).await;
        model.borrow_mut().carry_out(cut);
        assert_eq!(core.logs[0].log_end().get(), model.borrow().end());
        let (found_start, values) = core.content().await;
        assert_eq!((found_start, &values), (model.borrow().start, &model.borrow().values));
        epoch += 1;
    }
}

/// Some lives, each ended by a power cut at a step that the seed says. Returns the cuts completed.
fn run(seed: u64, fault: bool) -> usize {
    let mut random = Random::new(seed);
    let model = Rc::new(RefCell::new(Model::default()));
    let mut executor = SimExecutor::new(seed);
    let mut disk = SimDisk::new(executor.handle());
    for life in 0..4 {
        executor = SimExecutor::new(seed * 10 + life);
        disk = disk.moved_to(executor.handle());
        let life = live(disk.clone(), executor.handle(), Rc::clone(&model), fault);
        executor.handle().spawn(life);
        for _ in 0..200 + random.below(1500) {
            assert!(executor.step());
        }
        executor.kill_all();
        disk.crash(&mut random);
    }
    executor = SimExecutor::new(seed);
    let last = Rc::clone(&model);
    let (disk, handle) = (disk.moved_to(executor.handle()), executor.handle());
    executor.run_until(async move {
        let core = start(&disk, &handle, false).await;
        let (found_start, values) = core.content().await;
        last.borrow_mut().check_found(found_start, &values);
    });
    model.borrow().cuts_done
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_below_a_cut_and_brings_nothing_back() {
    let cuts: usize = (0..SEEDS).map(|seed| run(seed, false)).sum();
    assert!(cuts > 400, "{cuts} cuts");
}

#[test]
fn without_a_cut_entry_the_journal_brings_records_back() {
    let is_found = |seed: &u64| std::panic::catch_unwind(|| run(*seed, true)).is_err();
    let found = (0..SEEDS / 2).filter(is_found).count();
    assert!(found > 0, "no seed has noticed");
}

/// A journal whose replay ends at a bit that has rotted may not come as far as the cut entry. What
/// had been cut would follow on records of a newer epoch, and its follower could never tell: it
/// says the epoch of its last record, and its leader has records of that at the same offsets.
#[test]
fn records_of_an_older_epoch_never_follow_a_newer_one() {
    let mut executor = SimExecutor::new(1);
    let handle = executor.handle();
    let disk = SimDisk::new(handle.clone());
    executor.run_until(async move {
        let mut core = start(&disk, &handle, true).await;
        for value in 0..10 {
            core.append(0, 1, value, &handle);
            core.commit(true).await;
        }
        core.cut(Cut::From(Offset::new(5)), &handle).await;
        for value in 100..103 {
            core.append(0, 2, value, &handle);
        }
        core.commit(true).await;
        core.drain(0).await;
        let core = start(&disk, &handle, false).await;
        assert_eq!(core.content().await.1, [0, 1, 2, 3, 4, 100, 101, 102]);
        assert_eq!(core.logs[0].last_epoch(), Some(LeaderEpoch(2)));
    });
}

/// The cut's recovery point lies below what the file holds, and its entry may wait for that file.
#[test]
fn a_cut_under_way_keeps_no_journal_file_from_being_given_back_but_its_own() {
    let mut executor = SimExecutor::new(1);
    let handle = executor.handle();
    let disk = SimDisk::new(handle.clone());
    executor.run_until(async move {
        let mut core = start(&disk, &handle, false).await;
        for value in 0..10 {
            core.append(0, 1, value, &handle);
            core.commit(true).await;
        }
        let older = Held { end: core.logs[0].log_end(), cut: None };
        core.drain(0).await;
        assert!(!core.logs[0].is_free_of(older), "no recovery point says so yet");
        core.write_points().await;
        assert!(core.logs[0].is_free_of(older));
        let to = Offset::new(5);
        core.prepare(Cut::From(to)).await;
        assert!(core.logs[0].is_free_of(older));
        assert!(!core.logs[0].is_free_of(Held { cut: Some(to), ..older }));
    });
}

/// Else a start takes what the journal has of the older epoch for what was cut, and drops it.
#[test]
fn an_epoch_that_was_empty_and_forgotten_is_no_longer_in_the_way_after_a_crash() {
    let mut executor = SimExecutor::new(1);
    let handle = executor.handle();
    let disk = SimDisk::new(handle.clone());
    executor.run_until(async move {
        let mut core = start(&disk, &handle, false).await;
        for value in 0..2 {
            core.append(0, 1, value, &handle);
        }
        core.commit(true).await;
        core.logs[0].begin_epoch(LeaderEpoch(2));
        core.drain(0).await;
        // Another leader has more of the first epoch.
        core.logs[0].forget_empty_epoch();
        core.append(0, 1, 2, &handle);
        core.commit(true).await;
        while let Some(plan) = core.logs[0].plan_drain() {
            let done = plan.execute(&disk).await.unwrap();
            core.logs[0].drained(done);
        }
        core.append(0, 1, 3, &handle);
        core.commit(true).await;
        let core = start(&disk, &handle, false).await;
        assert_eq!(core.content().await.1, [0, 1, 2, 3]);
        assert_eq!(core.logs[0].last_epoch(), Some(LeaderEpoch(1)));
    });
}

/// A start would take the epochs of the file for those of the log, and refuse records of older ones
/// that have taken the place of what was cut.
#[test]
fn a_cut_that_has_no_room_for_its_epochs_leaves_no_others() {
    let mut executor = SimExecutor::new(1);
    let handle = executor.handle();
    let disk = SimDisk::new(handle.clone());
    executor.run_until(async move {
        let mut core = start(&disk, &handle, false).await;
        for (epoch, value) in [(1, 0), (1, 1), (2, 2), (2, 3)] {
            core.append(0, epoch, value, &handle);
        }
        core.commit(true).await;
        let cut = Cut::From(Offset::new(2));
        core.prepare(cut).await;
        disk.set_faults(Faults { room_bytes: Some(0), ..Faults::default() });
        core.carry_out(cut, &handle).await;
        disk.set_faults(Faults::default());
        core.append(0, 1, 4, &handle);
        core.commit(true).await;
        while let Some(plan) = core.logs[0].plan_drain() {
            let done = plan.execute(&disk).await.unwrap();
            core.logs[0].drained(done);
        }
        core.append(0, 1, 5, &handle);
        core.commit(true).await;
        let core = start(&disk, &handle, false).await;
        assert_eq!(core.content().await.1, [0, 1, 4, 5]);
        assert_eq!(core.logs[0].last_epoch(), Some(LeaderEpoch(1)));
    });
}

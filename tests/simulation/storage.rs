//! One core's storage, driven by concurrent tasks as a shard drives it, over several lives.

use crate::appends::append_one;
use crate::compaction::{
    Present, check_markers, check_no_value_returns, check_read, compaction_loop,
};
use crate::model::{Model, producer_view, transaction_view};
use highwater::model::ids::{Offset, PartitionId, TopicPartition};
use highwater::model::topic_config::{CleanupPolicy, TopicConfig};
use highwater::sim::disk::{Faults, SimDisk};
use highwater::sim::executor::{SimExecutor, SimHandle};
use highwater::sim::random::Random;
use highwater::storage::checkpoint::{self, RecoveryPoints};
use highwater::storage::disk::Disk;
use highwater::storage::error::StorageError;
use highwater::storage::journal::{Held, Journal, JournalEntry, JournalSizes};
use highwater::storage::partition_log::{OpenLog, PartitionLog, ReadPlan};
use highwater::storage::tail_cache::TailArena;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

const JOURNAL_DIR: &str = "/data/journal/0";
const JOURNAL_SIZES: JournalSizes = JournalSizes { file_bytes: 64 * 1024, files_max: 3 };
/// Pending bytes from which a partition skips the journal.
const DIRECT_BYTES: usize = 6 * 1024;
pub(crate) const EPOCH: i32 = 3;

/// How one life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    PowerCut,
    Killed,
    Stopped,
}

/// What the tasks of one life share, as a shard's state is shared.
pub(crate) struct Core {
    journal: Journal<SimDisk>,
    pub(crate) logs: Vec<PartitionLog<SimDisk>>,
    pub(crate) arena: TailArena,
    pub(crate) random: Random,
    pub(crate) is_offline: bool,
    pub(crate) is_stopping: bool,
    unsynced: Vec<(usize, Offset)>,
    /// Held while recovery points are written: an older set must not replace a newer one.
    turn: Rc<futures::lock::Mutex<()>>,
}

/// What outlives the lives: the disk, and what users know.
struct World {
    disk: SimDisk,
    models: Rc<RefCell<Vec<Model>>>,
    config: Arc<TopicConfig>,
    /// True while what was promised is in the page cache only: a power cut may take it.
    is_cached: Cell<bool>,
}

pub(crate) type CoreRef = Rc<RefCell<Core>>;
pub(crate) type Models = Rc<RefCell<Vec<Model>>>;

fn config(random: &mut Random) -> Arc<TopicConfig> {
    Arc::new(TopicConfig {
        segment_bytes: u32::try_from([4096, 16_384, 65_536][random.index(3)]).unwrap(),
        index_interval_bytes: 512,
        retention_bytes: random.chance(50).then_some(24 * 1024),
        retention_ms: None,
        file_delete_delay_ms: 1,
        timestamp_after_max_ms: i64::MAX,
        ..TopicConfig::default()
    })
}

fn partition_id(index: usize) -> TopicPartition {
    TopicPartition {
        partition: PartitionId(i32::try_from(index).unwrap()),
        ..TopicPartition::default()
    }
}

fn partition_dir(index: usize) -> PathBuf {
    Path::new("/data/topics").join(partition_id(index).to_string())
}

/// Several lives of one data directory, each ended as the seed says.
pub(crate) fn run_crashes(seed: u64) {
    let mut random = Random::new(seed);
    let world = new_world(&mut random);
    for _ in 0..2 + random.below(3) {
        let end = match random.below(10) {
            0..=6 => End::PowerCut,
            7 | 8 => End::Killed,
            _ => End::Stopped,
        };
        live(&world, &mut random, end, Faults::default());
    }
    live(&world, &mut random, End::Stopped, Faults::default());
}

/// Several lives of compacted partitions, on a disk that has room or has little.
pub(crate) fn run_compaction(seed: u64) {
    let mut random = Random::new(seed ^ 0xC0_4AC7);
    let mut world = new_world(&mut random);
    world.config = Arc::new(TopicConfig {
        cleanup: CleanupPolicy { delete: random.chance(50), compact: true },
        delete_retention_ms: if random.chance(50) { 0 } else { 86_400_000 },
        segment_bytes: if random.chance(70) { 2048 } else { 16_384 },
        ..TopicConfig::clone(&world.config)
    });
    for _ in 0..2 + random.below(3) {
        let end = match random.below(10) {
            0..=6 => End::PowerCut,
            7 | 8 => End::Killed,
            _ => End::Stopped,
        };
        let room_bytes = random.chance(15).then(|| random.below(40_000));
        live(&world, &mut random, end, Faults { room_bytes, ..Faults::default() });
    }
    live(&world, &mut random, End::Stopped, Faults::default());
}

/// Lives on a disk that fills up and gets room again.
pub(crate) fn run_full_disk(seed: u64) {
    let mut random = Random::new(seed ^ 0xF011);
    let world = new_world(&mut random);
    live(&world, &mut random, End::Stopped, Faults::default());
    let room_bytes = Some(random.below(20_000));
    live(&world, &mut random, End::PowerCut, Faults { room_bytes, ..Faults::default() });
    let sync_errors = random.below(30);
    live(&world, &mut random, End::PowerCut, Faults { sync_errors, ..Faults::default() });
    live(&world, &mut random, End::Stopped, Faults::default());
}

fn new_world(random: &mut Random) -> World {
    let executor = SimExecutor::new(random.next());
    let disk = SimDisk::new(executor.handle());
    let partitions = 1 + random.below(4);
    let models = (0..partitions).map(|_| Model::default()).collect();
    World {
        disk,
        models: Rc::new(RefCell::new(models)),
        config: config(random),
        is_cached: Cell::new(false),
    }
}

/// One life: recover, check, work for a while, end.
fn live(world: &World, random: &mut Random, end: End, faults: Faults) {
    // A recovery that is cut off must not make things worse.
    while random.chance(20) {
        let mut executor = SimExecutor::new(random.next());
        let disk = world.disk.moved_to(executor.handle());
        let (config, count) = (Arc::clone(&world.config), world.models.borrow().len());
        let (handle, inner) = (executor.handle(), random.fork());
        executor.handle().spawn(async move {
            let recovered = recover(&disk, &handle, &config, count, inner).await;
            recovered.map(|_| ()).expect("nothing fails here but the power");
        });
        for _ in 0..random.below(300) {
            executor.step();
        }
        executor.kill_all();
        if world.is_cached.get() {
            world.disk.kill();
        } else {
            world.disk.crash(random);
        }
    }
    let mut executor = SimExecutor::new(random.next());
    let disk = world.disk.moved_to(executor.handle());
    let core = start(world, &mut executor, &disk, random);
    world.is_cached.set(false);
    check_everything(world, &mut executor, &disk, &core);
    disk.set_faults(faults);
    spawn_tasks(world, &executor.handle(), &disk, &core);
    let steps = 30 + random.below(900);
    let room_again_at = steps / 2;
    for step in 0..steps {
        if step == room_again_at && faults.room_bytes.is_some() {
            disk.set_faults(Faults::default());
        }
        executor.step();
        if core.borrow().is_offline {
            break;
        }
    }
    if end == End::Stopped && !core.borrow().is_offline {
        stop(world, &mut executor, &disk, &core);
        return;
    }
    executor.kill_all();
    match end {
        End::PowerCut => world.disk.crash(random),
        End::Killed => {
            let mut models = world.models.borrow_mut();
            models.iter_mut().for_each(|model| model.durable_end = model.written_end);
            world.is_cached.set(true);
            world.disk.kill();
        }
        End::Stopped => world.disk.crash(random),
    }
}

fn start(
    world: &World,
    executor: &mut SimExecutor,
    disk: &SimDisk,
    random: &mut Random,
) -> CoreRef {
    let (config, count) = (Arc::clone(&world.config), world.models.borrow().len());
    let (handle, inner, disk) = (executor.handle(), random.fork(), disk.clone());
    let core = executor
        .run_until(async move { recover(&disk, &handle, &config, count, inner).await })
        .expect("recovery meets no fault");
    for (log, model) in core.logs.iter().zip(world.models.borrow_mut().iter_mut()) {
        let promised = model.durable_end;
        model.recover_at(log.log_end().get(), promised);
        let log_start = log.log_start().get();
        assert!(log_start >= model.log_start, "the log start went back");
        assert!(log_start <= model.log_start_max, "the log start ran ahead");
        model.log_start = log_start;
        assert_eq!(log.damage(), []);
        assert_eq!(log.durable_end(), log.log_end());
    }
    Rc::new(RefCell::new(core))
}

/// What a shard does at its start: recovery points, segments, journal, and a new journal.
async fn recover(
    disk: &SimDisk,
    handle: &SimHandle,
    config: &Arc<TopicConfig>,
    count: usize,
    random: Random,
) -> Result<Core, StorageError> {
    let journal_dir = Path::new(JOURNAL_DIR);
    disk.create_dir(journal_dir).await?;
    for above in journal_dir.ancestors().skip(1) {
        disk.sync_dir(above).await?;
    }
    let points = checkpoint::read(disk, journal_dir).await?;
    let (mut journal, entries) = Journal::open_sized(disk, journal_dir, JOURNAL_SIZES).await?;
    let mut logs = Vec::new();
    for index in 0..count {
        let partition = partition_id(index);
        let open = OpenLog {
            dir: partition_dir(index),
            partition,
            config: Arc::clone(config),
            point: points.get(&partition).copied().unwrap_or_default(),
            now: handle.now(),
        };
        let point = open.point;
        let (mut log, report) = PartitionLog::open(disk, open).await?;
        if std::env::var_os("HIGHWATER_SEED").is_some() {
            eprintln!("partition {index} from {point:?}: {report}, end {}", log.log_end());
        }
        let own = entries.iter().filter(|entry| entry.partition == partition);
        log.replay(own.cloned().collect());
        log.close(disk).await?;
        log.on_committed(log.log_end());
        logs.push(log);
    }
    let points = recovery_points(&logs);
    checkpoint::write(disk, journal_dir, &points).await?;
    logs.iter_mut().for_each(|log| log.on_recovery_point_durable(points[&log.partition()]));
    let write = journal.clear();
    disk.write_at(&write.file, write.position, write.parts).await?;
    disk.sync(&write.file).await?;
    let arena = TailArena::with_budget(8 * 1024);
    Ok(Core {
        journal,
        logs,
        arena,
        random,
        is_offline: false,
        is_stopping: false,
        unsynced: Vec::new(),
        turn: Rc::default(),
    })
}

fn recovery_points(logs: &[PartitionLog<SimDisk>]) -> RecoveryPoints {
    logs.iter().map(|log| (log.partition(), log.recovery_point())).collect()
}

fn stop(world: &World, executor: &mut SimExecutor, disk: &SimDisk, core: &CoreRef) {
    disk.set_faults(Faults::default());
    core.borrow_mut().is_stopping = true;
    // Each loop holds the core until it has finished what it was doing.
    while Rc::strong_count(core) > 1 {
        assert!(executor.step());
    }
    let (core, disk) = (Rc::clone(core), disk.clone());
    let models = Rc::clone(&world.models);
    executor.run_until(async move {
        let mut logs = std::mem::take(&mut core.borrow_mut().logs);
        for (index, log) in logs.iter_mut().enumerate() {
            log.close(&disk).await.expect("no faults");
            assert_eq!(log.durable_end(), log.log_end());
            models.borrow_mut()[index].durable_end = log.durable_end().get();
        }
        let points = recovery_points(&logs);
        checkpoint::write(&disk, Path::new(JOURNAL_DIR), &points).await.expect("no faults");
    });
    world.disk.kill();
}

/// Reads every partition from end to end and compares bytes and producers.
fn check_everything(world: &World, executor: &mut SimExecutor, disk: &SimDisk, core: &CoreRef) {
    let (core, disk, models) = (Rc::clone(core), disk.clone(), Rc::clone(&world.models));
    executor.run_until(async move {
        let count = core.borrow().logs.len();
        for index in 0..count {
            let (start, end) = {
                let core = core.borrow();
                (core.logs[index].log_start().get(), core.logs[index].log_end().get())
            };
            let mut from = start;
            let mut present = Present::default();
            while from < end {
                let (next, bytes) = read_once(&core, &disk, &models, index, from, 4000).await;
                from = next;
                present.add(&bytes);
            }
            let core = core.borrow();
            let views = models.borrow()[index].producers();
            assert_eq!(core.logs[index].producers().len(), views.len());
            for (id, view) in views {
                let found = producer_view(core.logs[index].producers(), id);
                assert_eq!(found, Some(view), "producer {id} of partition {index}");
            }
            let (log, model) = (&core.logs[index], &models.borrow()[index]);
            if log.config().cleanup.compact {
                check_no_value_returns(model, &present);
                check_markers(log, model, &present);
            } else {
                assert_eq!(transaction_view(log), model.transactions(log.log_start().get()));
            }
            check_stable_end(log, model);
        }
    });
}

/// Compares where readers of committed records must stop.
fn check_stable_end(log: &PartitionLog<SimDisk>, model: &Model) {
    let expected = model.transactions(log.log_start().get());
    let (start, end) = (log.log_start().get(), log.log_end().get());
    let stable = expected.open.values().min().map_or(end, |first| (*first).max(start).min(end));
    assert_eq!(log.last_stable_offset(log.log_end()).get(), stable);
}

/// One read, compared with the model; returns where the next one begins, and what was read.
async fn read_once(
    core: &CoreRef,
    disk: &SimDisk,
    models: &Models,
    index: usize,
    from: u64,
    max_bytes: usize,
) -> (u64, Vec<u8>) {
    let plan = {
        let core = core.borrow();
        let log = &core.logs[index];
        log.read(Offset::new(from), max_bytes, log.durable_end(), true)
    };
    let parts = match plan {
        ReadPlan::Memory(parts) => parts,
        ReadPlan::File(read) => match read.execute_in_memory(disk).await {
            Ok(bytes) => vec![bytes],
            // Retention may remove the file between the plan and the read.
            Err(StorageError::Disk(_)) => return (from, Vec::new()),
            Err(error) => panic!("{error}"),
        },
        ReadPlan::Empty => return (from, Vec::new()),
        ReadPlan::OutOfRange => {
            let core = core.borrow();
            assert!(from < core.logs[index].log_start().get());
            return (core.logs[index].log_start().get(), Vec::new());
        }
    };
    let bytes = parts.concat();
    assert!(!bytes.is_empty(), "at least one batch was asked for");
    let models = models.borrow();
    if core.borrow().logs[index].config().cleanup.compact {
        return (check_read(&models[index], from, bytes.clone()), bytes);
    }
    let expected = models[index].from(from);
    let (mut at, mut next) = (0, from);
    for batch in expected {
        if at == bytes.len() {
            break;
        }
        let end = at + batch.bytes.len();
        assert!(end <= bytes.len(), "a read ends within a batch");
        assert!(bytes[at..end] == batch.bytes, "partition {index} offset {} differs", batch.base);
        (at, next) = (end, batch.end);
    }
    assert_eq!(at, bytes.len(), "a read has more than the log");
    (next, bytes)
}

fn spawn_tasks(world: &World, handle: &SimHandle, disk: &SimDisk, core: &CoreRef) {
    let models = || Rc::clone(&world.models);
    let core = || Rc::clone(core);
    let (disk, handle) = (|| disk.clone(), || handle.clone());
    (handle)().spawn(append_loop(core(), models(), handle()));
    (handle)().spawn(commit_loop(core(), models(), disk(), handle()));
    (handle)().spawn(sync_loop(core(), models(), disk(), handle()));
    (handle)().spawn(drain_loop(core(), models(), disk(), handle()));
    (handle)().spawn(drain_loop(core(), models(), disk(), handle()));
    (handle)().spawn(housekeeping_loop(core(), models(), disk(), handle()));
    (handle)().spawn(read_loop(core(), models(), disk(), handle()));
    if world.config.cleanup.compact {
        (handle)().spawn(compaction_loop(core(), models(), disk(), handle()));
    }
}

pub(crate) async fn pause(core: &CoreRef, handle: &SimHandle, us_max: u64) {
    let us = core.borrow_mut().random.below(us_max);
    handle.sleep_us(us).await;
}

async fn append_loop(core: CoreRef, models: Models, handle: SimHandle) {
    while !core.borrow().is_stopping {
        let appends = core.borrow_mut().random.below(4);
        for _ in 0..appends {
            append_one(&core, &models, &handle);
        }
        pause(&core, &handle, 200).await;
    }
}

/// Writes down what users may now rely on.
fn note_promises(core: &Core, models: &Models) {
    for (log, model) in core.logs.iter().zip(models.borrow_mut().iter_mut()) {
        assert!(log.durable_end().get() >= model.durable_end, "the durable end went back");
        model.durable_end = model.durable_end.max(log.durable_end().get());
        model.written_end = model.written_end.max(log.written_end().get());
    }
}

pub(crate) fn give_up(core: &CoreRef, error: &StorageError) {
    if let StorageError::Disk(error) = error
        && error.is_no_space()
    {
        return;
    }
    core.borrow_mut().is_offline = true;
}

async fn commit_loop(core: CoreRef, models: Models, disk: SimDisk, handle: SimHandle) {
    while !core.borrow().is_stopping {
        pause(&core, &handle, 150).await;
        let planned = {
            let mut core = core.borrow_mut();
            let mut entries: Vec<JournalEntry> = Vec::new();
            let mut ends = Vec::new();
            for (index, log) in core.logs.iter_mut().enumerate() {
                if (1..DIRECT_BYTES).contains(&log.pending_bytes()) {
                    log.pending_journal(&mut entries);
                    ends.push((index, log.log_end()));
                }
            }
            let write = if entries.is_empty() { None } else { core.journal.reserve(entries) };
            write.map(|write| (write, ends))
        };
        let Some((write, ends)) = planned else { continue };
        let result = disk.write_at(&write.file, write.position, write.parts).await;
        match result {
            Ok(()) => {
                let mut core = core.borrow_mut();
                for (index, end) in ends {
                    core.logs[index].on_journaled(end);
                    core.unsynced.push((index, end));
                }
                note_promises(&core, &models);
            }
            Err(error) => give_up(&core, &error.into()),
        }
    }
}

async fn sync_loop(core: CoreRef, models: Models, disk: SimDisk, handle: SimHandle) {
    while !core.borrow().is_stopping {
        pause(&core, &handle, 300).await;
        let (files, ends) = {
            let mut core = core.borrow_mut();
            if core.unsynced.is_empty() {
                continue;
            }
            (core.journal.unsynced_files(), std::mem::take(&mut core.unsynced))
        };
        let mut result = Ok(());
        for file in &files {
            if result.is_ok() {
                result = disk.sync(file).await;
            }
        }
        if let Err(error) = result {
            give_up(&core, &error.into());
            return;
        }
        let mut core = core.borrow_mut();
        for (index, end) in ends {
            core.logs[index].on_journal_synced(end);
        }
        note_promises(&core, &models);
    }
}

async fn drain_loop(core: CoreRef, models: Models, disk: SimDisk, handle: SimHandle) {
    while !core.borrow().is_stopping {
        pause(&core, &handle, 600).await;
        let index = {
            let core = &mut *core.borrow_mut();
            core.random.index(core.logs.len())
        };
        let plan = core.borrow_mut().logs[index].plan_drain();
        if let Some(plan) = plan {
            match plan.execute(&disk).await {
                Ok(done) => {
                    let mut core = core.borrow_mut();
                    core.logs[index].drained(done);
                    note_promises(&core, &models);
                }
                Err(error) => {
                    core.borrow_mut().logs[index].drain_failed();
                    give_up(&core, &error);
                    continue;
                }
            }
        }
        if core.borrow_mut().random.chance(30) {
            continue;
        }
        let plan = core.borrow_mut().logs[index].plan_sync();
        if let Some(plan) = plan {
            match plan.execute(&disk).await {
                Ok(done) => {
                    let mut core = core.borrow_mut();
                    core.logs[index].synced(done);
                    note_promises(&core, &models);
                }
                Err(_) => {
                    core.borrow_mut().is_offline = true;
                    return;
                }
            }
        }
        let order = core.borrow_mut().journal.plan_file();
        if let Some(order) = order {
            match order.execute(&disk).await {
                Ok(file) => core.borrow_mut().journal.add_file(file),
                Err(_) => core.borrow_mut().journal.file_failed(),
            }
        }
    }
}

async fn housekeeping_loop(core: CoreRef, models: Models, disk: SimDisk, handle: SimHandle) {
    while !core.borrow().is_stopping {
        pause(&core, &handle, 1500).await;
        release_journal(&core, &models, &disk).await;
        let index = {
            let core = &mut *core.borrow_mut();
            core.random.index(core.logs.len())
        };
        delete_some(&core, &models, &disk, index).await;
        let plan = {
            let mut core = core.borrow_mut();
            let log = &mut core.logs[index];
            log.roll_if_old(handle.now());
            let high_watermark = log.durable_end();
            let plan = log.plan_retention(handle.now(), high_watermark);
            let log_start = log.log_start().get();
            let model = &mut models.borrow_mut()[index];
            model.log_start_max = model.log_start_max.max(log_start);
            plan
        };
        let Some(plan) = plan else { continue };
        if plan.moves_log_start() && persist(&core, &models, &disk).await.is_err() {
            continue;
        }
        match plan.execute(&disk).await {
            Ok(done) => core.borrow_mut().logs[index].retained(done),
            Err(error) => give_up(&core, &error),
        }
    }
}

async fn delete_some(core: &CoreRef, models: &Models, disk: &SimDisk, index: usize) {
    {
        let core = &mut *core.borrow_mut();
        if !core.random.chance(15) {
            return;
        }
        let log = &mut core.logs[index];
        let (start, end) = (log.log_start().get(), log.durable_end().get());
        let before = start + core.random.below(end - start + 1);
        log.delete_records_before(Offset::new(before));
        let model = &mut models.borrow_mut()[index];
        model.log_start_max = model.log_start_max.max(before);
    }
    let _ = persist(core, models, disk).await;
}

/// Writes the recovery points; log starts are promised from then on.
pub(crate) async fn persist(core: &CoreRef, models: &Models, disk: &SimDisk) -> Result<(), ()> {
    let turn = Rc::clone(&core.borrow().turn);
    let _turn = turn.lock().await;
    let points = recovery_points(&core.borrow().logs);
    if let Err(error) = checkpoint::write(disk, Path::new(JOURNAL_DIR), &points).await {
        give_up(core, &error);
        return Err(());
    }
    let logs = &mut core.borrow_mut().logs;
    logs.iter_mut().for_each(|log| log.on_recovery_point_durable(points[&log.partition()]));
    for (index, model) in models.borrow_mut().iter_mut().enumerate() {
        let log_start = points[&partition_id(index)].log_start.get();
        model.log_start = model.log_start.max(log_start);
    }
    Ok(())
}

async fn release_journal(core: &CoreRef, models: &Models, disk: &SimDisk) {
    let files = {
        let core = core.borrow();
        let is_synced = |id: &TopicPartition, held: Held| {
            let index = usize::try_from(id.partition.0).unwrap();
            core.logs[index].has_in_segments(held)
        };
        core.journal.releasable(is_synced)
    };
    if !files.is_empty() && persist(core, models, disk).await.is_ok() {
        let core = &mut *core.borrow_mut();
        for (id, held) in core.journal.release(&files).into_iter().flatten() {
            let index = usize::try_from(id.partition.0).unwrap();
            core.logs[index].on_journal_released(held.end);
        }
    }
}

async fn read_loop(core: CoreRef, models: Models, disk: SimDisk, handle: SimHandle) {
    while !core.borrow().is_stopping {
        pause(&core, &handle, 400).await;
        let (index, mut from, max_bytes) = {
            let core = &mut *core.borrow_mut();
            let index = core.random.index(core.logs.len());
            let log = &core.logs[index];
            let span = log.durable_end().get().saturating_sub(log.log_start().get());
            let from = log.log_start().get() + core.random.below(span + 1);
            (index, from, 1 + core.random.index(8000))
        };
        for _ in 0..3 {
            from = read_once(&core, &disk, &models, index, from, max_bytes).await.0;
        }
    }
}

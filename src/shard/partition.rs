//! One partition as its core runs it: the log, the high watermark, and who waits for what.
//!
//! ```text
//!  log start        high watermark      written end      log end
//!  |----- readable ------|-- written, not yet safe --|-- in memory --|
//! ```
//! Invariants
//! - The high watermark never goes back, but for a follower's that is cut below it, and never
//!   passes what the topic's durability asks for: the durable end under `flush`, the written end
//!   under `kernel`. Where there are other replicas, it is what `replication` says.
//! - An append is answered by the end it waits for, never before.

use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, Offset, TopicPartition};
use crate::model::limits::{DIRECT_AGAIN_BYTES_MIN, DIRECT_APPEND_BYTES_MIN};
use crate::model::topic_config::Durability;
use crate::shard::markers::EndedTransactions;
use crate::shard::mesh::{Acks, AppendOutcome, Isolation, PartToken};
use crate::shard::replicas::Role;
use crate::shard::signal::Signal;
use crate::shard::stages::Stage;
use crate::shard::waiters::{AppendWaiter, Rise, Waiters};
use crate::storage::disk::Disk;
use crate::storage::partition_log::PartitionLog;

/// An open partition of this core.
pub struct Partition<D: Disk> {
    pub id: TopicPartition,
    pub log: PartitionLog<D>,
    pub leader_epoch: LeaderEpoch,
    pub role: Role,
    pub waiters: Waiters,
    /// True while the partition stands in the commit queue.
    pub is_dirty: bool,
    /// True while pending batches are on their way to the segment without the journal.
    pub is_direct: bool,
    /// Moving average of what was written at once, to the journal or directly, in bytes.
    write_bytes: usize,
    /// Raised when a sync of its segments has ended, for the drain that waits for it.
    pub sync_ended: Signal,
    /// True while any drain is under way.
    pub is_draining: bool,
    /// True when the segment writer found that drain under way and has to look again after it: the
    /// partition holds back the oldest journal file.
    pub is_drain_awaited: bool,
    /// True while the partition stands in the queue of the push loop.
    pub is_push_due: bool,
    /// True while the log is being cut: its role waits until that is done.
    pub is_cutting: bool,
    /// Raised for whoever cuts the log: a drain has ended, or the journal has an entry.
    pub cut_signal: Option<Signal>,
    /// The transactions that this leader has ended.
    pub(super) ended: EndedTransactions,
    high_watermark: Offset,
}

impl<D: Disk> Partition<D> {
    /// A partition just recovered: everything found on disk is safe here. What of it is committed
    /// is for its role to say.
    pub fn new(id: TopicPartition, mut log: PartitionLog<D>, leader_epoch: LeaderEpoch) -> Self {
        let high_watermark = log.high_watermark();
        log.on_committed(high_watermark);
        assert!((log.log_start()..=log.log_end()).contains(&high_watermark));
        Partition {
            id,
            log,
            leader_epoch,
            role: Role::Leaderless,
            waiters: Waiters::default(),
            is_dirty: false,
            is_direct: false,
            write_bytes: 0,
            sync_ended: Signal::default(),
            is_draining: false,
            is_drain_awaited: false,
            is_push_due: false,
            is_cutting: false,
            cut_signal: None,
            ended: EndedTransactions::default(),
            high_watermark,
        }
    }

    /// Goes on with the log as it is after a cut.
    pub fn replace_log(&mut self, log: PartitionLog<D>) {
        assert!(log.cuts() > self.log.cuts());
        assert!(self.log.pending_bytes() == 0);
        self.log = log;
        self.high_watermark = self.high_watermark.min(self.log.log_end());
        self.log.on_committed(self.high_watermark);
    }

    /// True when what is pending should go straight to the segment. A cut entry never does.
    pub fn is_direct_due(&self) -> bool {
        if self.log.wants_cut_entry() {
            return false;
        }
        let is_used_to_it = self.write_bytes >= 2 * DIRECT_AGAIN_BYTES_MIN;
        let min = if is_used_to_it { DIRECT_AGAIN_BYTES_MIN } else { DIRECT_APPEND_BYTES_MIN };
        self.log.pending_bytes() >= min
    }

    /// What was pending goes to the journal, or straight to the segment, at once.
    pub fn note_write(&mut self, bytes: usize) {
        self.write_bytes = (self.write_bytes + bytes.min(DIRECT_APPEND_BYTES_MIN)) / 2;
    }

    /// Wakes what waits for the partition to come to rest.
    pub fn release_waits(&self) {
        self.sync_ended.raise();
        if let Some(signal) = &self.cut_signal {
            signal.raise();
        }
    }

    /// First offset not yet safe for consumers to see.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// End of what readers of this isolation may see.
    pub fn readable_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.log.last_stable_offset(self.high_watermark),
        }
    }

    /// What the topic's durability makes of the log's ends.
    pub fn safe_end(&self) -> Offset {
        match self.log.config().durability {
            Durability::Flush => self.log.durable_end(),
            Durability::Kernel => self.log.written_end(),
        }
    }

    /// Parks an appended batch for its answer, or returns the outcome when it is safe already.
    pub fn park(
        &mut self,
        acks: Acks,
        end: Offset,
        token: PartToken,
        outcome: AppendOutcome,
    ) -> Option<AppendOutcome> {
        assert!(end <= self.log.log_end());
        match acks {
            Acks::None => return Some(outcome),
            Acks::Leader if end <= self.log.written_end() => return Some(outcome),
            Acks::All if end <= self.high_watermark => return Some(outcome),
            Acks::Leader => self.waiters.park_written(AppendWaiter { end, token, outcome }),
            Acks::All => self.waiters.park_committed(AppendWaiter { end, token, outcome }),
        }
        None
    }

    /// Moves the high watermark to what is committed now, and says what rose.
    pub fn advance(&mut self) -> Option<Rise> {
        let (safe_end, log_end) = (self.safe_end(), self.log.log_end());
        let committed = match &mut self.role {
            Role::Leader(leader) => {
                leader.on_local(log_end, safe_end);
                leader.high_watermark()
            }
            Role::Follower(following) => following.replica.high_watermark(),
            Role::Leaderless => return None,
        };
        assert!(committed <= log_end);
        if committed <= self.high_watermark {
            return None;
        }
        let stable_before = self.readable_end(Isolation::ReadCommitted);
        self.high_watermark = committed;
        self.log.on_committed(committed);
        let has_risen = self.readable_end(Isolation::ReadCommitted) > stable_before;
        Some(if has_risen { Rise::Both } else { Rise::HighWatermark })
    }

    /// The log was cut: what lies above is committed no more.
    pub fn on_cut(&mut self) {
        self.high_watermark = self.high_watermark.min(self.log.log_end());
    }

    /// Next append whose wait is over, and what it waited for last.
    pub fn next_settled(&mut self) -> Option<(AppendWaiter, Stage)> {
        let written_end = self.log.written_end();
        let written = self.waiters.pop_written(written_end);
        written
            .map(|waiter| (waiter, Stage::Sync))
            .or_else(|| self.waiters.pop_committed(self.high_watermark))
    }

    /// Next append that waits for other replicas alone from now on.
    pub fn next_safe_here(&mut self) -> Option<&mut PartToken> {
        let safe_end = self.safe_end();
        self.waiters.next_safe_here(safe_end)
    }

    /// Next append of a partition that will never become safe, with the code to answer.
    pub fn next_failed(&mut self, code: KafkaCode) -> Option<(PartToken, AppendOutcome)> {
        let waiter = self.waiters.pop_any()?;
        Some((waiter.token, AppendOutcome::refused(code, None)))
    }
}

//! What is known of one transactional id, and the states that its transactions go through.
//!
//! ```text
//!             AddPartitions          EndTxn, timeout, InitProducerId     all markers written
//!  Empty ───────────────► Ongoing ─┬──────────────► PrepareCommit ───────► CompleteCommit
//!    ▲   ◄─ InitProducerId   ▲     └──────────────► PrepareAbort  ───────► CompleteAbort
//!    │                       └── AddPartitions ───────────────────────────────┤
//!    └────────────────────────── InitProducerId ──────────────────────────────┘
//! ```
//! `Dead` (an id being removed) and `PrepareEpochFence` (an abort being decided) are states that
//! Kafka names and lists; here both are over within one step, so neither is ever seen.

use crate::model::ids::{ProducerEpoch, ProducerId};
use std::collections::{BTreeMap, BTreeSet};

/// No epoch: of a producer that was never initialised, or that has no previous one.
pub const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);

/// The last epoch that a client may use. The one above it is kept for fencing.
pub const LAST_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

/// State of a transactional id. The numbers are those of Kafka's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransactionState {
    Empty,
    Ongoing,
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
    Dead,
    PrepareEpochFence,
}

impl TransactionState {
    /// Every state, by its number in the log.
    pub const ALL: [TransactionState; 8] = [
        TransactionState::Empty,
        TransactionState::Ongoing,
        TransactionState::PrepareCommit,
        TransactionState::PrepareAbort,
        TransactionState::CompleteCommit,
        TransactionState::CompleteAbort,
        TransactionState::Dead,
        TransactionState::PrepareEpochFence,
    ];

    /// As ListTransactions and DescribeTransactions spell it.
    pub const fn name(self) -> &'static str {
        match self {
            TransactionState::Empty => "Empty",
            TransactionState::Ongoing => "Ongoing",
            TransactionState::PrepareCommit => "PrepareCommit",
            TransactionState::PrepareAbort => "PrepareAbort",
            TransactionState::CompleteCommit => "CompleteCommit",
            TransactionState::CompleteAbort => "CompleteAbort",
            TransactionState::Dead => "Dead",
            TransactionState::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state of that name, in Kafka's own spelling.
    pub fn from_name(name: &str) -> Option<TransactionState> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Decided, while the partitions are being told.
    pub const fn is_prepared(self) -> bool {
        matches!(self, TransactionState::PrepareCommit | TransactionState::PrepareAbort)
    }

    /// Without a transaction: the id may be initialised, begin one, or expire.
    pub const fn is_idle(self) -> bool {
        use TransactionState::{CompleteAbort, CompleteCommit, Empty};
        matches!(self, Empty | CompleteCommit | CompleteAbort)
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Commit,
    Abort,
}

impl Outcome {
    /// Decided so, markers under way.
    pub const fn prepared(self) -> TransactionState {
        match self {
            Outcome::Commit => TransactionState::PrepareCommit,
            Outcome::Abort => TransactionState::PrepareAbort,
        }
    }

    /// Ended so.
    pub const fn complete(self) -> TransactionState {
        match self {
            Outcome::Commit => TransactionState::CompleteCommit,
            Outcome::Abort => TransactionState::CompleteAbort,
        }
    }

    /// The outcome that a state was decided for.
    pub const fn of(state: TransactionState) -> Option<Outcome> {
        match state {
            TransactionState::PrepareCommit | TransactionState::CompleteCommit => {
                Some(Outcome::Commit)
            }
            TransactionState::PrepareAbort | TransactionState::CompleteAbort => {
                Some(Outcome::Abort)
            }
            TransactionState::Empty
            | TransactionState::Ongoing
            | TransactionState::Dead
            | TransactionState::PrepareEpochFence => None,
        }
    }
}

/// Which of Kafka's transaction protocols a client speaks (the feature `transaction.version`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// One epoch for all transactions of a producer; partitions are added by AddPartitionsToTxn.
    EpochPerProducer,
    /// Each transaction has an epoch of its own (KIP-890, second part).
    EpochPerTransaction,
}

impl Flow {
    /// `ClientTransactionVersion` of the log's records.
    pub const fn version(self) -> i16 {
        match self {
            Flow::EpochPerProducer => 0,
            Flow::EpochPerTransaction => 2,
        }
    }

    /// From [`Flow::version`]; versions between the two share the old flow's rules.
    pub const fn from_version(version: i16) -> Flow {
        if version >= 2 { Flow::EpochPerTransaction } else { Flow::EpochPerProducer }
    }
}

/// Partition numbers by topic name.
pub type Partitions = BTreeMap<String, BTreeSet<i32>>;

/// All that is known of one transactional id; but for `last_epoch` it is what the log holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionMetadata {
    pub producer_id: ProducerId,
    /// Before the last change of it (KIP-360).
    pub previous_producer_id: Option<ProducerId>,
    /// Takes over once the markers are written: the epochs of `producer_id` are used up.
    pub next_producer_id: Option<ProducerId>,
    /// [`NO_EPOCH`] only within the step that makes the id.
    pub epoch: ProducerEpoch,
    /// The epoch that a retried InitProducerId may still name; the log does not hold it, so
    /// [`NO_EPOCH`] after a restart, as with Kafka.
    pub last_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub state: TransactionState,
    /// Of the open transaction; while markers are under way, those not yet told.
    pub partitions: Partitions,
    /// Wall clock of the last change. Never goes back; while markers are under way it is when the
    /// transaction was decided, and later than any change before.
    pub updated_ms: i64,
    /// Wall clock of the first partition of this or the last transaction; -1 before the first.
    pub started_ms: i64,
    pub flow: Flow,
}

impl TransactionMetadata {
    /// Whether no client may use the next epoch.
    pub fn is_epoch_exhausted(&self) -> bool {
        self.epoch >= LAST_EPOCH
    }

    /// The epoch after this one. The largest stays: whoever holds it is fenced already.
    pub fn bumped_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.0.saturating_add(1))
    }

    pub fn holds(&self, topic: &str, partition: i32) -> bool {
        self.partitions.get(topic).is_some_and(|partitions| partitions.contains(&partition))
    }

    /// Partitions of the transaction.
    pub fn partition_count(&self) -> usize {
        self.partitions.values().map(BTreeSet::len).sum()
    }

    /// A change happens now.
    pub fn touch(&mut self, wall_ms: i64) {
        self.updated_ms = self.updated_ms.max(wall_ms);
    }

    /// A transaction is decided now. Markers say when, so that one that comes late is told from
    /// those of the producer's next transaction.
    pub fn decide(&mut self, outcome: Outcome, wall_ms: i64) {
        self.state = outcome.prepared();
        self.updated_ms = self.updated_ms.saturating_add(1).max(wall_ms);
    }

    /// When the open transaction is aborted, in wall clock ms.
    pub fn timeout_at_ms(&self) -> i64 {
        self.started_ms.saturating_add(i64::from(self.timeout_ms))
    }

    /// Bytes that the partitions take in a record, and a little more.
    pub fn partitions_size(&self) -> usize {
        let size =
            |(topic, numbers): (&String, &BTreeSet<i32>)| topic.len() + 8 + 4 * numbers.len();
        self.partitions.iter().map(size).sum()
    }
}

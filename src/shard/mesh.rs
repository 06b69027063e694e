//! What cores say to each other: routed appends and reads, and questions with one reply.
//!
//! Payload travels as refcounted `Bytes`, never copied. The queues between cores are bounded by the
//! driver; what a core wants to send waits in its outbox, and a core that cannot send stops reading
//! sockets.

use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId, TopicPartition};
use crate::protocol::messages::fetch::AbortedTransaction;
use crate::protocol::part::Part;
use crate::protocol::peer::PeerKind;
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::metadata::Controller;
use crate::shard::peers::PeerId;
use crate::shard::questions::{Question, Reply};
use crate::shard::share_watches::ShareWatch;
use crate::shard::stages::Stamp;
use crate::shard::transactional::TransactionalAppend;
use crate::shard::waiters::FetchWatch;
use crate::storage::record_rules::RecordFault;
use bytes::Bytes;
use std::sync::Arc;

/// Key of something parked in a table of the core that asked; stale keys are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedKey {
    pub index: u32,
    pub generation: u32,
}

/// Where the outcome of one append must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartToken {
    /// One partition's part of a produce parked on `core`.
    Request { core: CoreId, key: ParkedKey, part: u32, stamp: Stamp },
    /// A task of the owning core itself.
    Task { id: u64 },
    /// The coordinator that lives in this partition.
    Coordinator { partition: TopicPartition },
}

/// When a produce is answered (`acks` of Produce).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// No answer at all.
    None,
    /// Handed to the kernel: survives the death of the process.
    Leader,
    /// Below the high watermark: on every in-sync replica at the topic's durability.
    All,
}

/// The produce that batches belong to, on their way to the core that owns their partitions.
#[derive(Debug, Clone, Copy)]
pub struct AppendOrder {
    /// The core where the produce is parked.
    pub origin: CoreId,
    pub key: ParkedKey,
    pub acks: Acks,
    pub stamp: Stamp,
}

impl AppendOrder {
    /// Where the outcome of one of its parts goes; the first part alone is timed.
    pub fn token(&mut self, part: u32) -> PartToken {
        let stamp = std::mem::take(&mut self.stamp);
        PartToken::Request { core: self.origin, key: self.key, part, stamp }
    }
}

/// A batch on its way to the partition that owns it.
#[derive(Debug)]
pub struct AppendPart {
    pub partition: TopicPartition,
    pub batch: CheckedBatch,
    /// Index of the part within its request.
    pub part: u32,
}

/// What became of one part of a produce (PartitionProduceResponse).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendOutcome {
    pub code: KafkaCode,
    /// -1 when nothing was appended.
    pub base_offset: i64,
    /// -1 unless the topic stamps append time.
    pub log_append_time_ms: i64,
    /// -1 when unknown.
    pub log_start_offset: i64,
    /// Words for the client where the code alone would puzzle (KIP-467).
    pub message: Option<String>,
    /// Records at fault by their place in the batch; told beside `message` only.
    pub record_errors: Vec<(i32, RecordFault)>,
}

impl AppendOutcome {
    /// A refusal that appended nothing.
    pub fn refused(code: KafkaCode, message: Option<String>) -> AppendOutcome {
        AppendOutcome {
            code,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            message,
            record_errors: Vec::new(),
        }
    }
}

/// One partition of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPart {
    pub partition: TopicPartition,
    /// As asked; may be out of range.
    pub fetch_offset: i64,
    /// Soft limit (KIP-74).
    pub max_bytes: usize,
    /// Leader epoch that the client believes in; -1 skips the check (KIP-320).
    pub current_leader_epoch: i32,
    /// Epoch of the last record the client has; -1 skips the check (KIP-595's divergence).
    pub last_fetched_epoch: i32,
    /// Index of the part within its fetch.
    pub part: u32,
}

/// What a fetch found in one partition.
#[derive(Debug, Clone)]
pub struct ReadOutcome {
    pub code: KafkaCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// Largest epoch at or below the one asked for and its end, where the logs part ways.
    pub diverging: Option<(i32, i64)>,
    /// Whole batches, as stored.
    pub records: Vec<Part>,
    /// Told to readers of committed records only: whose records among `records` to skip.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// The reader is nearer to this broker's replica and finds the records there (KIP-392).
    pub preferred: Option<BrokerId>,
}

impl ReadOutcome {
    /// A refusal without data.
    pub fn refused(code: KafkaCode) -> ReadOutcome {
        ReadOutcome {
            code,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            records: Vec::new(),
            aborted: None,
            preferred: None,
        }
    }

    /// Bytes of records found.
    pub fn size(&self) -> usize {
        self.records.iter().map(Part::len).sum()
    }
}

/// Which records a reader may see (`isolation_level` of Fetch).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// Where a reader is and how it reaches brokers (KIP-392).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderPlace {
    pub rack: String,
    /// The listener that it came in by.
    pub listener: String,
}

/// Reads for one parked fetch on one core.
#[derive(Debug)]
pub struct ReadOrder {
    pub origin: CoreId,
    pub key: ParkedKey,
    /// Which pass of the fetch asks; answers of an earlier pass are dropped.
    pub pass: u32,
    pub stamp: Stamp,
    pub isolation: Isolation,
    /// Where the reader is, when replicas are chosen by it.
    pub place: Option<Arc<ReaderPlace>>,
    /// Bytes that this core may return over all parts; the first batch found may exceed it.
    pub max_bytes: usize,
    pub parts: Vec<ReadPart>,
}

/// Asks to be told when any of the partitions has more than was seen.
#[derive(Debug)]
pub struct WatchOrder {
    pub origin: CoreId,
    pub key: ParkedKey,
    pub pass: u32,
    pub isolation: Isolation,
    /// The readable end that the last pass saw, per partition.
    pub seen: Vec<(TopicPartition, i64)>,
}

impl WatchOrder {
    /// What is left at each partition.
    pub fn watch(&self) -> FetchWatch {
        let WatchOrder { origin: core, key, pass, isolation, .. } = *self;
        FetchWatch { core, key, pass, isolation }
    }
}

/// Everything one core may send to another.
#[derive(Debug)]
pub enum ShardMessage {
    Append {
        order: AppendOrder,
        parts: Vec<AppendPart>,
    },
    AppendTransactional(Box<TransactionalAppend>),
    Appended {
        outcomes: Vec<(PartToken, AppendOutcome)>,
    },
    Read(ReadOrder),
    ReadDone {
        key: ParkedKey,
        pass: u32,
        stamp: Stamp,
        outcomes: Vec<(u32, ReadOutcome)>,
    },
    Watch(WatchOrder),
    Wake {
        fetches: Vec<(ParkedKey, u32)>,
    },
    /// A share fetch that waits on a connection may find something; it is its turn.
    WakeShare {
        partition: TopicPartition,
        watch: ShareWatch,
    },
    /// It does not wait any more.
    PassShareTurn {
        partition: TopicPartition,
        watch: ShareWatch,
    },
    Ask {
        id: u64,
        question: Box<Question>,
    },
    Reply {
        id: u64,
        reply: Box<Reply>,
    },
    /// A frame of another broker that reached the sender's core.
    PeerFrame {
        from: PeerId,
        kind: PeerKind,
        payload: Bytes,
    },
    /// A write or sync of the log directory failed on the sender's core.
    Offline,
    /// Who decides has changed.
    Controller(Controller),
    /// The newest metadata; replied to with [`Reply::Applied`] once its partitions are open.
    Image {
        id: u64,
        image: Arc<MetadataImage>,
    },
}

//! Questions that any core may put to the core that owns a partition, or to the controller's core.
//!
//! For everything that is not the hot path: one question, one reply, awaited by the asking task.
//! A question about a core's own partitions is answered in place, without a message.

use crate::controller::decide::{Change, ChangeReply, Refusal};
use crate::controller::image::MetadataImage;
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupRequest};
use crate::coordinator::share::{ShareAnswer, ShareCoordinator, ShareRequest};
use crate::coordinator::transaction::{
    TransactionAnswer, TransactionCoordinator, TransactionRequest,
};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, LeaderEpoch, Offset, TopicPartition};
use crate::shard::coordinator_host;
use crate::shard::deletions;
use crate::shard::group_host;
use crate::shard::markers::{self, MarkerOrder};
use crate::shard::mesh::{Isolation, ShardMessage};
use crate::shard::metadata;
use crate::shard::overview::CoreCounts;
use crate::shard::quorum::QuorumView;
use crate::shard::reads::check_epoch;
use crate::shard::recovery;
use crate::shard::replicas::Role;
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::share_calls::{self, ShareCall, ShareReply};
use crate::shard::stages::StageSnapshot;
use crate::shard::verification::Claim;
use crate::shard::voters::{self, VoterChange};
use crate::storage::disk::Disk;
use crate::storage::error::StorageError;
use crate::storage::partition_log::TimestampLookup;
use crate::storage::producer_state::ActiveProducer;
use futures::future::join_all;
use std::sync::Arc;

/// "None" on the wire.
const NO_EPOCH: i32 = -1;
const NO_OFFSET: i64 = -1;

/// Which offset ListOffsets wants (its special timestamps).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    Latest,
    Earliest,
    /// Offset of the record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// First record at or after this time in milliseconds.
    At(i64),
}

/// An offset with what ListOffsets answers beside it; -1 where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    pub timestamp_ms: i64,
    pub offset: i64,
    pub leader_epoch: i32,
}

/// What may be asked.
#[derive(Debug)]
pub enum Question {
    ListOffset {
        partition: TopicPartition,
        query: OffsetQuery,
        isolation: Isolation,
        current_leader_epoch: i32,
    },
    /// Moves the log start; `before` -1 means the high watermark.
    DeleteRecords {
        partition: TopicPartition,
        before: i64,
        /// How long replicas are waited for.
        timeout_ms: u64,
    },
    EpochEnd {
        partition: TopicPartition,
        current_leader_epoch: i32,
        leader_epoch: i32,
    },
    /// Sizes of all partitions of the core.
    LogSizes,
    /// A change of metadata, for the controller's core.
    Change(Change),
    /// Who keeps the metadata and how far, for the controller's core.
    Quorum,
    /// A voter comes or goes, for the controller's core.
    ChangeVoters(VoterChange),
    /// The core should put its journal into the segments; the first step of a start.
    Replay {
        image: Arc<MetadataImage>,
    },
    /// A request to the group coordinator that lives in `partition`.
    Group {
        partition: TopicPartition,
        request: Box<GroupRequest>,
    },
    /// A request to the transaction coordinator that lives in `partition`.
    Transaction {
        partition: TopicPartition,
        request: Box<TransactionRequest>,
    },
    /// A request to the share coordinator that lives in `partition`.
    ShareState {
        partition: TopicPartition,
        request: Box<ShareRequest>,
    },
    /// What a member of a share group wants of the core's partitions.
    Share(Box<ShareCall>),
    /// Offsets of a group that a transaction commits; answered by `Reply::Group`.
    CommitTransaction {
        partition: TopicPartition,
        claim: Box<Claim>,
        request: Box<GroupRequest>,
    },
    /// Where the time of the core's requests went.
    Stages,
    /// What the core has and has counted.
    Counts,
    /// Who has written to a partition.
    Producers {
        partition: TopicPartition,
    },
    /// Ends a producer's transaction in a partition.
    WriteMarker {
        partition: TopicPartition,
        marker: MarkerOrder,
    },
    /// The core should make everything durable and stop taking connections.
    Stop,
}

/// What may come back.
#[derive(Debug)]
pub enum Reply {
    ListOffset(Result<FoundOffset, KafkaCode>),
    /// The low watermark: where all replicas that are up begin.
    DeleteRecords(Result<Offset, KafkaCode>),
    /// Largest epoch at or below the asked one, and its end offset; -1 and -1 where unknown.
    EpochEnd(Result<(i32, i64), KafkaCode>),
    LogSizes(Vec<(TopicPartition, u64)>),
    Stages(Box<StageSnapshot>),
    Counts(Box<CoreCounts>),
    Change(ChangeReply),
    Quorum(Box<QuorumView>),
    VotersChanged(Result<(), Refusal>),
    Replayed(Result<(), StorageError>),
    Group(Box<GroupAnswer>),
    Transaction(Box<TransactionAnswer>),
    ShareState(Box<ShareAnswer>),
    Share(Box<ShareReply>),
    Producers(Result<Vec<ActiveProducer>, KafkaCode>),
    /// NONE once the marker is committed.
    MarkerWritten(KafkaCode),
    /// The image's partitions of this core are open.
    Applied,
    Stopped,
}

/// Puts a question to a core and waits for its reply.
pub async fn ask<D: Disk>(shard: &ShardRef<D>, core: CoreId, question: Question) -> Reply {
    if core == shard.borrow().core {
        return answer(shard, question).await;
    }
    let receiver = {
        let mut shard = shard.borrow_mut();
        let (id, receiver) = shard.open_question();
        shard.send(core, ShardMessage::Ask { id, question: Box::new(question) });
        receiver
    };
    receiver.await.expect("the shard keeps the sender until the reply is in, cores die together")
}

/// Where the time of requests went on every core, in the order of the cores.
pub async fn stages_of_all<D: Disk>(shard: &ShardRef<D>) -> Vec<StageSnapshot> {
    let cores = shard.borrow().cores;
    let asks = (0..cores).map(|core| ask(shard, CoreId(core), Question::Stages));
    let replies = join_all(asks).await.into_iter();
    let snapshots = replies.map(|reply| match reply {
        Reply::Stages(snapshot) => *snapshot,
        other => unreachable!("stages are answered by stages, not by {other:?}"),
    });
    snapshots.collect()
}

/// Answers a question on the core that it was put to.
pub async fn answer<D: Disk>(shard: &ShardRef<D>, question: Question) -> Reply {
    match question {
        Question::ListOffset { partition, query, isolation, current_leader_epoch } => {
            Reply::ListOffset(
                list_offset(shard, partition, query, isolation, current_leader_epoch).await,
            )
        }
        Question::DeleteRecords { partition, before, timeout_ms } => Reply::DeleteRecords(
            deletions::delete_records(shard, partition, before, timeout_ms).await,
        ),
        Question::EpochEnd { partition, current_leader_epoch, leader_epoch } => Reply::EpochEnd(
            shard.borrow_mut().epoch_end(partition, current_leader_epoch, leader_epoch),
        ),
        Question::LogSizes => Reply::LogSizes(shard.borrow().log_sizes()),
        Question::Stages => {
            let shard = shard.borrow();
            Reply::Stages(Box::new(shard.stages.snapshot(shard.core)))
        }
        Question::Counts => Reply::Counts(Box::new(shard.borrow().counts())),
        Question::Change(change) => Reply::Change(metadata::change_here(shard, change).await),
        Question::Quorum => Reply::Quorum(Box::new(shard.borrow().quorum.view())),
        Question::ChangeVoters(change) => {
            // Boxed because few questions take so much.
            Reply::VotersChanged(Box::pin(voters::change_here(shard, change)).await)
        }
        Question::Replay { image } => {
            Reply::Replayed(recovery::replay_journals(shard, &image).await)
        }
        Question::Group { partition, request } => Reply::Group(Box::new(
            coordinator_host::answer_here::<D, GroupCoordinator>(shard, partition, *request).await,
        )),
        Question::Transaction { partition, request } => Reply::Transaction(Box::new(
            coordinator_host::answer_here::<D, TransactionCoordinator>(shard, partition, *request)
                .await,
        )),
        Question::ShareState { partition, request } => Reply::ShareState(Box::new(
            coordinator_host::answer_here::<D, ShareCoordinator>(shard, partition, *request).await,
        )),
        Question::Share(call) => {
            // Boxed because it asks questions of its own.
            Reply::Share(Box::new(Box::pin(share_calls::answer_here(shard, *call)).await))
        }
        Question::CommitTransaction { partition, claim, request } => {
            let commit = group_host::commit_transaction_here(shard, partition, &claim, *request);
            // Boxed because it asks a question of its own.
            Reply::Group(Box::new(Box::pin(commit).await))
        }
        Question::Producers { partition } => Reply::Producers(shard.borrow().producers(partition)),
        Question::WriteMarker { partition, marker } => {
            Reply::MarkerWritten(markers::write_here(shard, partition, marker).await)
        }
        Question::Stop => {
            super::stop::stop_core(shard).await;
            Reply::Stopped
        }
    }
}

pub(super) async fn list_offset<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    query: OffsetQuery,
    isolation: Isolation,
    current_leader_epoch: i32,
) -> Result<FoundOffset, KafkaCode> {
    let is_behind;
    let (lookup, disk, end, cuts) = {
        let mut shard = shard.borrow_mut();
        let disk = shard.disk.clone();
        let index = shard.leader_index(&id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        let partition = &mut shard.partitions[index];
        check_epoch(partition, current_leader_epoch)?;
        let end = partition.readable_end(isolation);
        // What was readable before the election may not be yet: the client asks again.
        is_behind = matches!(&partition.role, Role::Leader(role) if role.is_behind_predecessor());
        let at = |offset: Offset| FoundOffset {
            timestamp_ms: -1,
            offset: offset.to_wire(),
            // A log that never held a batch answers with its leader's epoch, as Kafka does.
            leader_epoch: partition.log.epoch_at(offset).unwrap_or(partition.leader_epoch).0,
        };
        let lookup = match query {
            OffsetQuery::Latest if is_behind => return Err(KafkaCode::OffsetNotAvailable),
            OffsetQuery::Latest => return Ok(at(end)),
            OffsetQuery::Earliest => return Ok(at(partition.log.log_start())),
            OffsetQuery::MaxTimestamp => partition.log.plan_max_timestamp(end),
            OffsetQuery::At(timestamp_ms) => partition.log.plan_timestamp(timestamp_ms, end),
        };
        (lookup, disk, end, partition.log.cuts())
    };
    let found = match lookup {
        TimestampLookup::None => None,
        TimestampLookup::Search(search) => search.execute(&disk).await.map_err(|error| {
            let failed = (cuts, &error);
            shard.borrow_mut().on_read_failed(id, failed, "search for a timestamp");
            error.kafka_code()
        })?,
    };
    let none = FoundOffset { timestamp_ms: -1, offset: -1, leader_epoch: -1 };
    let found = found.filter(|found| found.offset < end);
    if found.is_none() && is_behind {
        return Err(KafkaCode::OffsetNotAvailable);
    }
    Ok(found.map_or(none, |found| FoundOffset {
        timestamp_ms: found.timestamp_ms,
        offset: found.offset.to_wire(),
        leader_epoch: found.leader_epoch.0,
    }))
}

impl<D: Disk> Shard<D> {
    fn epoch_end(
        &mut self,
        id: TopicPartition,
        current_leader_epoch: i32,
        leader_epoch: i32,
    ) -> Result<(i32, i64), KafkaCode> {
        let index = self.leader_index(&id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        let partition = &self.partitions[index];
        check_epoch(partition, current_leader_epoch)?;
        if leader_epoch == NO_EPOCH || leader_epoch > partition.leader_epoch.0 {
            return Ok((NO_EPOCH, NO_OFFSET));
        }
        let epoch = LeaderEpoch(leader_epoch);
        // The current epoch may have written nothing yet: it ends where the log does all the same.
        let (found, end) =
            partition.log.end_offset_for_epoch(epoch).unwrap_or((epoch, partition.log.log_end()));
        Ok((found.0, end.to_wire()))
    }

    fn producers(&self, id: TopicPartition) -> Result<Vec<ActiveProducer>, KafkaCode> {
        let index = self.leader_index(&id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        Ok(self.partitions[index].log.producers().describe().collect())
    }

    fn log_sizes(&self) -> Vec<(TopicPartition, u64)> {
        let sizes = self.partitions.iter();
        sizes.map(|(_, partition)| (partition.id, partition.log.size_bytes())).collect()
    }
}

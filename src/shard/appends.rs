//! Appends to the partitions of this core: the way in for produce requests and coordinators.

use crate::model::errors::KafkaCode;
use crate::model::ids::TopicPartition;
use crate::protocol::record_batch::CheckedBatch;
use crate::shard::mesh::{Acks, AppendOrder, AppendOutcome, AppendPart, PartToken};
use crate::shard::shard::{Shard, ShardRef, WriteState};
use crate::shard::stages::Stage;
use crate::storage::append_check::{AppendContext, AppendOrigin};
use crate::storage::disk::Disk;

impl<D: Disk> Shard<D> {
    /// Appends parts of a parked produce; each is resolved when it is safe enough.
    pub fn append_parts(
        &mut self,
        mut order: AppendOrder,
        parts: impl IntoIterator<Item = AppendPart>,
    ) {
        for part in parts {
            let token = order.token(part.part);
            let from = AppendOrigin::Client;
            let outcome = self.append_one(part.partition, part.batch, order.acks, token, from);
            if let Some(outcome) = outcome {
                self.resolve(token, outcome);
            }
        }
    }

    /// Appends one batch; the outcome when there is nothing to wait for.
    pub(super) fn append_one(
        &mut self,
        id: TopicPartition,
        batch: CheckedBatch,
        acks: Acks,
        token: PartToken,
        from: AppendOrigin,
    ) -> Option<AppendOutcome> {
        if let Some(refusal) = self.write_refusal() {
            return Some(refusal);
        }
        let Some(index) = self.leader_index(&id) else {
            return Some(AppendOutcome::refused(KafkaCode::NotLeaderOrFollower, None));
        };
        if acks == Acks::All
            && let Some(refusal) = self.replica_refusal(index)
        {
            return Some(refusal);
        }
        let now = self.now;
        let partition = &mut self.partitions[index];
        let context = AppendContext { leader_epoch: partition.leader_epoch, now, origin: from };
        let before = partition.log.appended_bytes();
        let appended = match partition.log.append(batch, context, &mut self.arena) {
            Ok(appended) => appended,
            Err(error) => {
                let log_start_offset = partition.log.log_start().to_wire();
                let message = Some(error.to_string());
                let refused = AppendOutcome::refused(error.kafka_code(), message);
                let record_errors = error.into_record_errors();
                return Some(AppendOutcome { log_start_offset, record_errors, ..refused });
            }
        };
        let outcome = AppendOutcome {
            code: KafkaCode::None,
            base_offset: appended.base_offset.to_wire(),
            log_append_time_ms: appended.log_append_time_ms,
            log_start_offset: partition.log.log_start().to_wire(),
            message: None,
            record_errors: Vec::new(),
        };
        let end = appended.last_offset.advance(1);
        let token = self.stages.end_of(Stage::Append, token);
        let settled = partition.park(acks, end, token, outcome);
        if !appended.is_duplicate {
            let size = partition.log.appended_bytes() - before;
            self.commit.unwritten_bytes += usize::try_from(size).expect("a batch fits in memory");
            self.mark_dirty(index);
            self.queue_push(index);
        }
        settled
    }

    fn write_refusal(&self) -> Option<AppendOutcome> {
        let message = match self.write_state {
            WriteState::Open => return None,
            WriteState::DiskFull => "disk full: free space is below the reserve, see E0008",
            WriteState::Offline => "log directory is offline after a failed write, see E0009",
        };
        Some(AppendOutcome::refused(KafkaCode::KafkaStorageError, Some(message.to_owned())))
    }
}

/// Appends a coordinator's batch to a partition of this core and waits until it is committed.
pub async fn append_committed<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    batch: CheckedBatch,
) -> AppendOutcome {
    let receiver = {
        let mut shard = shard.borrow_mut();
        let (token, receiver) = shard.open_append_task();
        let from = AppendOrigin::Coordinator;
        if let Some(outcome) = shard.append_one(id, batch, Acks::All, token, from) {
            shard.resolve(token, outcome);
        }
        receiver
    };
    // The sender lives in the shard's table until it resolves; only a dropped shard cancels it.
    let lost = AppendOutcome::refused(KafkaCode::NotLeaderOrFollower, None);
    receiver.await.unwrap_or(lost)
}

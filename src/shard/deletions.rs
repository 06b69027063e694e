//! DeleteRecords at a partition's leader: its log begins later, and so do the logs of its replicas
//! before that is answered (KIP-107).
//!
//! Why it waits: what only the leader has deleted is back when another one leads. A replica that is
//! up and does not follow in time ends the wait with REQUEST_TIMED_OUT, as in Kafka; one that is
//! fenced is not waited for, and learns of it when it comes back.

use crate::model::errors::KafkaCode;
use crate::model::ids::{Offset, TopicPartition};
use crate::model::limits::DELETION_LOOK_MS;
use crate::shard::housekeeping::persist_points;
use crate::shard::replicas::Role;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;

/// Deletes what lies before an offset; -1 means all that is committed. The low watermark: where
/// all replicas that are up begin.
///
/// # Errors
/// Somebody else leads, the offset is not committed, the disk refuses, or replicas do not follow
/// within `timeout_ms`. What was deleted stays deleted.
pub(super) async fn delete_records<D: Disk>(
    shard: &ShardRef<D>,
    id: TopicPartition,
    before: i64,
    timeout_ms: u64,
) -> Result<Offset, KafkaCode> {
    let (log_start, give_up_us) = {
        let mut shard = shard.borrow_mut();
        (shard.begin_later(&id, before)?, shard.now.deadline_us(timeout_ms))
    };
    persist_points(shard).await.map_err(|_| KafkaCode::KafkaStorageError)?;
    loop {
        let pause = {
            let mut shard = shard.borrow_mut();
            let low_watermark = shard.low_watermark(&id)?;
            if low_watermark >= log_start {
                return Ok(low_watermark);
            }
            if shard.now.monotonic_us >= give_up_us {
                return Err(KafkaCode::RequestTimedOut);
            }
            let due_us = shard.now.deadline_us(DELETION_LOOK_MS);
            shard.pauses.until(due_us.min(give_up_us))
        };
        let _ = pause.await; // It ends early only with the shard.
    }
}

impl<D: Disk> Shard<D> {
    /// The new log start.
    fn begin_later(&mut self, id: &TopicPartition, before: i64) -> Result<Offset, KafkaCode> {
        let index = self.leader_index(id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        let partition = &mut self.partitions[index];
        let high_watermark = partition.high_watermark();
        let before = match before {
            -1 => high_watermark,
            before => Offset::from_wire(before).ok_or(KafkaCode::OffsetOutOfRange)?,
        };
        if before > high_watermark {
            return Err(KafkaCode::OffsetOutOfRange);
        }
        partition.log.delete_records_before(before);
        let log_start = partition.log.log_start();
        self.queue_push(index); // Followers are told.
        Ok(log_start)
    }

    fn low_watermark(&self, id: &TopicPartition) -> Result<Offset, KafkaCode> {
        let index = self.leader_index(id).ok_or(KafkaCode::NotLeaderOrFollower)?;
        let partition = &self.partitions[index];
        let Role::Leader(leader) = &partition.role else {
            return Err(KafkaCode::NotLeaderOrFollower);
        };
        let is_up = |broker| self.image.is_alive(broker);
        Ok(leader.low_watermark(partition.log.log_start(), is_up))
    }
}

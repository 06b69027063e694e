//! Questions to a share coordinator on another broker, as Kafka's requests (KIP-932).
//!
//! Each may be asked twice: what is written or initialized again comes to the same, so a lost
//! answer costs a repetition and no more.

use crate::coordinator::share::{
    DeliveryState, ShareAnswer, ShareKey, ShareRequest, ShareState, ShareSummary, StateBatch,
    StateWrite,
};
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::protocol::messages::delete_share_group_state::{self, DeleteShareGroupStateRequest};
use crate::protocol::messages::initialize_share_group_state::{
    self, InitializeShareGroupStateRequest,
};
use crate::protocol::messages::read_share_group_state::{self, ReadShareGroupStateRequest};
use crate::protocol::messages::read_share_group_state_summary::{
    self, ReadShareGroupStateSummaryRequest,
};
use crate::protocol::messages::write_share_group_state::{self, WriteShareGroupStateRequest};
use crate::protocol::schema::Request;
use crate::shard::peers;
use crate::shard::shard::ShardRef;
use crate::shard::share_state::START_UNSET;
use crate::storage::disk::Disk;

/// The broker that is asked, and for how many milliseconds.
pub(super) struct Remote<'a, D: Disk> {
    pub(super) shard: &'a ShardRef<D>,
    pub(super) to: BrokerId,
    pub(super) timeout_ms: u64,
}

impl<D: Disk> Remote<'_, D> {
    /// The coordinator's answer; COORDINATOR_NOT_AVAILABLE where none came. Whether the request
    /// took effect is not known then.
    pub(super) async fn ask(&self, request: ShareRequest) -> ShareAnswer {
        let answer = match request {
            ShareRequest::Initialize { key, state_epoch, start_offset } => {
                self.initialize(key, state_epoch, start_offset).await
            }
            ShareRequest::Read { key, leader_epoch } => self.read(key, leader_epoch).await,
            ShareRequest::Write { key, write } => self.write(key, write).await,
            ShareRequest::Summary { key } => self.summary(key).await,
            ShareRequest::Delete { key } => self.delete(key).await,
        };
        answer.unwrap_or_else(ShareAnswer::Refused)
    }

    async fn call<R: Request>(&self, request: &R) -> Result<R::Response, KafkaCode> {
        peers::call(self.shard, self.to, request, self.timeout_ms).await.map_err(|error| {
            tracing::debug!(%error, "share coordinator on another broker");
            KafkaCode::CoordinatorNotAvailable
        })
    }

    async fn initialize(
        &self,
        key: ShareKey,
        state_epoch: i32,
        start_offset: i64,
    ) -> Result<ShareAnswer, KafkaCode> {
        use initialize_share_group_state::{InitializeStateData, PartitionData};
        let partition = key.partition.partition.0;
        let partitions = vec![PartitionData { partition, state_epoch, start_offset }];
        let topics = vec![InitializeStateData { topic_id: key.partition.topic.0, partitions }];
        let request = InitializeShareGroupStateRequest { group_id: key.group, topics };
        let results = self.call(&request).await?.results;
        let result = only(results.into_iter().flat_map(|topic| topic.partitions))?;
        check(result.error_code)?;
        // Whether that changed anything is not told. A leader that holds an older state is fenced
        // by its epoch.
        let is_begun = start_offset == START_UNSET;
        Ok(if is_begun { ShareAnswer::Unchanged } else { ShareAnswer::Done })
    }

    async fn read(&self, key: ShareKey, leader_epoch: i32) -> Result<ShareAnswer, KafkaCode> {
        use read_share_group_state::{PartitionData, ReadStateData};
        let partitions = vec![PartitionData { partition: key.partition.partition.0, leader_epoch }];
        let topics = vec![ReadStateData { topic_id: key.partition.topic.0, partitions }];
        let request = ReadShareGroupStateRequest { group_id: key.group, topics };
        let results = self.call(&request).await?.results;
        let result = only(results.into_iter().flat_map(|topic| topic.partitions))?;
        check(result.error_code)?;
        let batch = |own: read_share_group_state::StateBatch| {
            let state = DeliveryState::from_number(own.delivery_state)?;
            let (first, last) = (own.first_offset, own.last_offset);
            let batch = StateBatch { first, last, state, delivery_count: own.delivery_count };
            batch.is_sound().then_some(batch)
        };
        let batches: Option<Vec<StateBatch>> =
            result.state_batches.into_iter().map(batch).collect();
        Ok(ShareAnswer::State(ShareState {
            state_epoch: result.state_epoch,
            start_offset: result.start_offset,
            batches: batches.ok_or(KafkaCode::UnknownServerError)?,
        }))
    }

    async fn write(&self, key: ShareKey, write: StateWrite) -> Result<ShareAnswer, KafkaCode> {
        use write_share_group_state::{PartitionData, WriteStateData};
        let batch = |own: StateBatch| write_share_group_state::StateBatch {
            first_offset: own.first,
            last_offset: own.last,
            delivery_state: own.state.number(),
            delivery_count: own.delivery_count,
        };
        let partitions = vec![PartitionData {
            partition: key.partition.partition.0,
            state_epoch: write.state_epoch,
            leader_epoch: write.leader_epoch,
            start_offset: write.start_offset,
            state_batches: write.batches.into_iter().map(batch).collect(),
        }];
        let topics = vec![WriteStateData { topic_id: key.partition.topic.0, partitions }];
        let request = WriteShareGroupStateRequest { group_id: key.group, topics };
        let results = self.call(&request).await?.results;
        let result = only(results.into_iter().flat_map(|topic| topic.partitions))?;
        check(result.error_code)?;
        Ok(ShareAnswer::Done)
    }

    async fn summary(&self, key: ShareKey) -> Result<ShareAnswer, KafkaCode> {
        use read_share_group_state_summary::{PartitionData, ReadStateSummaryData};
        // Who asks need not lead the partition: no leader epoch is checked.
        let (partition, leader_epoch) = (key.partition.partition.0, -1);
        let partitions = vec![PartitionData { partition, leader_epoch }];
        let topics = vec![ReadStateSummaryData { topic_id: key.partition.topic.0, partitions }];
        let request = ReadShareGroupStateSummaryRequest { group_id: key.group, topics };
        let results = self.call(&request).await?.results;
        let result = only(results.into_iter().flat_map(|topic| topic.partitions))?;
        check(result.error_code)?;
        Ok(ShareAnswer::Summary(ShareSummary {
            state_epoch: result.state_epoch,
            leader_epoch: result.leader_epoch,
            start_offset: result.start_offset,
            delivery_complete_count: None,
        }))
    }

    async fn delete(&self, key: ShareKey) -> Result<ShareAnswer, KafkaCode> {
        use delete_share_group_state::{DeleteStateData, PartitionData};
        let partitions = vec![PartitionData { partition: key.partition.partition.0 }];
        let topics = vec![DeleteStateData { topic_id: key.partition.topic.0, partitions }];
        let request = DeleteShareGroupStateRequest { group_id: key.group, topics };
        let results = self.call(&request).await?.results;
        let result = only(results.into_iter().flat_map(|topic| topic.partitions))?;
        check(result.error_code)?;
        Ok(ShareAnswer::Done)
    }
}

/// The result for the one partition that was asked about.
fn only<R>(mut results: impl Iterator<Item = R>) -> Result<R, KafkaCode> {
    results.next().ok_or(KafkaCode::UnknownServerError)
}

fn check(number: i16) -> Result<(), KafkaCode> {
    match KafkaCode::from_number(number).unwrap_or(KafkaCode::UnknownServerError) {
        KafkaCode::None => Ok(()),
        code => Err(code),
    }
}

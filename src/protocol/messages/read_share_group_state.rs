//! ReadShareGroupState, key 84: the leader of partitions begins to serve them to a share group
//! (KIP-932). Between brokers.
//!
//! Version 0, flexible.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ReadShareGroupState:
        ReadShareGroupStateRequest => ReadShareGroupStateResponse, versions 0..=0;

    /// The request.
    struct ReadShareGroupStateRequest {
        group_id: String, "0+";
        topics: Vec<ReadStateData>, "0+";
    }

    /// One of `topics` of [`ReadShareGroupStateRequest`].
    struct ReadStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`ReadStateData`].
    struct PartitionData {
        partition: i32, "0+";
        leader_epoch: i32, "0+";
    }

    /// The response.
    struct ReadShareGroupStateResponse {
        results: Vec<ReadStateResult>, "0+";
    }

    /// One of `results` of [`ReadShareGroupStateResponse`].
    struct ReadStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionResult>, "0+";
    }

    /// One of `partitions` of [`ReadStateResult`].
    struct PartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        state_epoch: i32, "0+";
        start_offset: i64, "0+";
        state_batches: Vec<StateBatch>, "0+";
    }

    /// One of `state_batches` of [`PartitionResult`].
    struct StateBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        delivery_state: i8, "0+";
        delivery_count: i16, "0+";
    }
}

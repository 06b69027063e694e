//! WriteShareGroupState, key 85: what became of records that a share group was given
//! (KIP-932). Between brokers.
//!
//! Version 0, flexible.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api WriteShareGroupState:
        WriteShareGroupStateRequest => WriteShareGroupStateResponse, versions 0..=0;

    /// The request.
    struct WriteShareGroupStateRequest {
        group_id: String, "0+";
        topics: Vec<WriteStateData>, "0+";
    }

    /// One of `topics` of [`WriteShareGroupStateRequest`].
    struct WriteStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`WriteStateData`].
    struct PartitionData {
        partition: i32, "0+";
        state_epoch: i32, "0+";
        leader_epoch: i32, "0+";
        start_offset: i64, "0+";
        state_batches: Vec<StateBatch>, "0+";
    }

    /// The response.
    struct WriteShareGroupStateResponse {
        results: Vec<WriteStateResult>, "0+";
    }

    /// One of `results` of [`WriteShareGroupStateResponse`].
    struct WriteStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionResult>, "0+";
    }

    /// One of `partitions` of [`WriteStateResult`].
    struct PartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }

    /// One of `state_batches` of [`PartitionData`].
    struct StateBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        delivery_state: i8, "0+";
        delivery_count: i16, "0+";
    }
}

//! InitializeShareGroupState, key 83: a share group begins with partitions, or anew
//! (KIP-932). Between brokers.
//!
//! Version 0, flexible.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api InitializeShareGroupState:
        InitializeShareGroupStateRequest => InitializeShareGroupStateResponse, versions 0..=0;

    /// The request.
    struct InitializeShareGroupStateRequest {
        group_id: String, "0+";
        topics: Vec<InitializeStateData>, "0+";
    }

    /// One of `topics` of [`InitializeShareGroupStateRequest`].
    struct InitializeStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`InitializeStateData`].
    struct PartitionData {
        partition: i32, "0+";
        state_epoch: i32, "0+";
        start_offset: i64, "0+";
    }

    /// The response.
    struct InitializeShareGroupStateResponse {
        results: Vec<InitializeStateResult>, "0+";
    }

    /// One of `results` of [`InitializeShareGroupStateResponse`].
    struct InitializeStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionResult>, "0+";
    }

    /// One of `partitions` of [`InitializeStateResult`].
    struct PartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }
}

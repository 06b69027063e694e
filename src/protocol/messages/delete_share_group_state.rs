//! DeleteShareGroupState, key 86: a share group has done with partitions
//! (KIP-932). Between brokers.
//!
//! Version 0, flexible.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api DeleteShareGroupState:
        DeleteShareGroupStateRequest => DeleteShareGroupStateResponse, versions 0..=0;

    /// The request.
    struct DeleteShareGroupStateRequest {
        group_id: String, "0+";
        topics: Vec<DeleteStateData>, "0+";
    }

    /// One of `topics` of [`DeleteShareGroupStateRequest`].
    struct DeleteStateData {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`DeleteStateData`].
    struct PartitionData {
        partition: i32, "0+";
    }

    /// The response.
    struct DeleteShareGroupStateResponse {
        results: Vec<DeleteStateResult>, "0+";
    }

    /// One of `results` of [`DeleteShareGroupStateResponse`].
    struct DeleteStateResult {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionResult>, "0+";
    }

    /// One of `partitions` of [`DeleteStateResult`].
    struct PartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }
}

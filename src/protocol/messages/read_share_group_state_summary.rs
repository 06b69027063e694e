//! ReadShareGroupStateSummary, key 87: how far a share group is in partitions
//! (KIP-932). Between brokers.
//!
//! Version 0, flexible.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ReadShareGroupStateSummary:
        ReadShareGroupStateSummaryRequest => ReadShareGroupStateSummaryResponse, versions 0..=0;

    /// The request.
    struct ReadShareGroupStateSummaryRequest {
        group_id: String, "0+";
        topics: Vec<ReadStateSummaryData>, "0+";
    }

    /// One of `topics` of [`ReadShareGroupStateSummaryRequest`].
    struct ReadStateSummaryData {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`ReadStateSummaryData`].
    struct PartitionData {
        partition: i32, "0+";
        leader_epoch: i32, "0+";
    }

    /// The response.
    struct ReadShareGroupStateSummaryResponse {
        results: Vec<ReadStateSummaryResult>, "0+";
    }

    /// One of `results` of [`ReadShareGroupStateSummaryResponse`].
    struct ReadStateSummaryResult {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionResult>, "0+";
    }

    /// One of `partitions` of [`ReadStateSummaryResult`].
    struct PartitionResult {
        partition: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        state_epoch: i32, "0+";
        leader_epoch: i32, "0+";
        start_offset: i64, "0+";
    }
}

//! ShareAcknowledge, key 79: a member of a share group says what became of records that it acquired
//! (KIP-932).
//!
//! Version 1, flexible.
//!
//! Left out: v0, an early access of Kafka 4.0 that 4.1 removed.
//!
//! A leader is -1 where none is told. Kafka's defaults are 0, which franz-go takes for broker 0
//! beside any error: it asks there, and nowhere else, until the partition's leader changes.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api ShareAcknowledge: ShareAcknowledgeRequest => ShareAcknowledgeResponse, versions 1..=1;

    /// The request.
    struct ShareAcknowledgeRequest {
        group_id: Option<String> = None, "0+", null("0+");
        member_id: Option<String>, "0+", null("0+");
        share_session_epoch: i32, "0+";
        topics: Vec<AcknowledgeTopic>, "0+";
    }

    /// One of `topics` of [`ShareAcknowledgeRequest`].
    struct AcknowledgeTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<AcknowledgePartition>, "0+";
    }

    /// One of `partitions` of [`AcknowledgeTopic`].
    struct AcknowledgePartition {
        partition_index: i32, "0+";
        acknowledgement_batches: Vec<AcknowledgementBatch>, "0+";
    }

    /// One of `acknowledgement_batches` of [`AcknowledgePartition`].
    struct AcknowledgementBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        acknowledge_types: Vec<i8>, "0+";
    }

    /// The response.
    struct ShareAcknowledgeResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        responses: Vec<ShareAcknowledgeTopicResponse>, "0+";
        node_endpoints: Vec<NodeEndpoint>, "0+";
    }

    /// One of `responses` of [`ShareAcknowledgeResponse`].
    struct ShareAcknowledgeTopicResponse {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`ShareAcknowledgeTopicResponse`].
    struct PartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        current_leader: LeaderIdAndEpoch, "0+";
    }

    /// The `current_leader` of [`PartitionData`].
    struct LeaderIdAndEpoch {
        leader_id: i32 = -1, "0+";
        leader_epoch: i32 = -1, "0+";
    }

    /// One of `node_endpoints` of [`ShareAcknowledgeResponse`].
    struct NodeEndpoint {
        node_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "0+", null("0+");
    }
}

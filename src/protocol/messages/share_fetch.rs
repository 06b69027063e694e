//! ShareFetch, key 78: a member of a share group acquires records, and says what became of earlier
//! ones (KIP-932).
//!
//! Version 1, flexible.
//!
//! Left out: v0, an early access of Kafka 4.0 that 4.1 removed.
//!
//! A leader is -1 where none is told. Kafka's defaults are 0, which franz-go takes for broker 0
//! beside any error: it asks there, and nowhere else, until the partition's leader changes.

use uuid::Uuid;

use crate::protocol::records::Records;
use crate::protocol::schema::schema;

schema! {
    api ShareFetch: ShareFetchRequest => ShareFetchResponse, versions 1..=1;

    /// The request.
    struct ShareFetchRequest {
        group_id: Option<String> = None, "0+", null("0+");
        member_id: Option<String>, "0+", null("0+");
        share_session_epoch: i32, "0+";
        max_wait_ms: i32, "0+";
        min_bytes: i32, "0+";
        max_bytes: i32 = i32::MAX, "0+";
        max_records: i32, "1+";
        batch_size: i32, "1+";
        topics: Vec<FetchTopic>, "0+";
        forgotten_topics_data: Vec<ForgottenTopic>, "0+";
    }

    /// One of `topics` of [`ShareFetchRequest`].
    struct FetchTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<FetchPartition>, "0+";
    }

    /// One of `partitions` of [`FetchTopic`].
    struct FetchPartition {
        partition_index: i32, "0+";
        acknowledgement_batches: Vec<AcknowledgementBatch>, "0+";
    }

    /// One of `acknowledgement_batches` of [`FetchPartition`].
    struct AcknowledgementBatch {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        acknowledge_types: Vec<i8>, "0+";
    }

    /// One of `forgotten_topics_data` of [`ShareFetchRequest`].
    struct ForgottenTopic {
        topic_id: Uuid, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// The response.
    struct ShareFetchResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        acquisition_lock_timeout_ms: i32, "1+";
        responses: Vec<ShareFetchableTopicResponse>, "0+";
        node_endpoints: Vec<NodeEndpoint>, "0+";
    }

    /// One of `responses` of [`ShareFetchResponse`].
    struct ShareFetchableTopicResponse {
        topic_id: Uuid, "0+";
        partitions: Vec<PartitionData>, "0+";
    }

    /// One of `partitions` of [`ShareFetchableTopicResponse`].
    struct PartitionData {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        acknowledge_error_code: i16, "0+";
        acknowledge_error_message: Option<String> = None, "0+", null("0+");
        current_leader: LeaderIdAndEpoch, "0+";
        records: Records, "0+";
        acquired_records: Vec<AcquiredRecords>, "0+";
    }

    /// The `current_leader` of [`PartitionData`].
    struct LeaderIdAndEpoch {
        leader_id: i32 = -1, "0+";
        leader_epoch: i32 = -1, "0+";
    }

    /// One of `acquired_records` of [`PartitionData`].
    struct AcquiredRecords {
        first_offset: i64, "0+";
        last_offset: i64, "0+";
        delivery_count: i16, "0+";
    }

    /// One of `node_endpoints` of [`ShareFetchResponse`].
    struct NodeEndpoint {
        node_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "0+", null("0+");
    }
}

//! Produce, key 0: append batches to partitions.
//!
//! Versions 3 to 13:
//! - v3 transactional id and record batches of format 2 (KIP-98).
//! - v5 log start offset in the response.
//! - v6 throttling per KIP-219.
//! - v7 zstd allowed (KIP-110).
//! - v8 errors per record (KIP-467).
//! - v9 flexible.
//! - v10 current leader and its endpoint as tagged fields (KIP-951).
//! - v11 may answer TRANSACTION_ABORTABLE (KIP-890).
//! - v12 adds the partition to the transaction implicitly (KIP-890).
//! - v13 topic ids instead of names (KIP-516).
//!
//! Left out: v0 to v2: Kafka 4.0 removed them (KIP-896). The request path reads `produce_view.rs`
//! instead.

use uuid::Uuid;

use crate::protocol::records::Records;
use crate::protocol::schema::schema;

schema! {
    api Produce: ProduceRequest => ProduceResponse, versions 3..=13;

    /// The request.
    struct ProduceRequest {
        transactional_id: Option<String> = None, "3+", null("3+");
        acks: i16, "0+";
        timeout_ms: i32, "0+";
        topic_data: Vec<TopicProduceData>, "0+";
    }

    /// One of `topic_data` of [`ProduceRequest`].
    struct TopicProduceData {
        name: String, "0-12", ignorable();
        topic_id: Uuid, "13+", ignorable();
        partition_data: Vec<PartitionProduceData>, "0+";
    }

    /// One of `partition_data` of [`TopicProduceData`].
    struct PartitionProduceData {
        index: i32, "0+";
        records: Records, "0+", null("0+");
    }

    /// The response.
    struct ProduceResponse {
        responses: Vec<TopicProduceResponse>, "0+";
        throttle_time_ms: i32, "1+", ignorable();
        node_endpoints: Vec<NodeEndpoint>, "10+", tag(0, "10+");
    }

    /// One of `responses` of [`ProduceResponse`].
    struct TopicProduceResponse {
        name: String, "0-12", ignorable();
        topic_id: Uuid, "13+", ignorable();
        partition_responses: Vec<PartitionProduceResponse>, "0+";
    }

    /// One of `partition_responses` of [`TopicProduceResponse`].
    struct PartitionProduceResponse {
        index: i32, "0+";
        error_code: i16, "0+";
        base_offset: i64, "0+";
        log_append_time_ms: i64 = -1, "2+", ignorable();
        log_start_offset: i64 = -1, "5+", ignorable();
        record_errors: Vec<BatchIndexAndErrorMessage>, "8+", ignorable();
        error_message: Option<String> = None, "8+", null("8+"), ignorable();
        current_leader: LeaderIdAndEpoch, "10+", tag(0, "10+");
    }

    /// One of `record_errors` of [`PartitionProduceResponse`].
    struct BatchIndexAndErrorMessage {
        batch_index: i32, "8+";
        batch_index_error_message: Option<String> = None, "8+", null("8+");
    }

    /// The `current_leader` of [`PartitionProduceResponse`].
    struct LeaderIdAndEpoch {
        leader_id: i32 = -1, "10+";
        leader_epoch: i32 = -1, "10+";
    }

    /// One of `node_endpoints` of [`ProduceResponse`].
    struct NodeEndpoint {
        node_id: i32, "10+";
        host: String, "10+";
        port: i32, "10+";
        rack: Option<String> = None, "10+", null("10+");
    }
}

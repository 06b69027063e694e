//! DescribeProducers, key 61: who has written to a partition, and whose transaction is open there
//! (KIP-664).
//!
//! Version 0: flexible.

use crate::protocol::schema::schema;

schema! {
    api DescribeProducers: DescribeProducersRequest => DescribeProducersResponse, versions 0..=0;

    /// The request.
    struct DescribeProducersRequest {
        topics: Vec<DescribeProducersTopicRequest>, "0+";
    }

    /// One of `topics` of [`DescribeProducersRequest`].
    struct DescribeProducersTopicRequest {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
    }

    /// The response.
    struct DescribeProducersResponse {
        throttle_time_ms: i32, "0+";
        topics: Vec<DescribeProducersTopicResponse>, "0+";
    }

    /// One of `topics` of [`DescribeProducersResponse`].
    struct DescribeProducersTopicResponse {
        name: String, "0+";
        partitions: Vec<DescribeProducersPartitionResponse>, "0+";
    }

    /// One of `partitions` of [`DescribeProducersTopicResponse`].
    struct DescribeProducersPartitionResponse {
        partition_index: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
        active_producers: Vec<ProducerState>, "0+";
    }

    /// One of `active_producers` of [`DescribeProducersPartitionResponse`].
    struct ProducerState {
        producer_id: i64, "0+";
        producer_epoch: i32, "0+";
        last_sequence: i32 = -1, "0+";
        last_timestamp: i64 = -1, "0+";
        coordinator_epoch: i32, "0+";
        current_txn_start_offset: i64 = -1, "0+";
    }
}

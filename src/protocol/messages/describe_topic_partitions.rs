//! DescribeTopicPartitions, key 75: partitions of topics, page by page (KIP-966).
//!
//! Version 0.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api DescribeTopicPartitions: DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse,
    versions 0..=0;

    /// The request.
    struct DescribeTopicPartitionsRequest {
        topics: Vec<TopicRequest>, "0+";
        response_partition_limit: i32 = 2000, "0+";
        cursor: Option<Cursor> = None, "0+", null("0+");
    }

    /// One of `topics` of [`DescribeTopicPartitionsRequest`].
    struct TopicRequest {
        name: String, "0+";
    }

    /// The `cursor` of [`DescribeTopicPartitionsRequest`].
    struct Cursor {
        topic_name: String, "0+";
        partition_index: i32, "0+";
    }

    /// The response.
    struct DescribeTopicPartitionsResponse {
        throttle_time_ms: i32, "0+", ignorable();
        topics: Vec<DescribeTopicPartitionsResponseTopic>, "0+";
        next_cursor: Option<Cursor> = None, "0+", null("0+");
    }

    /// One of `topics` of [`DescribeTopicPartitionsResponse`].
    struct DescribeTopicPartitionsResponseTopic {
        error_code: i16, "0+";
        name: Option<String>, "0+", null("0+");
        topic_id: Uuid, "0+", ignorable();
        is_internal: bool, "0+", ignorable();
        partitions: Vec<DescribeTopicPartitionsResponsePartition>, "0+";
        topic_authorized_operations: i32 = i32::MIN, "0+";
    }

    /// One of `partitions` of [`DescribeTopicPartitionsResponseTopic`].
    struct DescribeTopicPartitionsResponsePartition {
        error_code: i16, "0+";
        partition_index: i32, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32 = -1, "0+", ignorable();
        replica_nodes: Vec<i32>, "0+";
        isr_nodes: Vec<i32>, "0+";
        eligible_leader_replicas: Option<Vec<i32>> = None, "0+", null("0+");
        last_known_elr: Option<Vec<i32>> = None, "0+", null("0+");
        offline_replicas: Vec<i32>, "0+", ignorable();
    }
}

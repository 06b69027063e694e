//! DescribeShareGroupOffsets, key 90: from where share groups read their partitions (KIP-932).
//!
//! Version 0.

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api DescribeShareGroupOffsets:
        DescribeShareGroupOffsetsRequest => DescribeShareGroupOffsetsResponse, versions 0..=0;

    /// The request.
    struct DescribeShareGroupOffsetsRequest {
        groups: Vec<DescribeShareGroupOffsetsRequestGroup>, "0+";
    }

    /// One of `groups` of [`DescribeShareGroupOffsetsRequest`].
    struct DescribeShareGroupOffsetsRequestGroup {
        group_id: String, "0+";
        topics: Option<Vec<DescribeShareGroupOffsetsRequestTopic>> = None, "0+", null("0+");
    }

    /// One of `topics` of [`DescribeShareGroupOffsetsRequestGroup`].
    struct DescribeShareGroupOffsetsRequestTopic {
        topic_name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// The response.
    struct DescribeShareGroupOffsetsResponse {
        throttle_time_ms: i32, "0+";
        groups: Vec<DescribeShareGroupOffsetsResponseGroup>, "0+";
    }

    /// One of `groups` of [`DescribeShareGroupOffsetsResponse`].
    struct DescribeShareGroupOffsetsResponseGroup {
        group_id: String, "0+";
        topics: Vec<DescribeShareGroupOffsetsResponseTopic>, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }

    /// One of `topics` of [`DescribeShareGroupOffsetsResponseGroup`].
    struct DescribeShareGroupOffsetsResponseTopic {
        topic_name: String, "0+";
        topic_id: Uuid, "0+";
        partitions: Vec<DescribeShareGroupOffsetsResponsePartition>, "0+";
    }

    /// One of `partitions` of [`DescribeShareGroupOffsetsResponseTopic`].
    struct DescribeShareGroupOffsetsResponsePartition {
        partition_index: i32, "0+";
        start_offset: i64, "0+";
        leader_epoch: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String> = None, "0+", null("0+");
    }
}

//! DescribeLogDirs, key 35: sizes of partitions in the log directories (KIP-113).
//!
//! Versions 1 to 4:
//! - v1 first version kept by Kafka 4.
//! - v2 flexible.
//! - v3 top-level error code.
//! - v4 total and usable bytes of the volume (KIP-827).
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api DescribeLogDirs: DescribeLogDirsRequest => DescribeLogDirsResponse, versions 1..=4;

    /// The request.
    struct DescribeLogDirsRequest {
        topics: Option<Vec<DescribableLogDirTopic>>, "0+", null("0+");
    }

    /// One of `topics` of [`DescribeLogDirsRequest`].
    struct DescribableLogDirTopic {
        topic: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// The response.
    struct DescribeLogDirsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "3+", ignorable();
        results: Vec<DescribeLogDirsResult>, "0+";
    }

    /// One of `results` of [`DescribeLogDirsResponse`].
    struct DescribeLogDirsResult {
        error_code: i16, "0+";
        log_dir: String, "0+";
        topics: Vec<DescribeLogDirsTopic>, "0+";
        total_bytes: i64 = -1, "4+", ignorable();
        usable_bytes: i64 = -1, "4+", ignorable();
    }

    /// One of `topics` of [`DescribeLogDirsResult`].
    struct DescribeLogDirsTopic {
        name: String, "0+";
        partitions: Vec<DescribeLogDirsPartition>, "0+";
    }

    /// One of `partitions` of [`DescribeLogDirsTopic`].
    struct DescribeLogDirsPartition {
        partition_index: i32, "0+";
        partition_size: i64, "0+";
        offset_lag: i64, "0+";
        is_future_key: bool, "0+";
    }
}

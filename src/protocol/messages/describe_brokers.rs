//! DescribeBrokers, key 20001: every registered broker with what the controller takes it for.
//!
//! Ours: Kafka's DescribeCluster tells fenced brokers only, and nothing of data directories.
//! Version
//! 0, flexible.

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api DescribeBrokers: DescribeBrokersRequest => DescribeBrokersResponse, versions 0..=0;

    /// The request: one broker, or all where it is -1.
    struct DescribeBrokersRequest {
        broker_id: i32 = -1, "0+";
    }

    /// The response; partitions with fewer replicas in sync than there are, and without a leader.
    struct DescribeBrokersResponse {
        error_code: i16, "0+";
        cluster_id: Uuid, "0+";
        brokers: Vec<DescribedBroker>, "0+";
        partitions: i32, "0+";
        under_replicated: i32, "0+";
        leaderless: i32, "0+";
    }

    /// One of `brokers` of [`DescribeBrokersResponse`]; states are 0 fenced, 1 active, 2 stopping.
    struct DescribedBroker {
        broker_id: i32, "0+";
        broker_epoch: i64, "0+";
        directory_id: Uuid, "0+";
        state: i8, "0+";
        is_controller: bool, "0+";
        cores: i16, "0+";
        host: String, "0+";
        port: u16, "0+";
        rack: Option<String>, "0+", null("0+");
        replicas: i32, "0+";
        leaders: i32, "0+";
    }
}

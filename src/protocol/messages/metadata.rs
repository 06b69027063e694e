//! Metadata, key 3: brokers, topics and partition leaders.
//!
//! Versions 0 to 13:
//! - v1 null topics means all; racks, controller id, internal topics.
//! - v2 cluster id.
//! - v3 throttle time.
//! - v4 allow_auto_topic_creation.
//! - v5 offline replicas (KIP-112).
//! - v6 as v5, throttling per KIP-219.
//! - v7 leader epochs (KIP-320).
//! - v8 authorised operations on request (KIP-430).
//! - v9 flexible.
//! - v10 topic ids (KIP-516).
//! - v11 cluster authorised operations move to DescribeCluster (KIP-700).
//! - v12 topics by id.
//! - v13 top-level error code (KIP-1102).

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api Metadata: MetadataRequest => MetadataResponse, versions 0..=13;

    /// The request.
    struct MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>>, "0+", null("1+");
        allow_auto_topic_creation: bool = true, "4+";
        include_cluster_authorized_operations: bool, "8-10";
        include_topic_authorized_operations: bool, "8+";
    }

    /// One of `topics` of [`MetadataRequest`].
    struct MetadataRequestTopic {
        topic_id: Uuid, "10+", ignorable();
        name: Option<String>, "0+", null("10+");
    }

    /// The response.
    struct MetadataResponse {
        throttle_time_ms: i32, "3+", ignorable();
        brokers: Vec<MetadataResponseBroker>, "0+";
        cluster_id: Option<String> = None, "2+", null("2+"), ignorable();
        controller_id: i32 = -1, "1+", ignorable();
        topics: Vec<MetadataResponseTopic>, "0+";
        cluster_authorized_operations: i32 = i32::MIN, "8-10";
        error_code: i16, "13+", ignorable();
    }

    /// One of `brokers` of [`MetadataResponse`].
    struct MetadataResponseBroker {
        node_id: i32, "0+";
        host: String, "0+";
        port: i32, "0+";
        rack: Option<String> = None, "1+", null("1+"), ignorable();
    }

    /// One of `topics` of [`MetadataResponse`].
    struct MetadataResponseTopic {
        error_code: i16, "0+";
        name: Option<String>, "0+", null("12+");
        topic_id: Uuid, "10+", ignorable();
        is_internal: bool, "1+", ignorable();
        partitions: Vec<MetadataResponsePartition>, "0+";
        topic_authorized_operations: i32 = i32::MIN, "8+";
    }

    /// One of `partitions` of [`MetadataResponseTopic`].
    struct MetadataResponsePartition {
        error_code: i16, "0+";
        partition_index: i32, "0+";
        leader_id: i32, "0+";
        leader_epoch: i32 = -1, "7+", ignorable();
        replica_nodes: Vec<i32>, "0+";
        isr_nodes: Vec<i32>, "0+";
        offline_replicas: Vec<i32>, "5+", ignorable();
    }
}

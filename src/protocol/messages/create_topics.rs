//! CreateTopics, key 19: create topics.
//!
//! Versions 2 to 7:
//! - v2 first version kept by Kafka 4.
//! - v3 throttling per KIP-219.
//! - v4 -1 for partitions or replication factor means the broker's default (KIP-464).
//! - v5 flexible; the created configuration in the response (KIP-525).
//! - v6 may answer THROTTLING_QUOTA_EXCEEDED (KIP-599).
//! - v7 topic ids (KIP-516).
//!
//! Left out: v0 and v1 (KIP-896).

use uuid::Uuid;

use crate::protocol::schema::schema;

schema! {
    api CreateTopics: CreateTopicsRequest => CreateTopicsResponse, versions 2..=7;

    /// The request.
    struct CreateTopicsRequest {
        topics: Vec<CreatableTopic>, "0+";
        timeout_ms: i32 = 60000, "0+";
        validate_only: bool, "1+";
    }

    /// One of `topics` of [`CreateTopicsRequest`].
    struct CreatableTopic {
        name: String, "0+";
        num_partitions: i32, "0+";
        replication_factor: i16, "0+";
        assignments: Vec<CreatableReplicaAssignment>, "0+";
        configs: Vec<CreatableTopicConfig>, "0+";
    }

    /// One of `assignments` of [`CreatableTopic`].
    struct CreatableReplicaAssignment {
        partition_index: i32, "0+";
        broker_ids: Vec<i32>, "0+";
    }

    /// One of `configs` of [`CreatableTopic`].
    struct CreatableTopicConfig {
        name: String, "0+";
        value: Option<String>, "0+", null("0+");
    }

    /// The response.
    struct CreateTopicsResponse {
        throttle_time_ms: i32, "2+", ignorable();
        topics: Vec<CreatableTopicResult>, "0+";
    }

    /// One of `topics` of [`CreateTopicsResponse`].
    struct CreatableTopicResult {
        name: String, "0+";
        topic_id: Uuid, "7+", ignorable();
        error_code: i16, "0+";
        error_message: Option<String>, "1+", null("0+"), ignorable();
        topic_config_error_code: i16, "5+", tag(0, "5+"), ignorable();
        num_partitions: i32 = -1, "5+", ignorable();
        replication_factor: i16 = -1, "5+", ignorable();
        configs: Option<Vec<CreatableTopicConfigs>>, "5+", null("5+"), ignorable();
    }

    /// One of `configs` of [`CreatableTopicResult`].
    struct CreatableTopicConfigs {
        name: String, "5+";
        value: Option<String>, "5+", null("5+");
        read_only: bool, "5+";
        config_source: i8 = -1, "5+", ignorable();
        is_sensitive: bool, "5+";
    }
}

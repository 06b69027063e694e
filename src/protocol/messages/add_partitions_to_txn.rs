//! AddPartitionsToTxn, key 24: partitions that a transaction will write to (KIP-98).
//!
//! Versions 0 to 5:
//! - v1 throttling per KIP-219.
//! - v2 may answer PRODUCER_FENCED (KIP-588).
//! - v3 flexible; the last one that clients use.
//! - v4 between brokers: many transactions, added or only verified (KIP-890).
//! - v5 may answer TRANSACTION_ABORTABLE (KIP-890).

use crate::protocol::schema::schema;

schema! {
    api AddPartitionsToTxn: AddPartitionsToTxnRequest => AddPartitionsToTxnResponse, versions 0..=5;

    /// The request.
    struct AddPartitionsToTxnRequest {
        transactions: Vec<AddPartitionsToTxnTransaction>, "4+";
        v3_and_below_transactional_id: String, "0-3";
        v3_and_below_producer_id: i64, "0-3";
        v3_and_below_producer_epoch: i16, "0-3";
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic>, "0-3";
    }

    /// One of `transactions` of [`AddPartitionsToTxnRequest`].
    struct AddPartitionsToTxnTransaction {
        transactional_id: String, "4+";
        producer_id: i64, "4+";
        producer_epoch: i16, "4+";
        verify_only: bool, "4+";
        topics: Vec<AddPartitionsToTxnTopic>, "4+";
    }

    /// Partitions of one topic.
    struct AddPartitionsToTxnTopic {
        name: String, "0+";
        partitions: Vec<i32>, "0+";
    }

    /// The response.
    struct AddPartitionsToTxnResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "4+", ignorable();
        results_by_transaction: Vec<AddPartitionsToTxnResult>, "4+";
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>, "0-3";
    }

    /// One of `results_by_transaction` of [`AddPartitionsToTxnResponse`].
    struct AddPartitionsToTxnResult {
        transactional_id: String, "4+";
        topic_results: Vec<AddPartitionsToTxnTopicResult>, "4+";
    }

    /// Results of one topic.
    struct AddPartitionsToTxnTopicResult {
        name: String, "0+";
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>, "0+";
    }

    /// One of `results_by_partition` of [`AddPartitionsToTxnTopicResult`].
    struct AddPartitionsToTxnPartitionResult {
        partition_index: i32, "0+";
        partition_error_code: i16, "0+";
    }
}

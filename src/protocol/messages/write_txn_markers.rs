//! WriteTxnMarkers, key 27: end transactions in partitions (KIP-98). Between brokers, and how an
//! administrator aborts a transaction that nobody ends (KIP-664).
//!
//! Version 1: flexible.
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api WriteTxnMarkers: WriteTxnMarkersRequest => WriteTxnMarkersResponse, versions 1..=1;

    /// The request.
    struct WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker>, "0+";
    }

    /// One of `markers` of [`WriteTxnMarkersRequest`].
    struct WritableTxnMarker {
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        transaction_result: bool, "0+";
        topics: Vec<WritableTxnMarkerTopic>, "0+";
        coordinator_epoch: i32, "0+";
    }

    /// One of `topics` of [`WritableTxnMarker`].
    struct WritableTxnMarkerTopic {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
    }

    /// The response.
    struct WriteTxnMarkersResponse {
        markers: Vec<WritableTxnMarkerResult>, "0+";
    }

    /// One of `markers` of [`WriteTxnMarkersResponse`].
    struct WritableTxnMarkerResult {
        producer_id: i64, "0+";
        topics: Vec<WritableTxnMarkerTopicResult>, "0+";
    }

    /// One of `topics` of [`WritableTxnMarkerResult`].
    struct WritableTxnMarkerTopicResult {
        name: String, "0+";
        partitions: Vec<WritableTxnMarkerPartitionResult>, "0+";
    }

    /// One of `partitions` of [`WritableTxnMarkerTopicResult`].
    struct WritableTxnMarkerPartitionResult {
        partition_index: i32, "0+";
        error_code: i16, "0+";
    }
}

//! WriteTxnMarkers, key 27: end transactions in partitions (KIP-98). Between brokers, and how an
//! administrator aborts a transaction that nobody ends (KIP-664).
//!
//! Version 1: flexible.
//!
//! Left out: v0 (KIP-896), and v2, which says whether the producer has an epoch for each
//! transaction (KIP-1228): our own fields tell transactions apart in either case.

use crate::protocol::schema::schema;

schema! {
    api WriteTxnMarkers: WriteTxnMarkersRequest => WriteTxnMarkersResponse, versions 1..=1;

    /// The request.
    struct WriteTxnMarkersRequest {
        markers: Vec<WritableTxnMarker>, "0+";
    }

    /// One of `markers` of [`WriteTxnMarkersRequest`]. `decided_ms` is our own tagged field, which
    /// other brokers skip (KIP-482): which of a producer's transactions the marker ends.
    struct WritableTxnMarker {
        producer_id: i64, "0+";
        producer_epoch: i16, "0+";
        transaction_result: bool, "0+";
        topics: Vec<WritableTxnMarkerTopic>, "0+";
        coordinator_epoch: i32, "0+";
        decided_ms: i64 = -1, "1+", tag(10_000, "1+"), ignorable();
    }

    /// One of `topics` of [`WritableTxnMarker`]. `leader_epochs` is our own tagged field: for each
    /// of `partition_indexes` the epoch of the leader that the marker is meant for.
    struct WritableTxnMarkerTopic {
        name: String, "0+";
        partition_indexes: Vec<i32>, "0+";
        leader_epochs: Vec<i32>, "1+", tag(10_000, "1+"), ignorable();
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

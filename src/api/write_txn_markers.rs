//! WriteTxnMarkers: ends transactions in partitions, whatever their coordinator thinks (KIP-98).
//! `kafka-transactions abort` sends it for a transaction that hangs (KIP-664). Each partition is
//! answered for itself, once its marker is committed.

use crate::api::answers::{QUESTIONS_AT_ONCE, image, owned_partition};
use crate::api::context::RequestContext;
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::model::ids::{LeaderEpoch, ProducerEpoch, ProducerId};
use crate::protocol::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopic, WritableTxnMarkerTopicResult, WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
};
use crate::shard::markers::MarkerOrder;
use crate::shard::questions::{Question, Reply, ask};
use crate::storage::disk::Disk;
use futures::future::join_all;

/// Answers WriteTxnMarkers.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let image = image(&context);
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let order = order_of(&marker);
        let mut topics = Vec::with_capacity(marker.topics.len());
        for topic in marker.topics {
            topics.push(write_all(&context, &image, topic, order).await);
        }
        markers.push(WritableTxnMarkerResult { producer_id: marker.producer_id, topics });
    }
    WriteTxnMarkersResponse { markers }
}

fn order_of(marker: &WritableTxnMarker) -> MarkerOrder {
    MarkerOrder {
        producer_id: ProducerId(marker.producer_id),
        producer_epoch: ProducerEpoch(marker.producer_epoch),
        coordinator_epoch: marker.coordinator_epoch,
        decided_ms: Some(marker.decided_ms).filter(|decided_ms| *decided_ms >= 0),
        leader_epoch: None,
        is_commit: marker.transaction_result,
    }
}

async fn write_all<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    topic: WritableTxnMarkerTopic,
    order: MarkerOrder,
) -> WritableTxnMarkerTopicResult {
    let epochs = topic.leader_epochs.iter().map(|epoch| Some(LeaderEpoch(*epoch)));
    let epochs = epochs.chain(std::iter::repeat(None));
    let places: Vec<(i32, MarkerOrder)> = topic
        .partition_indexes
        .iter()
        .zip(epochs)
        .map(|(index, leader_epoch)| (*index, MarkerOrder { leader_epoch, ..order }))
        .collect();
    let mut partitions = Vec::with_capacity(places.len());
    for some in places.chunks(QUESTIONS_AT_ONCE) {
        let writes =
            some.iter().map(|(index, order)| write(context, image, (&topic.name, *index), *order));
        let answers = some.iter().zip(join_all(writes).await);
        partitions.extend(answers.map(|((index, _), code)| WritableTxnMarkerPartitionResult {
            partition_index: *index,
            error_code: code.number(),
        }));
    }
    WritableTxnMarkerTopicResult { name: topic.name, partitions }
}

async fn write<D: Disk>(
    context: &RequestContext<D>,
    image: &MetadataImage,
    (topic, index): (&str, i32),
    marker: MarkerOrder,
) -> KafkaCode {
    // No such producer is ever made, and its marker would end nothing.
    if marker.producer_id.0 < 0 || marker.producer_epoch.0 < 0 {
        return KafkaCode::InvalidRequest;
    }
    let (partition, core) = match owned_partition(image, image.topic_by_name(topic), index) {
        Ok(owner) => owner,
        Err(code) => return code,
    };
    match ask(&context.shard, core, Question::WriteMarker { partition, marker }).await {
        Reply::MarkerWritten(code) => code,
        other => unreachable!("a marker is answered by a marker, not by {other:?}"),
    }
}

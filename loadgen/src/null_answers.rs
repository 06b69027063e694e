//! What the null broker answers; bytes in, bytes out, no sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use highwater::model::errors::KafkaCode;
use highwater::protocol::api_key::ApiKey;
use highwater::protocol::compression::Compression;
use highwater::protocol::frame::{RequestHeader, encode_response};
use highwater::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use highwater::protocol::messages::create_topics::{
    CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use highwater::protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use highwater::protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use highwater::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use highwater::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use highwater::protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use highwater::protocol::primitive::{DecodeError, EncodeError, Frame, Reader};
use highwater::protocol::records::Records;
use highwater::protocol::schema::Message;
use uuid::Uuid;

use crate::failure::Failure;
use crate::payload::{BatchSpec, build_batch};

const NODE_ID: i32 = 1;
const RECORDS_PER_BATCH: u64 = 150;
const RECORD_BYTES: usize = 100;

/// An answer, ready for the socket.
#[derive(Debug)]
pub(crate) enum Answer {
    /// For this request only.
    Once(Frame),
    /// For every request that differs in its correlation id alone; empty when none is due (acks=0).
    Repeatable(Frame),
}

/// Bytes that get no answer: the connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswerable {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("no answer for API {0}")]
    Api(i16),
}

#[derive(Debug)]
struct NullTopic {
    id: Uuid,
    partitions: i32,
}

/// The topics that clients created, and the batch that every fetch gets.
#[derive(Debug)]
pub(crate) struct NullAnswers {
    local: SocketAddr,
    topics: BTreeMap<String, NullTopic>,
    batch: Bytes,
    end_offset: i64,
    has_produced: bool,
}

impl NullAnswers {
    /// `local` is what Metadata tells clients; logs end at `end_offset`, rounded down to a batch.
    pub(crate) fn new(local: SocketAddr, end_offset: i64) -> Result<NullAnswers, Failure> {
        let spec = BatchSpec {
            records: RECORDS_PER_BATCH,
            record_bytes: RECORD_BYTES,
            random_percent: 50,
            compression: Compression::None,
            seed: 1,
        };
        let batch = build_batch(&spec)?;
        let step = records_per_batch();
        Ok(NullAnswers {
            local,
            topics: BTreeMap::new(),
            batch,
            end_offset: end_offset / step * step,
            has_produced: false,
        })
    }

    /// Whether a Produce request has come.
    pub(crate) fn has_produced(&self) -> bool {
        self.has_produced
    }

    /// The answer to one request frame, without its length prefix.
    ///
    /// # Errors
    /// Bytes that are no request, or an API that it does not have.
    pub(crate) fn answer(&mut self, frame: Bytes) -> Result<Answer, Unanswerable> {
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader)?;
        let (version, id) = (header.api_version, header.correlation_id);
        let reader = &mut reader;
        let answer = match ApiKey::from_number(header.api_key) {
            Some(ApiKey::ApiVersions) => encode_response(&api_versions(), version, id)?,
            Some(ApiKey::Metadata) => {
                let request = MetadataRequest::decode(reader, version)?;
                encode_response(&self.metadata(&request), version, id)?
            }
            Some(ApiKey::CreateTopics) => {
                let request = CreateTopicsRequest::decode(reader, version)?;
                encode_response(&self.create_topics(request), version, id)?
            }
            Some(ApiKey::DeleteTopics) => {
                let request = DeleteTopicsRequest::decode(reader, version)?;
                encode_response(&self.delete_topics(request), version, id)?
            }
            Some(ApiKey::ListOffsets) => {
                let request = ListOffsetsRequest::decode(reader, version)?;
                encode_response(&self.list_offsets(&request), version, id)?
            }
            Some(ApiKey::Produce) => {
                let request = ProduceRequest::decode(reader, version)?;
                self.has_produced = true;
                let frame = match request.acks {
                    0 => Frame::default(),
                    _ => encode_response(&produce(&request), version, id)?,
                };
                return Ok(Answer::Repeatable(frame));
            }
            Some(ApiKey::Fetch) => {
                let request = FetchRequest::decode(reader, version)?;
                encode_response(&self.fetch(&request), version, id)?
            }
            _ => return Err(Unanswerable::Api(header.api_key)),
        };
        Ok(Answer::Once(answer))
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let broker = MetadataResponseBroker {
            node_id: NODE_ID,
            host: self.local.ip().to_string(),
            port: i32::from(self.local.port()),
            ..MetadataResponseBroker::default()
        };
        let asked = request.topics.iter().flatten().filter_map(|topic| topic.name.as_deref());
        let topics = asked.map(|name| match self.topics.get(name) {
            Some(topic) => MetadataResponseTopic {
                name: Some(name.to_owned()),
                topic_id: topic.id,
                partitions: (0..topic.partitions).map(partition).collect(),
                ..MetadataResponseTopic::default()
            },
            None => MetadataResponseTopic {
                error_code: KafkaCode::UnknownTopicOrPartition.number(),
                name: Some(name.to_owned()),
                ..MetadataResponseTopic::default()
            },
        });
        MetadataResponse {
            brokers: vec![broker],
            controller_id: NODE_ID,
            topics: topics.collect(),
            ..MetadataResponse::default()
        }
    }

    fn create_topics(&mut self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let results = request.topics.into_iter().map(|topic| {
            let id = Uuid::new_v4();
            let created = NullTopic { id, partitions: topic.num_partitions };
            self.topics.insert(topic.name.clone(), created);
            CreatableTopicResult {
                name: topic.name,
                topic_id: id,
                num_partitions: topic.num_partitions,
                replication_factor: 1,
                ..CreatableTopicResult::default()
            }
        });
        CreateTopicsResponse { topics: results.collect(), ..CreateTopicsResponse::default() }
    }

    fn delete_topics(&mut self, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
        let by_state = request.topics.into_iter().filter_map(|topic| topic.name);
        let names = request.topic_names.into_iter().chain(by_state);
        let responses = names.map(|name| {
            let code = match self.topics.remove(&name) {
                Some(_) => KafkaCode::None,
                None => KafkaCode::UnknownTopicOrPartition,
            };
            DeletableTopicResult {
                name: Some(name),
                error_code: code.number(),
                ..DeletableTopicResult::default()
            }
        });
        DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|asked| ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    offset: if asked.timestamp == -2 { 0 } else { self.end_offset },
                    leader_epoch: 0,
                    ..ListOffsetsPartitionResponse::default()
                })
                .collect(),
        });
        ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
    }

    fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let responses = request.topics.iter().map(|topic| FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|asked| PartitionData {
                    partition_index: asked.partition,
                    high_watermark: self.end_offset,
                    last_stable_offset: self.end_offset,
                    log_start_offset: 0,
                    records: self.records(asked.fetch_offset, asked.partition_max_bytes),
                    ..PartitionData::default()
                })
                .collect(),
        });
        FetchResponse { responses: responses.collect(), ..FetchResponse::default() }
    }

    /// As many batches from `offset` on as fit, at least one, none at the end.
    fn records(&self, offset: i64, bytes_max: i32) -> Records {
        let step = records_per_batch();
        let first = offset / step * step;
        let room = usize::try_from(bytes_max).unwrap_or(0) / self.batch.len();
        let mut records = Records::default();
        let mut base = first;
        for _ in 0..room.max(1) {
            if base >= self.end_offset {
                break;
            }
            records.push(Bytes::copy_from_slice(&base.to_be_bytes()));
            records.push(self.batch.slice(8..));
            base += step;
        }
        records
    }
}

fn records_per_batch() -> i64 {
    RECORDS_PER_BATCH.cast_signed()
}

fn partition(index: i32) -> MetadataResponsePartition {
    MetadataResponsePartition {
        partition_index: index,
        leader_id: NODE_ID,
        leader_epoch: 0,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        ..MetadataResponsePartition::default()
    }
}

fn api_versions() -> ApiVersionsResponse {
    fn offer<M: Message>() -> ApiVersion {
        ApiVersion {
            api_key: M::KEY.number(),
            min_version: *M::VERSIONS.start(),
            max_version: *M::VERSIONS.end(),
        }
    }
    ApiVersionsResponse {
        api_keys: vec![
            offer::<ProduceRequest>(),
            offer::<FetchRequest>(),
            offer::<ListOffsetsRequest>(),
            offer::<MetadataRequest>(),
            offer::<ApiVersionsRequest>(),
            offer::<CreateTopicsRequest>(),
            offer::<DeleteTopicsRequest>(),
        ],
        ..ApiVersionsResponse::default()
    }
}

fn produce(request: &ProduceRequest) -> ProduceResponse {
    let responses = request.topic_data.iter().map(|topic| TopicProduceResponse {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .map(|partition| PartitionProduceResponse {
                index: partition.index,
                log_start_offset: 0,
                ..PartitionProduceResponse::default()
            })
            .collect(),
    });
    ProduceResponse { responses: responses.collect(), ..ProduceResponse::default() }
}

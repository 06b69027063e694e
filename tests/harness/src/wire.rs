//! A Kafka client of a few calls over a blocking socket, so that tests need no toolchain.
//!
//! It speaks through the library's own protocol layer, which the golden frames and the differential
//! tests hold against other implementations.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use highwater::model::errors::KafkaCode;
use highwater::protocol::frame::{ResponseHeader, encode_request};
use highwater::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use highwater::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use highwater::protocol::messages::find_coordinator::FindCoordinatorRequest;
use highwater::protocol::messages::init_producer_id::InitProducerIdRequest;
use highwater::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use highwater::protocol::primitive::Reader;
use highwater::protocol::record::{BatchBuilder, BatchOptions, NewRecord, ProducerStamp};
use highwater::protocol::record_batch::CheckedBatch;
use highwater::protocol::schema::{Message, Request};

use crate::broker::connect;
use crate::clock::now_ms;
use crate::process::wait_until;

/// Far above what any answer takes; running into it is a failure and not a slow box.
const PATIENCE: Duration = Duration::from_secs(20);
const FRAME_SIZE_MAX: u32 = 100 << 20;
const CREATE_TOPICS_VERSION: i16 = 7;
const INIT_PRODUCER_ID_VERSION: i16 = 4;
const PRODUCE_VERSION: i16 = 11;
/// Makes the partition part of the transaction, and still names topics.
const TRANSACTIONAL_PRODUCE_VERSION: i16 = 12;
const FIND_COORDINATOR_VERSION: i16 = 4;
const FETCH_VERSION: i16 = 12;
const LIST_OFFSETS_VERSION: i16 = 7;
const LATEST: i64 = -1;
/// `key_type` of transactional ids in FindCoordinator.
const TRANSACTION_KEY: i8 = 1;
/// COORDINATOR_LOAD_IN_PROGRESS, which a new Kafka answers for a moment.
const LOADING: i16 = 14;
const FETCH_BYTES_MAX: i32 = 8 << 20;

/// One connection.
pub struct Wire {
    socket: TcpStream,
    correlation: i32,
}

/// The answer for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub correlation: i32,
    pub error_code: i16,
    pub base_offset: i64,
}

impl Wire {
    /// # Errors
    /// The connection is refused.
    pub fn connect(bootstrap: &str) -> io::Result<Wire> {
        Wire::connect_within(bootstrap, PATIENCE)
    }

    /// The same where a broker may be silent: `patience` is for each step.
    ///
    /// # Errors
    /// The connection is refused, or nothing comes back.
    pub fn connect_within(bootstrap: &str, patience: Duration) -> io::Result<Wire> {
        let socket = connect(bootstrap, patience)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Wire { socket, correlation: 0 })
    }

    /// Sends a request without waiting for its answer; returns its correlation id.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send<M: Request>(&mut self, request: &M, version: i16) -> io::Result<i32> {
        self.correlation += 1;
        let frame = encode_request(request, version, self.correlation, Some("wire"));
        let frame = frame.expect("the test's request fits the version");
        self.socket.write_all(&frame.into_bytes())?;
        Ok(self.correlation)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// The socket, for what only a socket can do.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Reads one frame, without its length.
    ///
    /// # Errors
    /// The connection is gone; the kind is `WouldBlock` when the broker does not answer.
    pub fn receive_frame(&mut self) -> io::Result<Bytes> {
        let mut size = [0; 4];
        self.socket.read_exact(&mut size)?;
        let size = u32::from_be_bytes(size);
        assert!(size <= FRAME_SIZE_MAX, "an answer of {size} bytes");
        let mut frame = vec![0; usize::try_from(size).expect("checked above")];
        self.socket.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    /// Reads one answer and its correlation id.
    ///
    /// # Errors
    /// As `receive_frame`.
    pub fn receive<R: Message>(&mut self, version: i16) -> io::Result<(i32, R)> {
        let frame = self.receive_frame()?;
        let mut reader = Reader::new(&frame);
        let header = ResponseHeader::decode(&mut reader, R::KEY, version);
        let correlation = header.expect("a whole header").correlation_id;
        let response = R::decode(&mut reader, version);
        Ok((correlation, response.expect("an answer in the version asked for")))
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// As `receive_frame`.
    pub fn call<M: Request>(&mut self, request: &M, version: i16) -> io::Result<M::Response> {
        let asked = self.send(request, version)?;
        let (answered, response) = self.receive(version)?;
        assert_eq!(answered, asked, "answers come in the order of the requests");
        Ok(response)
    }

    /// Makes a topic and returns the error code.
    ///
    /// # Errors
    /// As `receive_frame`.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> io::Result<i16> {
        let config = |(key, value): &(&str, &str)| CreatableTopicConfig {
            name: (*key).to_owned(),
            value: Some((*value).to_owned()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.to_owned(),
                num_partitions: partitions,
                replication_factor: 1,
                configs: configs.iter().map(config).collect(),
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let response = self.call(&request, CREATE_TOPICS_VERSION)?;
        Ok(response.topics[0].error_code)
    }

    /// A new producer id and its epoch.
    ///
    /// # Errors
    /// As `receive_frame`. Panics when the broker keeps answering that it is still loading.
    pub fn init_producer_id(&mut self) -> io::Result<(i64, i16)> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        let answered = wait_until("a producer id", PATIENCE, || {
            let response = self.call(&request, INIT_PRODUCER_ID_VERSION);
            let is_loading = response.as_ref().is_ok_and(|r| r.error_code == LOADING);
            (!is_loading).then_some(response)
        });
        let response = answered.unwrap_or_else(|what| panic!("{what}"))?;
        assert_eq!(response.error_code, 0, "InitProducerId");
        Ok((response.producer_id, response.producer_epoch))
    }

    /// Takes a transactional id and writes one record to partition 0 of a topic, in a transaction
    /// that is left open. The producer's id and epoch.
    ///
    /// # Errors
    /// As `receive_frame`. Panics when the broker keeps refusing.
    pub fn open_transaction(&mut self, id: &str, topic: &str) -> io::Result<(i64, i16)> {
        let find = FindCoordinatorRequest {
            key_type: TRANSACTION_KEY,
            coordinator_keys: vec![id.to_owned()],
            ..FindCoordinatorRequest::default()
        };
        let init = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        // Coordinators are made and loaded, and what the id has open is ended, meanwhile.
        let taken = wait_until("a transactional id", PATIENCE, || {
            let found = self.call(&find, FIND_COORDINATOR_VERSION);
            let taken = found.and_then(|_| self.call(&init, INIT_PRODUCER_ID_VERSION));
            let is_refused = taken.as_ref().is_ok_and(|taken| taken.error_code != 0);
            (!is_refused).then_some(taken)
        });
        let taken = taken.unwrap_or_else(|what| panic!("{what}"))?;
        let (producer_id, producer_epoch) = (taken.producer_id, taken.producer_epoch);
        let producer = ProducerStamp { producer_id, producer_epoch, base_sequence: 0 };
        let options = BatchOptions { producer, is_transactional: true, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        let (timestamp_ms, value) = (now_ms(), Some(&b"open"[..]));
        let record = NewRecord { timestamp_ms, value, ..NewRecord::default() };
        builder.push(&record).expect("a small record");
        let batch = builder.build().expect("a small batch");
        let data = PartitionProduceData { index: 0, records: batch.into() };
        let request = ProduceRequest {
            transactional_id: Some(id.to_owned()),
            acks: -1,
            timeout_ms: 15_000,
            topic_data: vec![TopicProduceData {
                name: topic.to_owned(),
                partition_data: vec![data],
                ..TopicProduceData::default()
            }],
        };
        // A topic that was made a moment ago may not be led yet.
        let code = wait_until("a leader", PATIENCE, || {
            let answered = self.call(&request, TRANSACTIONAL_PRODUCE_VERSION);
            let code = answered.map(|told| told.responses[0].partition_responses[0].error_code);
            (!code.as_ref().is_ok_and(|code| is_passing(*code))).then_some(code)
        });
        assert_eq!(code.unwrap_or_else(|late| panic!("{late}"))?, 0, "Produce");
        Ok((producer_id, producer_epoch))
    }

    /// Sends one batch without waiting; returns the correlation id.
    ///
    /// # Errors
    /// As `send`.
    pub fn send_batch(
        &mut self,
        (topic, partition): (&str, i32),
        acks: i16,
        batch: Bytes,
    ) -> io::Result<i32> {
        let data = PartitionProduceData { index: partition, records: batch.into() };
        let topic = TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![data],
            ..TopicProduceData::default()
        };
        let request = ProduceRequest {
            acks,
            timeout_ms: 15_000,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        self.send(&request, PRODUCE_VERSION)
    }

    /// Reads the answer to the oldest batch sent with acks.
    ///
    /// # Errors
    /// As `receive_frame`.
    pub fn receive_produced(&mut self) -> io::Result<Produced> {
        let (correlation, response) = self.receive::<ProduceResponse>(PRODUCE_VERSION)?;
        let partition = &response.responses[0].partition_responses[0];
        let (error_code, base_offset) = (partition.error_code, partition.base_offset);
        Ok(Produced { correlation, error_code, base_offset })
    }

    /// The log end of a partition, or the error code.
    ///
    /// # Errors
    /// As `receive_frame`.
    pub fn end_offset(&mut self, topic: &str, partition: i32) -> io::Result<Result<i64, i16>> {
        let asked = ListOffsetsPartition {
            partition_index: partition,
            timestamp: LATEST,
            ..ListOffsetsPartition::default()
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![asked] }],
            ..ListOffsetsRequest::default()
        };
        let response = self.call(&request, LIST_OFFSETS_VERSION)?;
        let found = &response.topics[0].partitions[0];
        Ok(if found.error_code == 0 { Ok(found.offset) } else { Err(found.error_code) })
    }

    /// The batches from the one that holds `offset` on, each checked; a part of one is left out.
    ///
    /// # Errors
    /// As `receive_frame`. Panics on an error code and on a batch that is not whole inside.
    pub fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> io::Result<Vec<CheckedBatch>> {
        let fetched = self.try_fetch(topic, partition, offset)?;
        Ok(fetched.unwrap_or_else(|code| panic!("Fetch from offset {offset}: error {code}")))
    }

    /// The same, or the partition's error code.
    ///
    /// # Errors
    /// As `receive_frame`. Panics on a batch that is not whole inside.
    pub fn try_fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> io::Result<Result<Vec<CheckedBatch>, i16>> {
        let asked = FetchPartition {
            partition,
            fetch_offset: offset,
            partition_max_bytes: FETCH_BYTES_MAX,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            topics: vec![FetchTopic {
                topic: topic.to_owned(),
                partitions: vec![asked],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        let mut response = self.call(&request, FETCH_VERSION)?;
        assert_eq!(response.error_code, 0, "Fetch");
        let mut topic = response.responses.pop().expect("the topic asked for");
        let partition = topic.partitions.pop().expect("the partition asked for");
        if partition.error_code != 0 {
            return Ok(Err(partition.error_code));
        }
        let mut records = partition.records.into_bytes();
        let mut batches = Vec::new();
        while !records.is_empty() {
            match CheckedBatch::check_first(&mut records) {
                Ok(batch) => batches.push(batch),
                Err(error) => {
                    assert!(!batches.is_empty(), "{error} at offset {offset}");
                    break;
                }
            }
        }
        Ok(Ok(batches))
    }
}

/// What a client would ask again after.
fn is_passing(code: i16) -> bool {
    KafkaCode::from_number(code).is_some_and(KafkaCode::is_retriable)
}

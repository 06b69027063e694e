//! From a connection's bytes to the handler of each request, and from what finished to answers.
//!
//! The table below is the only place that says which APIs and versions we serve; ApiVersions
//! advertises exactly it. What cannot be answered (an unknown API or version, a body that does not
//! parse) closes the connection, as Kafka does: there is no frame in which to say why.

use crate::api::context::RequestContext;
use crate::api::{
    add_offsets_to_txn, add_partitions_to_txn, add_raft_voter, allocate_producer_ids,
    alter_configs, alter_partition, alter_partition_reassignments, alter_replica_log_dirs,
    alter_share_group_offsets, api_versions, assign_replicas_to_dirs, broker_heartbeat,
    broker_registration, consumer_group_describe, consumer_group_heartbeat, controllers,
    create_acls, create_partitions, create_topics, delete_acls, delete_groups, delete_records,
    delete_share_group_offsets, delete_share_group_state, delete_topics, describe_acls,
    describe_brokers, describe_cluster, describe_configs, describe_groups, describe_latency,
    describe_log_dirs, describe_producers, describe_quorum, describe_share_group_offsets,
    describe_topic_partitions, describe_transactions, elect_leaders, end_txn, fetch,
    find_coordinator, forward, heartbeat, incremental_alter_configs, init_producer_id,
    initialize_share_group_state, join_group, leave_group, list_config_resources, list_groups,
    list_offsets, list_partition_reassignments, list_transactions, metadata, offset_commit,
    offset_delete, offset_fetch, offset_for_leader_epoch, peer, produce, read_share_group_state,
    read_share_group_state_summary, remove_raft_voter, share_acknowledge, share_fetch,
    share_group_describe, share_group_heartbeat, sync_group, txn_offset_commit, unregister_broker,
    update_features, write_share_group_state, write_txn_markers,
};
use crate::model::errors::KafkaCode;
use crate::protocol::api_key::ApiKey;
use crate::protocol::frame::{self, RequestHeader};
use crate::protocol::part::Part;
use crate::protocol::primitive::{DecodeError, EncodeError, Reader};
use crate::protocol::schema::{Message, Request};
use crate::shard::connection::{ConnectionId, SlotId};
use crate::shard::shard::{Finished, ShardRef};
use crate::shard::signal::Signal;
use crate::shard::stages::Stamp;
use crate::storage::disk::Disk;
use bytes::{Bytes, BytesMut};

/// One line of the table: an API and the versions advertised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiRange {
    pub key: ApiKey,
    pub min: i16,
    pub max: i16,
}

/// Builds the table of served APIs and the match that runs a handler as a task.
macro_rules! serve {
    (
        hot { $( $hot:ident $hot_min:literal ..= $hot_max:literal; )* }
        tasks { $( $key:ident $min:literal ..= $max:literal => $module:ident; )* }
        peers { $( $peer:ident $peer_min:literal ..= $peer_max:literal => $peer_module:ident; )* }
    ) => {
        /// What ApiVersions advertises, by key.
        pub const SERVED: &[ApiRange] = &[
            $( ApiRange { key: ApiKey::$hot, min: $hot_min, max: $hot_max }, )*
            $( ApiRange { key: ApiKey::$key, min: $min, max: $max }, )*
        ];

        /// What brokers ask each other, and nobody is told of.
        const SERVED_TO_PEERS: &[ApiRange] = &[
            $( ApiRange { key: ApiKey::$peer, min: $peer_min, max: $peer_max }, )*
        ];

        async fn answer<D: Disk>(call: Call<D>) -> Result<Vec<Part>, CallError> {
            match call.key {
                $( ApiKey::$key => run(call, $module::handle).await, )*
                $( ApiKey::$peer => run(call, $peer_module::handle).await, )*
                _ => Err(CallError::NotServed),
            }
        }
    };
}

serve! {
    hot {
        // Versions 0 to 2 are advertised and refused, as Kafka does: librdkafka up to 2.8 turns
        // compression off when the minimum is above 0 (KAFKA-18659).
        Produce 0..=13;
        Fetch 4..=18;
    }
    tasks {
        ListOffsets 1..=10 => list_offsets;
        Metadata 0..=13 => metadata;
        OffsetCommit 2..=9 => offset_commit;
        OffsetFetch 1..=9 => offset_fetch;
        FindCoordinator 0..=6 => find_coordinator;
        JoinGroup 0..=9 => join_group;
        Heartbeat 0..=4 => heartbeat;
        LeaveGroup 0..=5 => leave_group;
        SyncGroup 0..=5 => sync_group;
        DescribeGroups 0..=6 => describe_groups;
        ListGroups 0..=5 => list_groups;
        ApiVersions 0..=4 => api_versions;
        CreateTopics 2..=7 => create_topics;
        DeleteTopics 1..=6 => delete_topics;
        DeleteRecords 0..=2 => delete_records;
        InitProducerId 0..=5 => init_producer_id;
        OffsetForLeaderEpoch 2..=4 => offset_for_leader_epoch;
        AddPartitionsToTxn 0..=5 => add_partitions_to_txn;
        AddOffsetsToTxn 0..=4 => add_offsets_to_txn;
        EndTxn 0..=5 => end_txn;
        WriteTxnMarkers 1..=1 => write_txn_markers;
        TxnOffsetCommit 0..=5 => txn_offset_commit;
        DescribeAcls 1..=3 => describe_acls;
        CreateAcls 1..=3 => create_acls;
        DeleteAcls 1..=3 => delete_acls;
        DescribeConfigs 1..=4 => describe_configs;
        AlterConfigs 0..=2 => alter_configs;
        AlterReplicaLogDirs 1..=2 => alter_replica_log_dirs;
        DescribeLogDirs 1..=4 => describe_log_dirs;
        CreatePartitions 0..=3 => create_partitions;
        DeleteGroups 0..=2 => delete_groups;
        ElectLeaders 0..=2 => elect_leaders;
        IncrementalAlterConfigs 0..=1 => incremental_alter_configs;
        AlterPartitionReassignments 0..=1 => alter_partition_reassignments;
        ListPartitionReassignments 0..=0 => list_partition_reassignments;
        OffsetDelete 0..=0 => offset_delete;
        DescribeQuorum 0..=2 => describe_quorum;
        UpdateFeatures 0..=2 => update_features;
        DescribeCluster 0..=2 => describe_cluster;
        DescribeProducers 0..=0 => describe_producers;
        UnregisterBroker 0..=0 => unregister_broker;
        DescribeTransactions 0..=0 => describe_transactions;
        ListTransactions 0..=2 => list_transactions;
        ConsumerGroupHeartbeat 0..=1 => consumer_group_heartbeat;
        ConsumerGroupDescribe 0..=1 => consumer_group_describe;
        ListConfigResources 0..=1 => list_config_resources;
        DescribeTopicPartitions 0..=0 => describe_topic_partitions;
        AddRaftVoter 0..=0 => add_raft_voter;
        RemoveRaftVoter 0..=0 => remove_raft_voter;
        ShareGroupHeartbeat 1..=1 => share_group_heartbeat;
        ShareGroupDescribe 1..=1 => share_group_describe;
        ShareFetch 1..=1 => share_fetch;
        ShareAcknowledge 1..=1 => share_acknowledge;
        DescribeShareGroupOffsets 0..=0 => describe_share_group_offsets;
        AlterShareGroupOffsets 0..=0 => alter_share_group_offsets;
        DeleteShareGroupOffsets 0..=0 => delete_share_group_offsets;
        // Ours; advertised to our own command line only (api_versions.rs).
        DescribeBrokers 0..=0 => describe_brokers;
        DescribeLatency 0..=0 => describe_latency;
    }
    peers {
        AlterPartition 2..=3 => alter_partition;
        BrokerRegistration 0..=4 => broker_registration;
        BrokerHeartbeat 0..=1 => broker_heartbeat;
        AllocateProducerIds 0..=0 => allocate_producer_ids;
        AssignReplicasToDirs 0..=0 => assign_replicas_to_dirs;
        InitializeShareGroupState 0..=0 => initialize_share_group_state;
        ReadShareGroupState 0..=0 => read_share_group_state;
        WriteShareGroupState 0..=0 => write_share_group_state;
        DeleteShareGroupState 0..=0 => delete_share_group_state;
        ReadShareGroupStateSummary 0..=0 => read_share_group_state_summary;
    }
}

/// A request on its way to its handler.
pub struct Call<D: Disk> {
    pub context: RequestContext<D>,
    pub key: ApiKey,
    pub correlation_id: i32,
    /// Header and body.
    pub frame: Bytes,
    /// Where the body begins.
    pub body_at: usize,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("no handler is registered for it")]
    NotServed,
}

/// What the driver should do with the rest of the connection's bytes.
pub enum ReadState {
    /// All whole frames are taken: read more.
    NeedMore,
    /// Wait for the signal, then hand the same bytes in again.
    Paused(Signal),
    /// Stop reading.
    Closed,
}

/// Takes every whole frame off `received` and starts it.
pub fn on_bytes<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    received: &mut BytesMut,
) -> ReadState {
    let frame_bytes_max = shard.borrow().config.frame_bytes_max;
    loop {
        if let Some(state) = read_state(shard, id) {
            return state;
        }
        match frame::next_frame(received, frame_bytes_max) {
            Ok(Some(frame)) => dispatch(shard, id, frame),
            Ok(None) => return ReadState::NeedMore,
            Err(error) => refuse(shard, id, &error),
        }
    }
}

fn read_state<D: Disk>(shard: &ShardRef<D>, id: ConnectionId) -> Option<ReadState> {
    let mut shard = shard.borrow_mut();
    let is_pressed = shard.is_write_pressed();
    let connection = shard.connection(id);
    let Some(connection) = connection else { return Some(ReadState::Closed) };
    if connection.is_closing() {
        return Some(ReadState::Closed);
    }
    let resume = connection.resume.clone();
    if connection.is_paused() {
        return Some(ReadState::Paused(resume));
    }
    if is_pressed {
        shard.press(id);
        return Some(ReadState::Paused(resume));
    }
    None
}

/// Logs why and closes; the cause is the client's, so it is no error of ours. Where clients do not
/// come, the operator hears of it.
pub fn refuse<D: Disk>(shard: &ShardRef<D>, id: ConnectionId, error: &dyn std::error::Error) {
    let is_of_brokers = {
        let mut shard = shard.borrow_mut();
        let connection = shard.connection(id);
        connection.is_some_and(|known| known.is_controllers || known.broker.is_some())
    };
    if is_of_brokers {
        complain(shard, id, error);
    }
    let mut shard = shard.borrow_mut();
    shard.stats.frames_refused += 1;
    if let Some(connection) = shard.connection(id) {
        tracing::debug!(peer = %connection.peer, %error, "connection closed");
    }
    shard.close_connection(id);
}

/// Names in the log what cannot be said between brokers: once, whoever repeats it.
pub fn complain<D: Disk>(shard: &ShardRef<D>, id: ConnectionId, error: &dyn std::error::Error) {
    let mut shard = shard.borrow_mut();
    let Some(connection) = shard.connection(id) else { return };
    let (peer, broker) = (connection.peer, connection.broker.map(|from| from.broker.0));
    let name = broker.map_or_else(|| "a stranger".to_owned(), |id| format!("broker {id}"));
    let message = format!("{name} at {peer} sent what is refused between brokers: {error}");
    shard.complain_of(broker.unwrap_or(STRANGER), KafkaCode::InvalidRequest, &message);
}

/// In place of the id of whoever has not introduced itself.
const STRANGER: i32 = -1;

fn dispatch<D: Disk>(shard: &ShardRef<D>, id: ConnectionId, frame: Bytes) {
    let is_controllers = {
        let mut shard = shard.borrow_mut();
        shard.stats.frames += 1;
        shard.connection(id).is_some_and(|connection| connection.is_controllers)
    };
    let mut reader = Reader::new(&frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(error) => return refuse(shard, id, &error),
    };
    let key = ApiKey::from_number(header.api_key);
    let served = key.filter(|key| !is_controllers || controllers::serves(*key)).and_then(range_of);
    let body_at = reader.position();
    let Some(range) = served else {
        if peer::start(shard, id, header.api_key, &frame, body_at) {
            return;
        }
        let error =
            DecodeError::UnsupportedVersion { api: "unknown API", version: header.api_version };
        return refuse(shard, id, &error);
    };
    let is_served = (range.min..=range.max).contains(&header.api_version);
    match range.key {
        ApiKey::Produce if is_served => {
            let (version, correlation_id) = (header.api_version, header.correlation_id);
            let stamp = begin(shard, id);
            let call = produce::ProduceCall { version, correlation_id, body_at, stamp };
            produce::start(shard, id, call, frame);
        }
        ApiKey::Fetch if is_served => {
            let stamp = begin(shard, id);
            fetch::start(shard, id, (&header, stamp), reader);
        }
        ApiKey::ApiVersions if !is_served => {
            let slot = open_slot(shard, id);
            let parts = api_versions::unsupported(header.correlation_id);
            shard.borrow_mut().fill(slot, parts);
        }
        key if is_served => start_task(shard, id, key, &header, &frame, body_at),
        key => {
            let version = header.api_version;
            refuse(shard, id, &DecodeError::UnsupportedVersion { api: key.name(), version });
        }
    }
}

/// The moment at which a request is cut out of its connection's bytes, if it is to be timed.
fn begin<D: Disk>(shard: &ShardRef<D>, id: ConnectionId) -> Stamp {
    let mut shard = shard.borrow_mut();
    let seen = shard.connection(id).map_or(Stamp::NONE, |connection| connection.seen);
    shard.stages.begin(seen)
}

fn range_of(key: ApiKey) -> Option<ApiRange> {
    SERVED.iter().chain(SERVED_TO_PEERS).find(|range| range.key == key).copied()
}

/// Takes the next slot of a connection known to be there.
pub fn open_slot<D: Disk>(shard: &ShardRef<D>, id: ConnectionId) -> SlotId {
    let mut shard = shard.borrow_mut();
    shard.connection(id).expect("on_bytes has just looked").open_slot()
}

fn start_task<D: Disk>(
    shard: &ShardRef<D>,
    id: ConnectionId,
    key: ApiKey,
    header: &RequestHeader<'_>,
    frame: &Bytes,
    body_at: usize,
) {
    let slot = open_slot(shard, id);
    let call = {
        let mut borrowed = shard.borrow_mut();
        let connection = borrowed.connection(id).expect("on_bytes has just looked");
        connection.begin_exclusive();
        let context = RequestContext {
            shard: shard.clone(),
            connection: id,
            local: connection.local,
            peer: connection.peer,
            is_controllers: connection.is_controllers,
            client_id: header.client_name().into_owned(),
            version: header.api_version,
        };
        let correlation_id = header.correlation_id;
        Call { context, key, correlation_id, frame: frame.clone(), body_at }
    };
    shard.borrow_mut().outbox.spawn(run_task(call, slot));
}

async fn run_task<D: Disk>(call: Call<D>, slot: SlotId) {
    let shard = call.context.shard.clone();
    let key = call.key;
    let version = call.context.version;
    let answered = match forward::to_controller(&call).await {
        Some(parts) => Ok(parts),
        None => answer(call).await,
    };
    if let Err(error) = &answered {
        tracing::debug!(api = key.name(), version, %error, "request without an answer");
        refuse(&shard, slot.connection, error);
    }
    let mut shard = shard.borrow_mut();
    shard.fill(slot, answered.unwrap_or_default());
    if let Some(connection) = shard.connection(slot.connection) {
        connection.end_exclusive();
    }
    shard.outbox.raise();
}

async fn run<D: Disk, R: Request>(
    call: Call<D>,
    handler: impl AsyncFnOnce(RequestContext<D>, R) -> R::Response,
) -> Result<Vec<Part>, CallError> {
    let version = call.context.version;
    let correlation_id = call.correlation_id;
    let body = call.frame.slice(call.body_at..);
    let request = R::decode(&mut Reader::new(&body), version)?;
    let response = handler(call.context, request).await;
    encode(&response, version, correlation_id)
}

/// The parts of a response, ready for the socket.
pub fn encode<M: Message>(
    response: &M,
    version: i16,
    correlation_id: i32,
) -> Result<Vec<Part>, CallError> {
    Ok(frame::encode_response(response, version, correlation_id)?.parts)
}

/// Answers whatever has become answerable. The driver calls it before it drains the outbox.
pub fn settle<D: Disk>(shard: &ShardRef<D>) {
    loop {
        let finished = std::mem::take(&mut shard.borrow_mut().finished);
        if finished.is_empty() {
            return;
        }
        for one in finished {
            match one {
                Finished::Produce(index) => produce::finish(shard, index),
                Finished::Fetch(index) => fetch::advance(shard, index),
            }
        }
    }
}

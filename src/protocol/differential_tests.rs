//! Every message in every version against the crate `kafka-protocol`, which knows Kafka 4.1.
//!
//! One direction is ours to theirs: what we encode they read to the end. The other is theirs to
//! ours: what they then encode is the same bytes, which we read back to the same value.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as OracleKey, RequestKind, ResponseKind};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestCaseResult, TestRunner};

use crate::protocol::entropy::Entropy;
use crate::protocol::messages;
use crate::protocol::primitive::{Reader, Writer};
use crate::protocol::schema::{Context, Message, Request};

const CASES_PER_VERSION: u32 = 24;

/// What the oracle makes of a body: the bytes it left unread, and its own encoding.
type Oracle = fn(OracleKey, &mut Bytes, i16) -> Result<BytesMut, String>;

fn oracle_request(key: OracleKey, body: &mut Bytes, version: i16) -> Result<BytesMut, String> {
    let mut encoded = BytesMut::new();
    RequestKind::decode(key, body, version)
        .and_then(|request| request.encode(&mut encoded, version))
        .map_err(|error| format!("oracle: {error:#}"))?;
    Ok(encoded)
}

fn oracle_response(key: OracleKey, body: &mut Bytes, version: i16) -> Result<BytesMut, String> {
    let mut encoded = BytesMut::new();
    ResponseKind::decode(key, body, version)
        .and_then(|response| response.encode(&mut encoded, version))
        .map_err(|error| format!("oracle: {error:#}"))?;
    Ok(encoded)
}

fn encode<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    writer.finish().unwrap().into_bytes()
}

fn check<M: Message + Debug>(message: &M, version: i16, oracle: Oracle) -> TestCaseResult {
    let body = encode(message, version);
    prop_assert_eq!(message.encoded_size(version), Ok(body.len()));
    let mut reader = Reader::new(&body);
    prop_assert_eq!(&M::decode(&mut reader, version).unwrap(), message);
    prop_assert_eq!(reader.left(), 0);

    let key = OracleKey::try_from(M::KEY.number()).unwrap();
    let mut left = body.clone();
    let theirs = oracle(key, &mut left, version).map_err(TestCaseError::fail)?;
    prop_assert!(left.is_empty(), "oracle leaves {} bytes", left.len());
    prop_assert_eq!(theirs.freeze(), body);
    Ok(())
}

/// Any cut is refused, and nothing panics.
fn check_cuts<M: Message + Debug>(message: &M, version: i16) -> TestCaseResult {
    let body = encode(message, version);
    for size in 0..body.len() {
        let cut = body.slice(..size);
        prop_assert!(M::decode(&mut Reader::new(&cut), version).is_err(), "cut at {}", size);
    }
    Ok(())
}

fn for_random_bytes(size_max: usize, test: impl Fn(Vec<u8>) -> TestCaseResult) {
    let config =
        Config { cases: CASES_PER_VERSION, failure_persistence: None, ..Config::default() };
    let bytes = proptest::collection::vec(any::<u8>(), 0..size_max);
    if let Err(error) = TestRunner::new(config).run(&bytes, test) {
        panic!("{error}");
    }
}

fn for_random_messages<M: Message + Debug>(test: impl Fn(&M, i16) -> TestCaseResult) {
    for version in M::VERSIONS {
        let context = Context::of_message(version, M::FLEXIBLE_FROM);
        for_random_bytes(700, |entropy| {
            let message = M::arbitrary(&mut Entropy::new(&entropy), context);
            let outcome = test(&message, version);
            outcome.map_err(|error| {
                TestCaseError::fail(format!("{} v{version}: {error}: {message:?}", M::KEY))
            })
        });
    }
}

fn check_api<R: Request<Response: Debug> + Debug>() {
    for_random_messages::<R>(|request, version| check(request, version, oracle_request));
    for_random_messages::<R::Response>(|response, version| {
        check(response, version, oracle_response)
    });
}

/// Reads noise; what is accepted can be written again.
fn check_noise<M: Message>() {
    for version in M::VERSIONS {
        for_random_bytes(300, |noise| {
            let noise = Bytes::from(noise);
            if let Ok(message) = M::decode(&mut Reader::new(&noise), version) {
                prop_assert!(message.encoded_size(version).is_ok());
            }
            Ok(())
        });
    }
}

macro_rules! tests {
    ($( $file:ident: $request:ident; )*) => {
        mod agrees_with_the_oracle_in_every_version {
            use super::*;
            $( #[test] fn $file() { check_api::<messages::$file::$request>(); } )*
        }

        mod a_message_cut_at_any_byte_is_an_error {
            use super::*;
            $(
                #[test]
                fn $file() {
                    type Body = messages::$file::$request;
                    for_random_messages::<Body>(check_cuts);
                    for_random_messages::<<Body as Request>::Response>(check_cuts);
                }
            )*
        }

        mod noise_is_refused_or_reads_as_a_message {
            use super::*;
            $(
                #[test]
                fn $file() {
                    type Body = messages::$file::$request;
                    check_noise::<Body>();
                    check_noise::<<Body as Request>::Response>();
                }
            )*
        }

        /// Files of `messages/` that the tests of this file cover.
        const TESTED: &[&str] = &[ $( stringify!($file), )* ];
    };
}

/// Files of messages that Kafka does not have, so that no oracle can tell of them.
const OWN: &[&str] = &["describe_brokers", "describe_latency"];

fn check_own<R: Request<Response: Debug> + Debug>() {
    for_random_messages::<R::Response>(|message, version| {
        let bytes = encode(message, version);
        let read = R::Response::decode(&mut Reader::new(&bytes), version);
        prop_assert_eq!(format!("{:?}", read.unwrap()), format!("{message:?}"));
        Ok(())
    });
    for_random_messages::<R>(check_cuts);
    for_random_messages::<R::Response>(check_cuts);
    check_noise::<R>();
    check_noise::<R::Response>();
}

#[test]
fn messages_of_our_own_come_back_as_they_were_and_stand_noise() {
    check_own::<messages::describe_brokers::DescribeBrokersRequest>();
    check_own::<messages::describe_latency::DescribeLatencyRequest>();
}

#[test]
fn every_file_of_messages_is_tested() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/protocol/messages");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .filter(|name| name != "mod" && !OWN.contains(&name.as_str()))
        .collect();
    files.sort_unstable();
    assert_eq!(files, TESTED);
}

tests! {
    add_offsets_to_txn: AddOffsetsToTxnRequest;
    add_partitions_to_txn: AddPartitionsToTxnRequest;
    add_raft_voter: AddRaftVoterRequest;
    allocate_producer_ids: AllocateProducerIdsRequest;
    alter_configs: AlterConfigsRequest;
    alter_partition: AlterPartitionRequest;
    alter_partition_reassignments: AlterPartitionReassignmentsRequest;
    alter_replica_log_dirs: AlterReplicaLogDirsRequest;
    alter_share_group_offsets: AlterShareGroupOffsetsRequest;
    api_versions: ApiVersionsRequest;
    assign_replicas_to_dirs: AssignReplicasToDirsRequest;
    broker_heartbeat: BrokerHeartbeatRequest;
    broker_registration: BrokerRegistrationRequest;
    consumer_group_describe: ConsumerGroupDescribeRequest;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest;
    create_acls: CreateAclsRequest;
    create_partitions: CreatePartitionsRequest;
    create_topics: CreateTopicsRequest;
    delete_acls: DeleteAclsRequest;
    delete_groups: DeleteGroupsRequest;
    delete_records: DeleteRecordsRequest;
    delete_share_group_offsets: DeleteShareGroupOffsetsRequest;
    delete_share_group_state: DeleteShareGroupStateRequest;
    delete_topics: DeleteTopicsRequest;
    describe_acls: DescribeAclsRequest;
    describe_cluster: DescribeClusterRequest;
    describe_configs: DescribeConfigsRequest;
    describe_groups: DescribeGroupsRequest;
    describe_log_dirs: DescribeLogDirsRequest;
    describe_producers: DescribeProducersRequest;
    describe_quorum: DescribeQuorumRequest;
    describe_share_group_offsets: DescribeShareGroupOffsetsRequest;
    describe_topic_partitions: DescribeTopicPartitionsRequest;
    describe_transactions: DescribeTransactionsRequest;
    elect_leaders: ElectLeadersRequest;
    end_txn: EndTxnRequest;
    fetch: FetchRequest;
    find_coordinator: FindCoordinatorRequest;
    heartbeat: HeartbeatRequest;
    incremental_alter_configs: IncrementalAlterConfigsRequest;
    init_producer_id: InitProducerIdRequest;
    initialize_share_group_state: InitializeShareGroupStateRequest;
    join_group: JoinGroupRequest;
    leave_group: LeaveGroupRequest;
    list_config_resources: ListConfigResourcesRequest;
    list_groups: ListGroupsRequest;
    list_offsets: ListOffsetsRequest;
    list_partition_reassignments: ListPartitionReassignmentsRequest;
    list_transactions: ListTransactionsRequest;
    metadata: MetadataRequest;
    offset_commit: OffsetCommitRequest;
    offset_delete: OffsetDeleteRequest;
    offset_fetch: OffsetFetchRequest;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest;
    produce: ProduceRequest;
    read_share_group_state: ReadShareGroupStateRequest;
    read_share_group_state_summary: ReadShareGroupStateSummaryRequest;
    remove_raft_voter: RemoveRaftVoterRequest;
    sasl_authenticate: SaslAuthenticateRequest;
    sasl_handshake: SaslHandshakeRequest;
    share_acknowledge: ShareAcknowledgeRequest;
    share_fetch: ShareFetchRequest;
    share_group_describe: ShareGroupDescribeRequest;
    share_group_heartbeat: ShareGroupHeartbeatRequest;
    sync_group: SyncGroupRequest;
    txn_offset_commit: TxnOffsetCommitRequest;
    unregister_broker: UnregisterBrokerRequest;
    update_features: UpdateFeaturesRequest;
    write_share_group_state: WriteShareGroupStateRequest;
    write_txn_markers: WriteTxnMarkersRequest;
}

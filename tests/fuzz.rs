//! Foreign bytes: a million mutated requests through the decoders, and thousands through a whole
//! simulated broker. Nothing panics, nothing allocates beyond the frame, and a good client is
//! served throughout.
//!
//! The seeds are the frames that real clients sent (`tests/golden`). `HIGHWATER_FUZZ_INPUTS` sets
//! another number of inputs, `HIGHWATER_FUZZ_SEED` another run.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use bytes::{Bytes, BytesMut};
use highwater::model::broker_config::BrokerConfig;
use highwater::model::limits::FRAME_BYTES_MAX;
use highwater::protocol::api_key::ApiKey;
use highwater::protocol::fetch_view::FetchRequestView;
use highwater::protocol::frame::{self, RequestHeader};
use highwater::protocol::messages::create_partitions::CreatePartitionsRequest;
use highwater::protocol::messages::create_topics::CreateTopicsRequest;
use highwater::protocol::messages::metadata::MetadataRequest;
use highwater::protocol::primitive::Reader;
use highwater::protocol::produce_view::ProduceRequestView;
use highwater::protocol::record_batch::CheckedBatch;
use highwater::protocol::schema::Message;
use highwater::sim::broker::{SimBroker, SimStart};
use highwater::sim::disk::SimDisk;
use highwater::sim::executor::SimExecutor;
use highwater::sim::random::Random;
use std::path::Path;
use std::sync::Arc;

const INPUTS_DEFAULT: u64 = 1_000_000;
/// Inputs of the decoders for one input of the whole broker.
const BROKER_EVERY: u64 = 100;
/// Partitions that a request fed to the whole broker may ask for.
const PARTITIONS_FED_MAX: i32 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The requests that real clients sent, without length prefixes.
fn golden_requests() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with("-request.hex"));
    paths.sort();
    assert!(paths.len() > 50, "the golden frames are the seeds of this test");
    let read = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let digits: Vec<u8> = lines.flat_map(str::bytes).filter(u8::is_ascii_hexdigit).collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    };
    // The one request that no client of Kafka sends: DescribeLatency v0 of all cores.
    let own = vec![0x4e, 0x20, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0];
    paths.into_iter().map(read).chain([own]).collect()
}

/// Changes a frame in one of the ways that go wrong in practice.
fn mutate(random: &mut Random, seed: &[u8], input: &mut Vec<u8>) {
    input.clear();
    input.extend_from_slice(seed);
    for _ in 0..1 + random.index(4) {
        if input.is_empty() {
            input.push(0);
        }
        let at = random.index(input.len());
        match random.index(6) {
            0 => input[at] ^= 1 << random.index(8),
            1 => input[at] = u8::try_from(random.below(256)).unwrap(),
            2 => input.truncate(at),
            3 => {
                // A length that claims far more than there is.
                let huge = [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0]];
                let end = (at + 4).min(input.len());
                input[at..end].copy_from_slice(&huge[random.index(3)][..end - at]);
            }
            4 => {
                let from = random.index(input.len());
                let copied = input[from..(from + 16).min(input.len())].to_vec();
                input.splice(at..at, copied);
            }
            _ => {
                // Another API or version, so that a body meets the wrong reader.
                let key = u8::try_from(random.below(80)).unwrap();
                let version = u8::try_from(random.below(16)).unwrap();
                let header = [0, key, 0, version];
                let end = header.len().min(input.len());
                input[..end].copy_from_slice(&header[..end]);
            }
        }
    }
}

macro_rules! decode_by_key {
    ($key:expr, $reader:expr, $version:expr; $( $name:ident $module:ident $request:ident; )*) => {
        match $key {
            $( ApiKey::$name => {
                highwater::protocol::messages::$module::$request::decode($reader, $version).is_ok()
            } )*
            _ => false,
        }
    };
}

fn decode(frame: &Bytes, produce: &mut ProduceRequestView, fetch: &mut FetchRequestView) -> bool {
    let mut reader = Reader::new(frame);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return false };
    let Some(key) = ApiKey::from_number(header.api_key) else { return false };
    let version = header.api_version;
    match key {
        ApiKey::Produce => read_produce(produce, &mut reader, version),
        ApiKey::Fetch => fetch.read(&mut reader, version).is_ok(),
        key => decode_by_key!(key, &mut reader, version;
            AddOffsetsToTxn add_offsets_to_txn AddOffsetsToTxnRequest;
            AddPartitionsToTxn add_partitions_to_txn AddPartitionsToTxnRequest;
            AddRaftVoter add_raft_voter AddRaftVoterRequest;
            AllocateProducerIds allocate_producer_ids AllocateProducerIdsRequest;
            AlterConfigs alter_configs AlterConfigsRequest;
            AlterPartition alter_partition AlterPartitionRequest;
            AlterPartitionReassignments alter_partition_reassignments
                AlterPartitionReassignmentsRequest;
            AlterReplicaLogDirs alter_replica_log_dirs AlterReplicaLogDirsRequest;
            ApiVersions api_versions ApiVersionsRequest;
            AssignReplicasToDirs assign_replicas_to_dirs AssignReplicasToDirsRequest;
            BrokerHeartbeat broker_heartbeat BrokerHeartbeatRequest;
            BrokerRegistration broker_registration BrokerRegistrationRequest;
            ConsumerGroupDescribe consumer_group_describe ConsumerGroupDescribeRequest;
            ConsumerGroupHeartbeat consumer_group_heartbeat ConsumerGroupHeartbeatRequest;
            CreateAcls create_acls CreateAclsRequest;
            CreatePartitions create_partitions CreatePartitionsRequest;
            CreateTopics create_topics CreateTopicsRequest;
            DeleteAcls delete_acls DeleteAclsRequest;
            DeleteGroups delete_groups DeleteGroupsRequest;
            DeleteRecords delete_records DeleteRecordsRequest;
            DeleteTopics delete_topics DeleteTopicsRequest;
            DescribeAcls describe_acls DescribeAclsRequest;
            DescribeBrokers describe_brokers DescribeBrokersRequest;
            DescribeCluster describe_cluster DescribeClusterRequest;
            DescribeConfigs describe_configs DescribeConfigsRequest;
            DescribeGroups describe_groups DescribeGroupsRequest;
            DescribeLatency describe_latency DescribeLatencyRequest;
            DescribeLogDirs describe_log_dirs DescribeLogDirsRequest;
            DescribeProducers describe_producers DescribeProducersRequest;
            DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest;
            DescribeTransactions describe_transactions DescribeTransactionsRequest;
            DescribeQuorum describe_quorum DescribeQuorumRequest;
            ElectLeaders elect_leaders ElectLeadersRequest;
            FindCoordinator find_coordinator FindCoordinatorRequest;
            EndTxn end_txn EndTxnRequest; Heartbeat heartbeat HeartbeatRequest;
            IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest;
            InitProducerId init_producer_id InitProducerIdRequest;
            JoinGroup join_group JoinGroupRequest;
            LeaveGroup leave_group LeaveGroupRequest;
            ListGroups list_groups ListGroupsRequest;
            ListOffsets list_offsets ListOffsetsRequest;
            ListConfigResources list_config_resources ListConfigResourcesRequest;
            ListPartitionReassignments list_partition_reassignments
                ListPartitionReassignmentsRequest;
            ListTransactions list_transactions ListTransactionsRequest;
            Metadata metadata MetadataRequest;
            OffsetCommit offset_commit OffsetCommitRequest;
            OffsetDelete offset_delete OffsetDeleteRequest;
            OffsetFetch offset_fetch OffsetFetchRequest;
            OffsetForLeaderEpoch offset_for_leader_epoch OffsetForLeaderEpochRequest;
            RemoveRaftVoter remove_raft_voter RemoveRaftVoterRequest;
            SyncGroup sync_group SyncGroupRequest;
            TxnOffsetCommit txn_offset_commit TxnOffsetCommitRequest;
            UnregisterBroker unregister_broker UnregisterBrokerRequest;
            UpdateFeatures update_features UpdateFeaturesRequest;
            WriteTxnMarkers write_txn_markers WriteTxnMarkersRequest;
        ),
    }
}

fn read_produce(view: &mut ProduceRequestView, reader: &mut Reader<'_>, version: i16) -> bool {
    let is_read = view.read(reader, version).is_ok();
    if is_read {
        let records = view.topics().flat_map(|topic| topic.partitions());
        records.for_each(|partition| read_records(partition.records));
    }
    is_read
}

fn read_records(mut records: Bytes) {
    while let Ok(batch) = CheckedBatch::check_first(&mut records) {
        if let Ok(decoded) = batch.decode_records() {
            assert!(decoded.iter().take_while(Result::is_ok).count() <= i32::MAX as usize);
        }
    }
}

#[test]
fn a_million_mutated_requests_are_read_or_refused() {
    let seeds = golden_requests();
    let inputs = number("HIGHWATER_FUZZ_INPUTS").unwrap_or(INPUTS_DEFAULT);
    let mut random = Random::new(number("HIGHWATER_FUZZ_SEED").unwrap_or(1));
    let (mut produce, mut fetch) = (ProduceRequestView::default(), FetchRequestView::default());
    let mut input = Vec::new();
    let mut read = 0;
    for _ in 0..inputs {
        let seed = random.index(seeds.len());
        mutate(&mut random, &seeds[seed], &mut input);
        let frame = Bytes::copy_from_slice(&input);
        read += u64::from(decode(&frame, &mut produce, &mut fetch));
        let mut stream = BytesMut::from(&input[..]);
        while let Ok(Some(frame)) = frame::next_frame(&mut stream, FRAME_BYTES_MAX) {
            assert!(frame.len() <= input.len());
        }
    }
    println!("{inputs} inputs: {read} read, {} refused, 0 panics", inputs - read);
    assert!(read > 0 && read < inputs, "mutations must fall on both sides");
}

/// True for a sound request that makes thousands of partitions. The simulated disk looks at all its
/// names at each sync of a folder, so that one of them would take minutes.
fn wants_many_partitions(input: &[u8]) -> bool {
    let frame = Bytes::copy_from_slice(input);
    let mut reader = Reader::new(&frame);
    let Ok(header) = RequestHeader::decode(&mut reader) else { return false };
    let version = header.api_version;
    match ApiKey::from_number(header.api_key) {
        Some(ApiKey::CreateTopics) => {
            CreateTopicsRequest::decode(&mut reader, version).is_ok_and(|request| {
                request.topics.iter().any(|topic| topic.num_partitions > PARTITIONS_FED_MAX)
            })
        }
        Some(ApiKey::CreatePartitions) => CreatePartitionsRequest::decode(&mut reader, version)
            .is_ok_and(|request| {
                request.topics.iter().any(|topic| topic.count > PARTITIONS_FED_MAX)
            }),
        _ => false,
    }
}

#[test]
fn a_broker_fed_garbage_serves_a_good_client() {
    let seeds = golden_requests();
    let inputs = number("HIGHWATER_FUZZ_INPUTS").unwrap_or(INPUTS_DEFAULT) / BROKER_EVERY;
    let mut random = Random::new(number("HIGHWATER_FUZZ_SEED").unwrap_or(1));
    let executor = SimExecutor::new(random.next());
    let disk = SimDisk::new(executor.handle());
    let (config, _) = BrokerConfig::from_settings(&[]).unwrap();
    let start = SimStart { seed: random.next(), disk, cores: 2, config: Arc::new(config) };
    let mut broker = SimBroker::start(executor, start);
    let mut input = Vec::new();
    let mut garbage = broker.connect(0);
    for round in 0..inputs {
        let seed = random.index(seeds.len());
        mutate(&mut random, &seeds[seed], &mut input);
        if wants_many_partitions(&input) {
            continue;
        }
        let length = i32::try_from(input.len()).unwrap();
        let framed = [&length.to_be_bytes()[..], &input].concat();
        let is_open = garbage.feed(&framed);
        for _ in 0..20 {
            broker.executor.step();
        }
        if !is_open || round % 8 == 0 {
            garbage = broker.connect(random.index(2));
        }
        if round % 500 == 0 {
            let mut good = broker.connect(random.index(2));
            let answer = broker.executor.run_until(async move {
                good.call(&MetadataRequest { topics: Some(vec![]), ..Default::default() }).await
            });
            assert_eq!(answer.unwrap().brokers.len(), 1, "after {round} inputs");
        }
    }
    println!("{inputs} frames through a whole broker, a good client served throughout");
}

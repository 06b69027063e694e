//! Frames written by other implementations: we read them as expected and write the same bytes.
//!
//! Why files: the oracle of the differential tests shares our reading of Kafka's definitions;
//! these bytes come from the clients themselves.
//!
//! `tests/golden/<client>-<Api>-v<version>-<request|response>.hex` holds one frame without its
//! length prefix, header included, in hex (white space and lines with `#` are ignored); the `.txt`
//! beside it what we make of it. `UPDATE_EXPECT=1 cargo test --test protocol_golden` writes the
//! texts; read them before they are kept.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fmt::{Debug, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use highwater::protocol::api_key::ApiKey;
use highwater::protocol::frame::{RequestHeader, ResponseHeader};
use highwater::protocol::messages;
use highwater::protocol::primitive::{Reader, Sink, Writer};
use highwater::protocol::produce_view::ProduceRequestView;
use highwater::protocol::record_batch::CheckedBatch;
use highwater::protocol::schema::{Message, Request};

/// Fewer files than this means that some were lost.
const GOLDEN_FILES_MIN: usize = 180;

/// What a file's name says.
struct Golden {
    path: PathBuf,
    api: String,
    version: i16,
    is_request: bool,
    frame: Bytes,
}

fn golden_files() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hex"))
        .collect();
    files.sort_unstable();
    files.into_iter().map(golden).collect()
}

fn golden(path: PathBuf) -> Golden {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let parts: Vec<&str> = name.rsplitn(4, '-').collect();
    let [direction, version, api, _client] = parts[..] else {
        panic!("{name} is not named <client>-<Api>-v<version>-<direction>");
    };
    assert!(["request", "response"].contains(&direction), "{name}");
    let version = version.strip_prefix('v').and_then(|version| version.parse().ok());
    let text = std::fs::read_to_string(&path).unwrap();
    Golden {
        api: api.to_owned(),
        version: version.unwrap_or_else(|| panic!("{name} names no version")),
        is_request: direction == "request",
        frame: from_hex(&text).unwrap_or_else(|| panic!("{name} is not hex")),
        path,
    }
}

fn from_hex(text: &str) -> Option<Bytes> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let digits: Vec<u32> = lines
        .flat_map(str::chars)
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| letter.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(high * 16 + low).ok(),
        _ => None,
    });
    bytes.collect()
}

fn check<R: Request<Response: Debug> + Debug>(golden: &Golden) {
    let mut reader = Reader::new(&golden.frame);
    let mut writer = Writer::new();
    let mut text = String::new();
    if golden.is_request {
        let header = RequestHeader::decode(&mut reader).unwrap();
        assert_eq!((header.api_key, header.api_version), (R::KEY.number(), golden.version));
        header.encode(&mut writer).unwrap();
        writeln!(text, "{:#?}", Shown(&header)).unwrap();
        if R::VERSIONS.contains(&golden.version) {
            check_body::<R>(golden, golden.version, &mut reader, &mut writer, &mut text);
        } else {
            // A newer ApiVersions: its header is all we read (KIP-511).
            assert_eq!(R::KEY, ApiKey::ApiVersions);
            writer.put_slice(&golden.frame[reader.position()..]);
        }
    } else {
        let header = ResponseHeader::decode(&mut reader, R::KEY, golden.version).unwrap();
        header.encode(&mut writer, R::KEY, golden.version);
        writeln!(text, "{header:#?}").unwrap();
        let is_known = R::VERSIONS.contains(&golden.version);
        let version = if is_known { golden.version } else { 0 };
        check_body::<R::Response>(golden, version, &mut reader, &mut writer, &mut text);
    }
    expect_test::expect_file![golden.path.with_extension("txt")].assert_eq(&text);
    let again = writer.finish().unwrap().into_bytes();
    assert_eq!(again, golden.frame, "{} is written differently", golden.path.display());
}

/// A header as the golden pages have it: with the client id as text.
struct Shown<'a>(&'a RequestHeader<'a>);

impl Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown(header) = self;
        f.debug_struct("RequestHeader")
            .field("api_key", &header.api_key)
            .field("api_version", &header.api_version)
            .field("correlation_id", &header.correlation_id)
            .field("client_id", &header.client_id.map(String::from_utf8_lossy))
            .finish()
    }
}

fn check_body<M: Message + Debug>(
    golden: &Golden,
    version: i16,
    reader: &mut Reader<'_>,
    writer: &mut Writer,
    text: &mut String,
) {
    let message = M::decode(reader, version)
        .unwrap_or_else(|error| panic!("{}: {error}", golden.path.display()));
    message.encode(writer, version).unwrap();
    writeln!(text, "{message:#?}").unwrap();
    if reader.left() > 0 {
        // librdkafka 2.16 leaves 3 bytes after a flexible Metadata request without topics.
        writeln!(text, "{} bytes follow the body", reader.left()).unwrap();
        writer.put_slice(&golden.frame[reader.position()..]);
    }
}

macro_rules! checks {
    ($( $file:ident::$request:ident; )*) => {
        /// The check of an API by its Kafka name.
        fn check_of(api: &str) -> Option<fn(&Golden)> {
            $(
                if <messages::$file::$request as Message>::KEY.name() == api {
                    return Some(check::<messages::$file::$request>);
                }
            )*
            None
        }
    };
}

checks! {
    add_offsets_to_txn::AddOffsetsToTxnRequest;
    add_partitions_to_txn::AddPartitionsToTxnRequest;
    alter_configs::AlterConfigsRequest;
    api_versions::ApiVersionsRequest;
    create_partitions::CreatePartitionsRequest;
    create_topics::CreateTopicsRequest;
    delete_groups::DeleteGroupsRequest;
    delete_records::DeleteRecordsRequest;
    delete_topics::DeleteTopicsRequest;
    describe_cluster::DescribeClusterRequest;
    describe_configs::DescribeConfigsRequest;
    describe_groups::DescribeGroupsRequest;
    describe_log_dirs::DescribeLogDirsRequest;
    describe_topic_partitions::DescribeTopicPartitionsRequest;
    end_txn::EndTxnRequest;
    fetch::FetchRequest;
    find_coordinator::FindCoordinatorRequest;
    heartbeat::HeartbeatRequest;
    incremental_alter_configs::IncrementalAlterConfigsRequest;
    init_producer_id::InitProducerIdRequest;
    join_group::JoinGroupRequest;
    leave_group::LeaveGroupRequest;
    list_groups::ListGroupsRequest;
    list_offsets::ListOffsetsRequest;
    list_partition_reassignments::ListPartitionReassignmentsRequest;
    metadata::MetadataRequest;
    offset_commit::OffsetCommitRequest;
    offset_delete::OffsetDeleteRequest;
    offset_fetch::OffsetFetchRequest;
    offset_for_leader_epoch::OffsetForLeaderEpochRequest;
    produce::ProduceRequest;
    sasl_authenticate::SaslAuthenticateRequest;
    sasl_handshake::SaslHandshakeRequest;
    sync_group::SyncGroupRequest;
    txn_offset_commit::TxnOffsetCommitRequest;
}

#[test]
fn frames_of_other_implementations_are_read_as_expected_and_written_alike() {
    let files = golden_files();
    assert!(files.len() >= GOLDEN_FILES_MIN, "only {} golden files", files.len());
    for golden in &files {
        let check = check_of(&golden.api)
            .unwrap_or_else(|| panic!("{} names no API", golden.path.display()));
        check(golden);
    }
}

#[test]
fn batches_of_real_producers_are_accepted_and_their_records_read() {
    let mut batches = 0;
    for golden in golden_files().iter().filter(|golden| golden.is_request) {
        if golden.api != ApiKey::Produce.name() {
            continue;
        }
        let mut reader = Reader::new(&golden.frame);
        RequestHeader::decode(&mut reader).unwrap();
        let mut view = ProduceRequestView::default();
        view.read(&mut reader, golden.version).unwrap();
        for partition in view.topics().flat_map(|topic| topic.partitions()) {
            let batch = CheckedBatch::check_produced(partition.records).unwrap();
            let records = batch.decode_records().unwrap();
            let offsets: Vec<i64> = records.iter().map(|record| record.unwrap().offset).collect();
            assert!(offsets.iter().copied().eq(0..=batch.header().last_offset()));
            batches += 1;
        }
    }
    assert!(batches > 0);
}

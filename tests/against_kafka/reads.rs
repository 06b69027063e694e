//! Fetch, ListOffsets, OffsetForLeaderEpoch and DeleteRecords at their edges.

use highwater::protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use highwater::protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic,
};
use highwater::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use highwater::protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use uuid::Uuid;

use crate::produce::batch;
use crate::{Pair, Side};

const TOPIC: &str = "read";
const RECORDS: i64 = 10;

pub(crate) fn run(pair: &mut Pair) {
    pair.topic(TOPIC, 2, &[]);
    pair.both(|side| {
        for _ in 0..RECORDS {
            let wire = side.wire();
            wire.send_batch((TOPIC, 0), -1, batch(b"value")).expect("sent");
            assert_eq!(wire.receive_produced().expect("answered").error_code, 0);
        }
    });
    fetches(pair);
    fetch_bounds(pair);
    fetch_shapes(pair);
    fetch_sessions(pair);
    offsets(pair);
    epochs(pair);
    deletions(pair);
}

fn part(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        fetch_offset,
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    }
}

fn fetch(side: &mut Side, topic: &str, parts: Vec<FetchPartition>, version: i16) -> FetchRequest {
    let topic_id = match version {
        13.. if !topic.starts_with("no-") => side.topic_id(topic),
        _ => Uuid::from_u128(77),
    };
    FetchRequest {
        max_wait_ms: 50,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic { topic: topic.to_owned(), topic_id, partitions: parts }],
        ..FetchRequest::default()
    }
}

fn fetched(side: &mut Side, topic: &str, part: FetchPartition, version: i16) -> String {
    let request = fetch(side, topic, vec![part], version);
    side.ask(&request, version)
}

fn fetches(pair: &mut Pair) {
    for (name, version) in [
        ("Fetch v4", 4),
        ("Fetch v5", 5),
        ("Fetch v7", 7),
        ("Fetch v9", 9),
        ("Fetch v11", 11),
        ("Fetch v12", 12),
        ("Fetch v13", 13),
        ("Fetch v16", 16),
        ("Fetch v17", 17),
    ] {
        pair.case(name, move |side| fetched(side, TOPIC, part(0, 4), version));
    }
    pair.case("Fetch at the log end", |side| fetched(side, TOPIC, part(0, RECORDS), 12));
    pair.case("Fetch behind the log end", |side| fetched(side, TOPIC, part(0, RECORDS + 1), 12));
    pair.case("Fetch from offset -1", |side| fetched(side, TOPIC, part(0, -1), 12));
    pair.case("Fetch of an empty partition", |side| fetched(side, TOPIC, part(1, 0), 12));
    pair.case("Fetch of an unknown partition", |side| fetched(side, TOPIC, part(9, 0), 12));
    pair.case("Fetch of a negative partition", |side| fetched(side, TOPIC, part(-1, 0), 12));
    pair.case("Fetch of an unknown topic", |side| fetched(side, "no-topic", part(0, 0), 12));
    pair.case("Fetch of an unknown topic id", |side| fetched(side, "no-topic", part(0, 0), 13));
    pair.case("Fetch of the nil topic id", |side| {
        let mut request = fetch(side, TOPIC, vec![part(0, 0)], 13);
        request.topics[0].topic_id = Uuid::nil();
        side.ask(&request, 13)
    });
}

fn fetch_bounds(pair: &mut Pair) {
    for (name, epoch) in [
        ("Fetch in the current leader epoch", 0),
        ("Fetch in a later leader epoch", 5),
        ("Fetch in leader epoch -2", -2),
    ] {
        pair.case(name, move |side| {
            let part = FetchPartition { current_leader_epoch: epoch, ..part(0, 0) };
            fetched(side, TOPIC, part, 12)
        });
    }
    for (name, epoch) in
        [("Fetch with the last epoch it saw", 0), ("Fetch with a last epoch from the future", 5)]
    {
        pair.case(name, move |side| {
            let part = FetchPartition { last_fetched_epoch: epoch, ..part(0, 3) };
            fetched(side, TOPIC, part, 12)
        });
    }
    for (name, bytes) in [
        ("Fetch of one byte of a partition", 1),
        ("Fetch of no byte of a partition", 0),
        ("Fetch of -1 bytes of a partition", -1),
        ("Fetch of two batches' bytes", 150),
    ] {
        pair.case(name, move |side| {
            let part = FetchPartition { partition_max_bytes: bytes, ..part(0, 0) };
            fetched(side, TOPIC, part, 12)
        });
    }
    for (name, bytes) in
        [("Fetch of one byte in all", 1), ("Fetch of no byte in all", 0), ("Fetch of -1 bytes", -1)]
    {
        pair.case(name, move |side| {
            let mut request = fetch(side, TOPIC, vec![part(0, 0)], 12);
            request.max_bytes = bytes;
            side.ask(&request, 12)
        });
    }
}

fn fetch_shapes(pair: &mut Pair) {
    pair.case("Fetch of no topics", |side| {
        let mut request = fetch(side, TOPIC, vec![], 12);
        request.topics.clear();
        side.ask(&request, 12)
    });
    pair.case("Fetch of a topic without partitions", |side| {
        let request = fetch(side, TOPIC, vec![], 12);
        side.ask(&request, 12)
    });
    pair.case("Fetch of a partition twice", |side| {
        let request = fetch(side, TOPIC, vec![part(0, 8), part(0, 9)], 12);
        side.ask(&request, 12)
    });
    pair.case("Fetch of two partitions", |side| {
        let request = fetch(side, TOPIC, vec![part(0, 8), part(1, 0)], 12);
        side.ask(&request, 12)
    });
    pair.case("Fetch of a good and an unknown partition", |side| {
        let request = fetch(side, TOPIC, vec![part(0, 8), part(7, 0)], 12);
        side.ask(&request, 12)
    });
    for (name, level) in [("Fetch read_committed", 1), ("Fetch of isolation level 2", 2)] {
        pair.case(name, move |side| {
            let mut request = fetch(side, TOPIC, vec![part(0, 8)], 12);
            request.isolation_level = level;
            side.ask(&request, 12)
        });
    }
    pair.case("Fetch with a negative wait", |side| {
        let mut request = fetch(side, TOPIC, vec![part(1, 0)], 12);
        request.max_wait_ms = -1;
        side.ask(&request, 12)
    });
    pair.case("Fetch as a replica that does not exist", |side| {
        let mut request = fetch(side, TOPIC, vec![part(0, 0)], 12);
        request.replica_id = 7;
        side.ask(&request, 12)
    });
    pair.case("Fetch as the debugging consumer", |side| {
        let mut request = fetch(side, TOPIC, vec![part(0, 9)], 12);
        request.replica_id = -2;
        side.ask(&request, 12)
    });
}

fn fetch_sessions(pair: &mut Pair) {
    let in_session = |mut request: FetchRequest, id: i32, epoch: i32| {
        (request.session_id, request.session_epoch) = (id, epoch);
        request
    };
    let code = |side: &mut Side, request: FetchRequest| {
        let answer = side.call(&request, 12);
        let parts: Vec<(i32, i16)> = answer
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|part| (part.partition_index, part.error_code))
            .collect();
        (answer.session_id, format!("{} {} {parts:?}", answer.error_code, answer.session_id != 0))
    };
    pair.case("a session that is unknown", move |side| {
        let request = fetch(side, TOPIC, vec![part(0, 0)], 12);
        code(side, in_session(request, 12_345, 1)).1
    });
    pair.case("a session that is opened", move |side| {
        let request = fetch(side, TOPIC, vec![part(0, 0)], 12);
        code(side, in_session(request, 0, 0)).1
    });
    pair.case("a session without an id and with epoch 1", move |side| {
        let request = fetch(side, TOPIC, vec![part(0, 0)], 12);
        code(side, in_session(request, 0, 1)).1
    });
    pair.case("epoch -2 without a session", move |side| {
        let request = fetch(side, TOPIC, vec![part(0, 0)], 12);
        code(side, in_session(request, 0, -2)).1
    });
    pair.case("a session goes on, wrongly and rightly", move |side| {
        let empty = FetchRequest { max_wait_ms: 50, min_bytes: 1, ..FetchRequest::default() };
        let request = fetch(side, TOPIC, vec![part(0, 8), part(1, 0)], 12);
        let (id, first) = code(side, in_session(request, 0, 0));
        let mut seen = vec![first];
        for epoch in [1, 1, 7, 2] {
            seen.push(code(side, in_session(empty.clone(), id, epoch)).1);
        }
        let unknown = fetch(side, "no-topic", vec![part(0, 0)], 12);
        seen.push(code(side, in_session(unknown, id, 3)).1);
        let mut forget = empty.clone();
        forget.forgotten_topics_data = vec![ForgottenTopic {
            topic: TOPIC.to_owned(),
            partitions: vec![0, 5],
            ..ForgottenTopic::default()
        }];
        seen.push(code(side, in_session(forget, id, 4)).1);
        seen.push(code(side, in_session(empty.clone(), id, -1)).1);
        seen.push(code(side, in_session(empty, id, 5)).1);
        format!("{seen:?}")
    });
    pair.case("a session over an error only", move |side| {
        let request = fetch(side, TOPIC, vec![part(9, 0)], 12);
        code(side, in_session(request, 0, 0)).1
    });
}

/// ListOffsets of one partition for its latest offset.
pub(crate) fn latest(topic: &str, partition: i32) -> ListOffsetsRequest {
    listed(topic, partition, -1)
}

fn listed(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let part = ListOffsetsPartition {
        partition_index: partition,
        timestamp,
        ..ListOffsetsPartition::default()
    };
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![part] }],
        ..ListOffsetsRequest::default()
    }
}

fn offsets(pair: &mut Pair) {
    let time = 1_700_000_000_000;
    for (name, timestamp, version) in [
        ("the latest offset", -1, 7),
        ("the earliest offset", -2, 7),
        ("the offset of the largest timestamp", -3, 7),
        ("the largest timestamp below v7", -3, 6),
        ("the earliest local offset", -4, 8),
        ("the earliest local offset below v8", -4, 7),
        ("the latest tiered offset", -5, 9),
        ("the latest tiered offset below v9", -5, 8),
        ("offset special -6", -6, 10),
        ("offset special -7", -7, 10),
        ("the offset of a timestamp", time, 7),
        ("the offset of a later timestamp", time + 1, 7),
        ("the offset of timestamp 0", 0, 7),
        ("the offset of the last timestamp there is", i64::MAX, 7),
        ("the latest offset, v1", -1, 1),
        ("the latest offset, v2", -1, 2),
        ("the latest offset, v4", -1, 4),
        ("the latest offset, v10", -1, 10),
    ] {
        pair.case(name, move |side| side.ask(&listed(TOPIC, 0, timestamp), version));
    }
    for (name, timestamp) in [
        ("the largest timestamp of an empty partition", -3),
        ("the latest offset of an empty partition", -1),
        ("the offset of a timestamp in an empty partition", time),
    ] {
        pair.case(name, move |side| side.ask(&listed(TOPIC, 1, timestamp), 7));
    }
    pair.case("offsets of an unknown topic", |side| side.ask(&listed("no-topic", 0, -1), 7));
    pair.case("offsets of an unknown partition", |side| side.ask(&listed(TOPIC, 9, -1), 7));
    pair.case("offsets of a negative partition", |side| side.ask(&listed(TOPIC, -1, -1), 7));
    pair.case("offsets of a partition twice", |side| {
        let mut request = listed(TOPIC, 0, -1);
        let again = request.topics[0].partitions[0].clone();
        request.topics[0].partitions.push(again);
        side.ask(&request, 7)
    });
    pair.case("offsets of nothing", |side| {
        let request = ListOffsetsRequest { replica_id: -1, ..ListOffsetsRequest::default() };
        side.ask(&request, 7)
    });
    for (name, epoch) in
        [("offsets in a later leader epoch", 5), ("offsets in the current leader epoch", 0)]
    {
        pair.case(name, move |side| {
            let mut request = listed(TOPIC, 0, -1);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            side.ask(&request, 7)
        });
    }
    for (name, level) in [("offsets read_committed", 1), ("offsets of isolation level 3", 3)] {
        pair.case(name, move |side| {
            let request = ListOffsetsRequest { isolation_level: level, ..listed(TOPIC, 0, -1) };
            side.ask(&request, 7)
        });
    }
    for (name, replica_id) in [("offsets for a replica", 7), ("offsets for the debugger", -2)] {
        pair.case(name, move |side| {
            side.ask(&ListOffsetsRequest { replica_id, ..listed(TOPIC, 0, -1) }, 7)
        });
    }
}

fn epochs(pair: &mut Pair) {
    let ask = |topic: &str, partition: i32, current: i32, epoch: i32| {
        let part = OffsetForLeaderPartition {
            partition,
            current_leader_epoch: current,
            leader_epoch: epoch,
        };
        let topic = OffsetForLeaderTopic { topic: topic.to_owned(), partitions: vec![part] };
        OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] }
    };
    for (name, topic, partition, current, epoch) in [
        ("the end of the current epoch", TOPIC, 0, -1, 0),
        ("the end of a later epoch", TOPIC, 0, -1, 9),
        ("the end of epoch -1", TOPIC, 0, -1, -1),
        ("the end of epoch -5", TOPIC, 0, -1, -5),
        ("the end of an epoch, asked in the current one", TOPIC, 0, 0, 0),
        ("the end of an epoch, asked in a later one", TOPIC, 0, 5, 0),
        ("the end of an epoch of an empty partition", TOPIC, 1, -1, 0),
        ("the end of an epoch of an unknown partition", TOPIC, 9, -1, 0),
        ("the end of an epoch of an unknown topic", "no-topic", 0, -1, 0),
    ] {
        pair.case(name, move |side| side.ask(&ask(topic, partition, current, epoch), 4));
    }
    pair.case("the end of an epoch, v2", move |side| side.ask(&ask(TOPIC, 0, -1, 0), 2));
}

fn deletions(pair: &mut Pair) {
    pair.topic("deleted", 1, &[]);
    pair.topic("keeps", 1, &[("cleanup.policy", "compact")]);
    pair.both(|side| {
        for _ in 0..RECORDS {
            let wire = side.wire();
            wire.send_batch(("deleted", 0), -1, batch(b"value")).expect("sent");
            assert_eq!(wire.receive_produced().expect("answered").error_code, 0);
        }
    });
    let delete = |topic: &str, partition: i32, offset: i64| {
        let part = DeleteRecordsPartition { partition_index: partition, offset };
        let topic = DeleteRecordsTopic { name: topic.to_owned(), partitions: vec![part] };
        DeleteRecordsRequest { topics: vec![topic], timeout_ms: 10_000 }
    };
    for (name, topic, partition, offset) in [
        ("records below 3 are deleted", "deleted", 0, 3),
        ("records below 2 are deleted again", "deleted", 0, 2),
        ("records behind the end are deleted", "deleted", 0, RECORDS + 1),
        ("records below -2 are deleted", "deleted", 0, -2),
        ("records of an unknown partition are deleted", "deleted", 5, 1),
        ("records of a negative partition are deleted", "deleted", -1, 1),
        ("records of an unknown topic are deleted", "no-topic", 0, 1),
        ("records of a compacted topic are deleted", "keeps", 0, 0),
        ("records of the offsets topic are deleted", "__consumer_offsets", 0, 0),
        ("all records are deleted", "deleted", 0, -1),
    ] {
        pair.case(name, move |side| side.ask(&delete(topic, partition, offset), 2));
    }
    pair.case("records of nothing are deleted", |side| {
        side.ask(&DeleteRecordsRequest { topics: vec![], timeout_ms: 1000 }, 2)
    });
    pair.case("Fetch below the log start", |side| fetched(side, "deleted", part(0, 1), 12));
    pair.case("the earliest offset after a deletion", |side| {
        side.ask(&listed("deleted", 0, -2), 7)
    });
    pair.case("the offset of timestamp 0 after a deletion", |side| {
        side.ask(&listed("deleted", 0, 0), 7)
    });
}

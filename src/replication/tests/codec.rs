use crate::model::ids::{BrokerEpoch, LeaderEpoch, Offset, PartitionId, TopicId, TopicPartition};
use crate::model::limits::REPLICA_OFFSET_MAX;
use crate::replication::messages::{
    Ack, Body, Close, CloseReason, HighWatermark, MESSAGE_HEADER_BYTES, Message, Open, OpenOutcome,
    OpenReply, PushHead, StreamId, WireError, decode, push_header,
};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn partition() -> TopicPartition {
    TopicPartition { topic: TopicId(uuid::Uuid::from_u128(7)), partition: PartitionId(3) }
}

fn any_offset() -> impl Strategy<Value = Offset> {
    (0..=REPLICA_OFFSET_MAX).prop_map(Offset::new)
}

fn any_outcome() -> impl Strategy<Value = OpenOutcome> {
    prop_oneof![
        (any_offset(), any_offset(), any_offset()).prop_map(
            |(offset, high_watermark, log_start)| {
                OpenOutcome::Start { offset, high_watermark, log_start }
            }
        ),
        (0..i32::MAX, any_offset())
            .prop_map(|(epoch, end)| OpenOutcome::Diverge { epoch: LeaderEpoch(epoch), end }),
        any_offset().prop_map(|log_start| OpenOutcome::OutOfRange { log_start }),
        Just(OpenOutcome::Fenced),
        Just(OpenOutcome::UnknownEpoch),
        Just(OpenOutcome::NotLeader),
        Just(OpenOutcome::NotReplica),
    ]
}

fn any_body() -> impl Strategy<Value = Body> {
    let stream = any::<u64>().prop_map(StreamId);
    let epoch = any::<i32>().prop_map(LeaderEpoch);
    let offsets = (any_offset(), any_offset(), any_offset());
    (
        epoch,
        stream,
        offsets,
        any::<i64>(),
        any_outcome(),
        prop::collection::vec(any::<u8>(), 1..50),
        0..7,
    )
        .prop_map(|(leader_epoch, stream, (a, b, c), number, outcome, bytes, kind)| match kind
        {
            0 => Body::Open(Open {
                leader_epoch,
                stream,
                broker_epoch: BrokerEpoch(number),
                last_epoch: (a > b).then_some(LeaderEpoch(5)),
                log_end: c,
            }),
            1 => Body::OpenReply(OpenReply { leader_epoch, stream, outcome }),
            2 => Body::Ack(Ack {
                leader_epoch,
                stream,
                broker_epoch: BrokerEpoch(number),
                received: a,
                flushed: b,
                taken_bytes: c.get(),
                log_start: a,
            }),
            3 => Body::HighWatermark(HighWatermark {
                leader_epoch,
                stream,
                high_watermark: a,
                log_start: b,
            }),
            4 => Body::Close(Close { leader_epoch, stream, reason: CloseReason::Reopen }),
            5 => Body::Close(Close { leader_epoch, stream, reason: CloseReason::Resigned }),
            _ => {
                let head =
                    PushHead { leader_epoch, stream, from: a, high_watermark: b, log_start: c };
                Body::Push(head, Bytes::from(bytes))
            }
        })
}

proptest! {
    #[test]
    fn messages_read_back_as_they_were_one_behind_the_other(
        bodies in prop::collection::vec(any_body(), 1..5)
    ) {
        let mut out = BytesMut::new();
        for body in &bodies {
            Message { partition: partition(), body: body.clone() }.encode(&mut out);
        }
        let mut payload = out.freeze();
        for body in bodies {
            let read = decode(&mut payload).unwrap();
            prop_assert_eq!(read, Some(Message { partition: partition(), body }));
        }
        prop_assert_eq!(decode(&mut payload), Ok(None));
    }

    #[test]
    fn foreign_bytes_are_an_error_and_never_a_panic(bytes in any::<Vec<u8>>(), has_magic: bool) {
        let mut foreign = if has_magic { b"HWR1".to_vec() } else { Vec::new() };
        foreign.extend(bytes);
        let mut payload = Bytes::from(foreign.clone());
        prop_assert_eq!(decode(&mut payload).is_err(), !foreign.is_empty());
    }
}

fn a_push() -> Message {
    let head = PushHead {
        leader_epoch: LeaderEpoch(4),
        stream: StreamId(9),
        from: Offset::new(17),
        high_watermark: Offset::new(16),
        log_start: Offset::new(2),
    };
    Message { partition: partition(), body: Body::Push(head, Bytes::from_static(b"batches")) }
}

#[test]
fn one_flipped_bit_anywhere_in_a_header_is_refused() {
    let whole = a_push().to_bytes();
    for bit in 0..MESSAGE_HEADER_BYTES * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&mut Bytes::from(flipped)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_message_cut_off_anywhere_is_refused() {
    let whole = a_push().to_bytes();
    for length in 1..whole.len() {
        let read = decode(&mut whole.slice(..length));
        assert!(matches!(read, Err(WireError::Truncated { .. })), "{length} bytes");
    }
}

#[test]
fn the_head_of_a_push_goes_before_batches_that_nobody_copied() {
    let message = a_push();
    let Body::Push(head, batches) = &message.body else { unreachable!() };
    let mut parts = BytesMut::from(&push_header(partition(), head, batches.len())[..]);
    parts.extend_from_slice(batches);
    assert_eq!(parts.freeze(), message.to_bytes());
}

#[test]
fn a_push_has_batches_and_no_other_message_has_any() {
    let stream = StreamId(1);
    let head = PushHead {
        leader_epoch: LeaderEpoch(1),
        stream,
        from: Offset::ZERO,
        high_watermark: Offset::ZERO,
        log_start: Offset::ZERO,
    };
    let empty = Message { partition: partition(), body: Body::Push(head, Bytes::new()) };
    let mut payload = empty.to_bytes();
    assert_eq!(decode(&mut payload), Err(WireError::Batches { kind: 3, size: 0 }));
}

#[test]
fn an_offset_that_appends_could_not_go_on_from_is_refused() {
    let outcome = OpenOutcome::OutOfRange { log_start: Offset::new(REPLICA_OFFSET_MAX + 1) };
    let reply = OpenReply { leader_epoch: LeaderEpoch(1), stream: StreamId(1), outcome };
    let mut payload = Message { partition: partition(), body: Body::OpenReply(reply) }.to_bytes();
    assert!(matches!(decode(&mut payload), Err(WireError::Field { kind: 2, index: 1, .. })));
}

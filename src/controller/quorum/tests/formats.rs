//! Bytes of messages, log, state and snapshot: what is written is read back, garbage is refused.

use crate::controller::image::MetadataImage;
use crate::controller::quorum::consensus::{Durable, Entry, LogBase, Payload};
use crate::controller::quorum::log::{self, LogError};
use crate::controller::quorum::members::{MemberChange, Members};
use crate::controller::quorum::snapshot::{Snapshot, SnapshotError, image_bytes};
use crate::controller::quorum::state::{self, SLOT_BYTES, STATE_BYTES, Slots, StateError};
use crate::controller::quorum::wire::{Message, MessageKind, WireError};
use crate::controller::records::MetadataRecord;
use crate::model::ids::{BrokerId, ProducerId, TopicId};
use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Empty),
        prop::collection::vec(any::<u8>(), 1..50).prop_map(|b| Payload::Records(Bytes::from(b))),
        (0..3, 0..100).prop_map(|(kind, id)| {
            let id = BrokerId(id);
            Payload::Members(match kind {
                0 => MemberChange::AddVoter(id),
                1 => MemberChange::AddLearner(id),
                _ => MemberChange::Remove(id),
            })
        }),
    ]
}

fn members() -> impl Strategy<Value = Members> {
    (prop::collection::btree_set(0..10, 1..4), prop::collection::btree_set(10..20, 0..4)).prop_map(
        |(voters, learners)| Members {
            voters: voters.into_iter().map(BrokerId).collect(),
            learners: learners.into_iter().map(BrokerId).collect(),
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0..2_u64, payload()), 0..6).prop_map(|payloads| {
        let mut term = 1;
        let entry = |(at, (grows, payload)): (usize, (u64, Payload))| {
            term += grows;
            Entry { term, index: at as u64 + 1, payload }
        };
        payloads.into_iter().enumerate().map(entry).collect()
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    (1..1000_u64, 1..50_u64, members(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(
        |(index, term, members, data)| Snapshot { index, term, members, data: Bytes::from(data) },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let kinds = prop_oneof![Just(MessageKind::Append), Just(MessageKind::TimeoutNow)];
    let numbers = prop::array::uniform7(0..u64::MAX / 4);
    let flags = (any::<bool>(), any::<bool>());
    let rest = (entries(), prop::option::of(snapshot()), any::<u128>());
    (kinds, numbers, flags, rest).prop_map(|(kind, numbers, flags, rest)| {
        let [term, log_term, index, commit, commit_term, request_snapshot, reject_hint] = numbers;
        Message {
            kind,
            from: BrokerId(1),
            to: BrokerId(2),
            directory: Uuid::from_u128(rest.2),
            term,
            log_term,
            index,
            commit,
            commit_term,
            request_snapshot,
            rejects: flags.0,
            reject_hint,
            is_transfer: flags.1,
            entries: rest.0,
            snapshot: rest.1,
        }
    })
}

fn log_bytes(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = log::encode_header(LogBase::default()).to_vec();
    for entry in entries {
        bytes.extend_from_slice(&log::encode_frame(entry, entry.index - 1));
    }
    bytes
}

fn records(index: u64) -> Entry {
    Entry { term: 1, index, payload: Payload::Records(Bytes::from_static(b"some records")) }
}

proptest! {
    #[test]
    fn a_message_reads_back(message in message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn garbage_is_no_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Message::decode(&bytes).is_err());
        let mut checked = crc32c::crc32c(&bytes).to_be_bytes().to_vec();
        checked.extend_from_slice(&bytes);
        prop_assert!(Message::decode(&checked).is_err());
    }

    #[test]
    fn a_message_cut_short_or_changed_and_checked_anew_never_panics(
        message in message(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = message.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = value;
        for len in [at, bytes.len()] {
            let mut some = bytes[..len].to_vec();
            if len > 4 {
                let crc = crc32c::crc32c(&some[4..]).to_be_bytes();
                some[..4].copy_from_slice(&crc);
            }
            let _ = Message::decode(&some);
        }
    }

    #[test]
    fn a_log_reads_back(entries in entries()) {
        let bytes = log_bytes(&entries);
        let read = log::read(&bytes, 0).unwrap();
        prop_assert_eq!(read.end(), bytes.len() as u64);
        prop_assert_eq!(read.commit, (entries.len() as u64).saturating_sub(1));
        prop_assert_eq!(read.entries, entries);
    }

    #[test]
    fn a_snapshot_reads_back(snapshot in snapshot(), bit in any::<prop::sample::Index>()) {
        let mut bytes = snapshot.encode().to_vec();
        prop_assert_eq!(Snapshot::decode(&bytes), Ok(snapshot));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Snapshot::decode(&bytes), Err(SnapshotError::Damaged));
    }
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let two = log_bytes(&[records(1), records(2)]);
    let three = log_bytes(&[records(1), records(2), records(3)]);
    for len in two.len()..three.len() {
        let read = log::read(&three[..len], 1).unwrap();
        assert_eq!((read.entries.len(), read.end()), (2, two.len() as u64), "cut at {len}");
    }
}

#[test]
fn a_flipped_bit_in_what_is_committed_is_damage_at_every_bit() {
    let one = log_bytes(&[records(1)]).len();
    let two = log_bytes(&[records(1), records(2)]).len();
    let three = log_bytes(&[records(1), records(2), records(3)]);
    for bit in one * 8..two * 8 {
        let mut bytes = three.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // The third frame says that the second entry was committed when it was written.
        let damaged = LogError::Damaged { position: one, index: 2, commit: 2 };
        assert_eq!(log::read(&bytes, 0), Err(damaged), "bit {bit}");
    }
}

#[test]
fn a_log_that_ends_below_what_the_state_calls_committed_is_damaged() {
    let bytes = log_bytes(&[records(1), records(2)]);
    let damaged = LogError::Damaged { position: bytes.len(), index: 3, commit: 3 };
    assert_eq!(log::read(&bytes, 3), Err(damaged));
}

#[test]
fn a_damaged_header_is_told_from_a_torn_tail() {
    let bytes = log_bytes(&[records(1)]);
    for bit in 0..log::HEADER_BYTES * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(log::read(&bytes, 0), Err(LogError::Header), "bit {bit}");
    }
}

#[test]
fn the_other_slot_stands_when_a_write_of_the_state_is_torn_at_any_byte() {
    let mut slots = Slots::default();
    let mut file = vec![0; STATE_BYTES];
    let mut states = Vec::new();
    for term in 1..4 {
        let directories = [(BrokerId(2), Uuid::from_u128(9))].into_iter().collect();
        let state = Durable { term, vote: Some(BrokerId(1)), commit: term * 3, directories };
        let before = file.clone();
        let (position, bytes) = slots.next(&state);
        let position = usize::try_from(position).unwrap();
        file[position..position + SLOT_BYTES].copy_from_slice(&bytes);
        assert_eq!(state::decode(&file).unwrap().unwrap().1, state);
        states.push(state);
        let used = 80;
        for torn in 0..used {
            let mut half = before.clone();
            half[position..position + torn].copy_from_slice(&bytes[..torn]);
            let read = state::decode(&half);
            match term {
                1 if torn == 0 => assert_eq!(read, Ok(None)),
                1 => assert!(matches!(read, Err(StateError::Damaged) | Ok(Some(_)))),
                _ => {
                    let read = read.unwrap().unwrap().1;
                    assert!(states[usize::try_from(term).unwrap() - 2..].contains(&read));
                }
            }
        }
    }
    file.fill(7);
    assert_eq!(state::decode(&file), Err(StateError::Damaged));
}

#[test]
fn an_image_comes_back_from_its_snapshot_with_the_same_end() {
    let blank = MetadataImage::new(BrokerId(1), std::sync::Arc::default());
    let mut image = blank.clone();
    let topic = TopicId(Uuid::from_u128(5));
    for record in [
        MetadataRecord::ClusterId(Uuid::from_u128(1)),
        MetadataRecord::Topic { id: topic, name: "gone".to_owned() },
        MetadataRecord::RemoveTopic { id: topic },
        MetadataRecord::ProducerIds { next: ProducerId(1000) },
    ] {
        image.apply(&record).unwrap();
    }
    let members = Members::of_voters([BrokerId(1)]);
    let snapshot = Snapshot { index: 9, term: 2, members, data: image_bytes(&image) };
    let again = Snapshot::decode(&snapshot.encode()).unwrap().image(&blank).unwrap();
    assert_eq!((again.end(), again.to_records()), (4, image.to_records()));
}

#[test]
fn a_change_of_members_that_leaves_no_voter_is_refused() {
    let mut members = Members::of_voters([BrokerId(1)]);
    assert!(members.refuses(MemberChange::Remove(BrokerId(1))));
    members.apply(MemberChange::Remove(BrokerId(1)));
    assert_eq!(members, Members::of_voters([BrokerId(1)]));
    members.apply(MemberChange::AddLearner(BrokerId(2)));
    members.apply(MemberChange::AddVoter(BrokerId(2)));
    assert_eq!(members, Members::of_voters([BrokerId(1), BrokerId(2)]));
}

#[test]
fn a_message_of_another_version_is_named() {
    let bytes = [200_u8, 0, 0];
    let mut whole = crc32c::crc32c(&bytes).to_be_bytes().to_vec();
    whole.extend_from_slice(&bytes);
    assert_eq!(Message::decode(&whole), Err(WireError::UnknownVersion { version: 200 }));
}

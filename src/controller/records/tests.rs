use super::*;
use crate::model::cluster_config::Roles;
use crate::model::listeners::Endpoint;
use proptest::prelude::*;

fn brokers() -> impl Strategy<Value = Vec<BrokerId>> {
    prop::collection::vec((0..i32::MAX).prop_map(BrokerId), 0..4)
}

fn maybe_broker() -> impl Strategy<Value = Option<BrokerId>> {
    prop::option::of((0..i32::MAX).prop_map(BrokerId))
}

fn topic_id() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(|id| TopicId(Uuid::from_u128(id)))
}

fn state() -> impl Strategy<Value = PartitionState> {
    let replica = (0..i32::MAX, any::<u16>(), any::<u128>()).prop_map(|(broker, core, dir)| {
        Replica { broker: BrokerId(broker), core: CoreId(core), directory: Uuid::from_u128(dir) }
    });
    let sets = (brokers(), brokers(), brokers(), brokers());
    let epochs = (0..i32::MAX, 0..i32::MAX, any::<bool>());
    (prop::collection::vec(replica, 1..4), sets, maybe_broker(), maybe_broker(), epochs).prop_map(
        |(replicas, sets, leader, last_known_leader, epochs)| PartitionState {
            replicas,
            isr: sets.0,
            elr: sets.1,
            last_known_leader,
            leader,
            leader_epoch: LeaderEpoch(epochs.0),
            partition_epoch: epochs.1,
            recovery: match epochs.2 {
                true => LeaderRecovery::Recovering,
                false => LeaderRecovery::Recovered,
            },
            adding: sets.2,
            removing: sets.3,
        },
    )
}

fn registration() -> impl Strategy<Value = BrokerRegistration> {
    let endpoint = ("[A-Z]{1,5}", ".{0,9}", any::<u16>()).prop_map(|(listener, host, port)| {
        BrokerEndpoint { listener, endpoint: Endpoint { host, port } }
    });
    let feature = (".{0,9}", any::<i16>(), any::<i16>())
        .prop_map(|(name, min, max)| FeatureRange { name, min, max });
    let ids = (0..i32::MAX, any::<i64>(), any::<u128>(), any::<u128>());
    let lists = (prop::collection::vec(endpoint, 0..3), prop::collection::vec(feature, 0..3));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (ids, lists, prop::option::of(".{0,9}"), 1..u16::MAX, flags).prop_map(
        |(ids, lists, rack, cores, flags)| BrokerRegistration {
            id: BrokerId(ids.0),
            epoch: BrokerEpoch(ids.1),
            incarnation: Uuid::from_u128(ids.2),
            directory: Uuid::from_u128(ids.3),
            endpoints: lists.0,
            rack,
            cores,
            roles: Roles { broker: flags.0, controller: flags.1 },
            features: lists.1,
            was_clean: flags.2,
        },
    )
}

fn availability() -> impl Strategy<Value = Availability> {
    prop_oneof![
        Just(Availability::Fenced),
        Just(Availability::Active),
        Just(Availability::ControlledShutdown),
    ]
}

/// Records of brokers and features.
fn broker_record() -> impl Strategy<Value = MetadataRecord> {
    let id = || (0..i32::MAX).prop_map(BrokerId);
    let epoch = || any::<i64>().prop_map(BrokerEpoch);
    prop_oneof![
        registration().prop_map(|one| MetadataRecord::RegisterBroker(Arc::new(one))),
        (id(), epoch(), availability()).prop_map(|(id, epoch, availability)| {
            MetadataRecord::BrokerState { id, epoch, availability }
        }),
        (id(), epoch()).prop_map(|(id, epoch)| MetadataRecord::UnregisterBroker { id, epoch }),
        (".{0,9}", any::<i16>(), any::<i64>())
            .prop_map(|(name, level, epoch)| MetadataRecord::Feature { name, level, epoch }),
        (0..u64::MAX / 2).prop_map(|end| MetadataRecord::SnapshotEnd { end }),
    ]
}

pub(crate) fn record() -> impl Strategy<Value = MetadataRecord> {
    let resource = prop_oneof![
        topic_id().prop_map(ConfigResource::Topic),
        (0..i32::MAX).prop_map(|id| ConfigResource::Broker(BrokerId(id))),
        Just(ConfigResource::AllBrokers),
        ".{0,9}".prop_map(ConfigResource::Group),
    ];
    prop_oneof![
        any::<u128>().prop_map(|id| MetadataRecord::ClusterId(Uuid::from_u128(id))),
        (topic_id(), ".{0,20}").prop_map(|(id, name)| MetadataRecord::Topic { id, name }),
        (topic_id(), 0..i32::MAX, state()).prop_map(|(topic, partition, state)| {
            let id = TopicPartition { topic, partition: PartitionId(partition) };
            MetadataRecord::Partition { id, state }
        }),
        topic_id().prop_map(|id| MetadataRecord::RemoveTopic { id }),
        (resource, ".{0,9}", prop::option::of(".{0,9}"))
            .prop_map(|(resource, key, value)| MetadataRecord::Config { resource, key, value }),
        any::<i64>().prop_map(|id| MetadataRecord::ProducerIds { next: ProducerId(id) }),
        broker_record(),
    ]
}

proptest! {
    #[test]
    fn a_record_reads_back_as_it_was_written(record in record()) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(MetadataRecord::decode(&mut rest), Ok(record));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut rest = bytes.as_slice();
        if let Ok(record) = MetadataRecord::decode(&mut rest) {
            let mut again = Vec::new();
            record.encode(&mut again);
            prop_assert!(again.len() <= bytes.len() + HEADER_BYTES);
        }
    }

    #[test]
    fn a_cut_record_is_short(record in record(), cut in 0.0..1.0f64) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        // A share of a length has no other way to an index.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a length, neither negative nor longer"
        )]
        let keep = (bytes.len() as f64 * cut) as usize;
        let decoded = MetadataRecord::decode(&mut &bytes[..keep]);
        prop_assert!(matches!(decoded, Err(RecordError::Short { .. })), "{:?}", decoded);
    }
}

#[test]
fn a_kind_or_version_of_the_future_is_named() {
    let decoded = MetadataRecord::decode(&mut [99u8, 0, 0, 0, 0, 0].as_slice());
    assert_eq!(decoded, Err(RecordError::UnknownKind { kind: 99, version: 0 }));
    let decoded = MetadataRecord::decode(&mut [2u8, 7, 0, 0, 0, 0].as_slice());
    assert_eq!(decoded, Err(RecordError::UnknownKind { kind: 2, version: 7 }));
}

#[test]
fn a_count_of_four_billion_replicas_is_refused_before_anything_is_allocated() {
    let mut body = vec![0u8; 20];
    body.extend_from_slice(&u32::MAX.to_be_bytes());
    let mut bytes = vec![KIND_PARTITION, VERSION, 0, 0, 0, 24];
    bytes.extend_from_slice(&body);
    let decoded = MetadataRecord::decode(&mut bytes.as_slice());
    assert!(matches!(decoded, Err(RecordError::Short { .. })), "{decoded:?}");
}

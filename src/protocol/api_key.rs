//! The API keys of Apache Kafka 4.1, and ours: number, name, and the first flexible version.
//!
//! Why the flexible version sits here and not with the messages: the header of a request must be
//! read before it is known whether we have a message for it.

/// Numbers from here on are ours: Kafka counts up from 0, and refuses what it does not know by
/// closing the connection.
pub const OWN_KEYS_FROM: i16 = 20_000;

/// A `flexible_from` no version reaches.
pub const NEVER_FLEXIBLE: i16 = i16::MAX;

macro_rules! api_keys {
    ($( $name:ident = $number:literal, $flexible_from:expr; )*) => {
        /// One API of the Kafka protocol, served by us or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ApiKey {
            $( $name, )*
        }

        impl ApiKey {
            /// Every key, in the order of their numbers.
            pub const ALL: &'static [ApiKey] = &[ $( ApiKey::$name, )* ];

            /// The number that goes over the wire.
            pub const fn number(self) -> i16 {
                match self { $( ApiKey::$name => $number, )* }
            }

            /// The key of a number from the wire; `None` for keys removed in 4.0 or not yet known.
            pub const fn from_number(number: i16) -> Option<ApiKey> {
                match number {
                    $( $number => Some(ApiKey::$name), )*
                    _ => None,
                }
            }

            /// Kafka's name of the API, as in `Produce`.
            pub const fn name(self) -> &'static str {
                match self { $( ApiKey::$name => stringify!($name), )* }
            }

            /// First version with compact lengths and tagged fields (KIP-482), or
            /// [`NEVER_FLEXIBLE`].
            pub const fn flexible_from(self) -> i16 {
                match self { $( ApiKey::$name => $flexible_from, )* }
            }
        }
    };
}

api_keys! {
    Produce = 0, 9;
    Fetch = 1, 12;
    ListOffsets = 2, 6;
    Metadata = 3, 9;
    OffsetCommit = 8, 8;
    OffsetFetch = 9, 6;
    FindCoordinator = 10, 3;
    JoinGroup = 11, 6;
    Heartbeat = 12, 4;
    LeaveGroup = 13, 4;
    SyncGroup = 14, 4;
    DescribeGroups = 15, 5;
    ListGroups = 16, 3;
    SaslHandshake = 17, NEVER_FLEXIBLE;
    ApiVersions = 18, 3;
    CreateTopics = 19, 5;
    DeleteTopics = 20, 4;
    DeleteRecords = 21, 2;
    InitProducerId = 22, 2;
    OffsetForLeaderEpoch = 23, 4;
    AddPartitionsToTxn = 24, 3;
    AddOffsetsToTxn = 25, 3;
    EndTxn = 26, 3;
    WriteTxnMarkers = 27, 1;
    TxnOffsetCommit = 28, 3;
    DescribeAcls = 29, 2;
    CreateAcls = 30, 2;
    DeleteAcls = 31, 2;
    DescribeConfigs = 32, 4;
    AlterConfigs = 33, 2;
    AlterReplicaLogDirs = 34, 2;
    DescribeLogDirs = 35, 2;
    SaslAuthenticate = 36, 2;
    CreatePartitions = 37, 2;
    CreateDelegationToken = 38, 2;
    RenewDelegationToken = 39, 2;
    ExpireDelegationToken = 40, 2;
    DescribeDelegationToken = 41, 2;
    DeleteGroups = 42, 2;
    ElectLeaders = 43, 2;
    IncrementalAlterConfigs = 44, 1;
    AlterPartitionReassignments = 45, 0;
    ListPartitionReassignments = 46, 0;
    OffsetDelete = 47, NEVER_FLEXIBLE;
    DescribeClientQuotas = 48, 1;
    AlterClientQuotas = 49, 1;
    DescribeUserScramCredentials = 50, 0;
    AlterUserScramCredentials = 51, 0;
    Vote = 52, 0;
    BeginQuorumEpoch = 53, 1;
    EndQuorumEpoch = 54, 1;
    DescribeQuorum = 55, 0;
    AlterPartition = 56, 0;
    UpdateFeatures = 57, 0;
    Envelope = 58, 0;
    FetchSnapshot = 59, 0;
    DescribeCluster = 60, 0;
    DescribeProducers = 61, 0;
    BrokerRegistration = 62, 0;
    BrokerHeartbeat = 63, 0;
    UnregisterBroker = 64, 0;
    DescribeTransactions = 65, 0;
    ListTransactions = 66, 0;
    AllocateProducerIds = 67, 0;
    ConsumerGroupHeartbeat = 68, 0;
    ConsumerGroupDescribe = 69, 0;
    ControllerRegistration = 70, 0;
    GetTelemetrySubscriptions = 71, 0;
    PushTelemetry = 72, 0;
    AssignReplicasToDirs = 73, 0;
    ListConfigResources = 74, 0;
    DescribeTopicPartitions = 75, 0;
    ShareGroupHeartbeat = 76, 0;
    ShareGroupDescribe = 77, 0;
    ShareFetch = 78, 0;
    ShareAcknowledge = 79, 0;
    AddRaftVoter = 80, 0;
    RemoveRaftVoter = 81, 0;
    UpdateRaftVoter = 82, 0;
    InitializeShareGroupState = 83, 0;
    ReadShareGroupState = 84, 0;
    WriteShareGroupState = 85, 0;
    DeleteShareGroupState = 86, 0;
    ReadShareGroupStateSummary = 87, 0;
    StreamsGroupHeartbeat = 88, 0;
    StreamsGroupDescribe = 89, 0;
    DescribeShareGroupOffsets = 90, 0;
    AlterShareGroupOffsets = 91, 0;
    DeleteShareGroupOffsets = 92, 0;
    DescribeLatency = 20_000, 0;
    DescribeBrokers = 20_001, 0;
}

impl ApiKey {
    /// True for an API that Kafka does not have.
    pub const fn is_own(self) -> bool {
        self.number() >= OWN_KEYS_FROM
    }

    /// Whether `version` of this API uses compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Version of the header in front of a request: 2 when flexible, else 1.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header in front of a response: 1 when flexible, else 0.
    ///
    /// ApiVersions is always 0 (KIP-511): a client that does not yet know what the broker speaks
    /// must be able to read it.
    pub const fn response_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) && !matches!(self, ApiKey::ApiVersions) { 1 } else { 0 }
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_number() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::from_number(key.number()), Some(*key));
        }
    }

    #[test]
    fn keys_removed_in_kafka_4_are_unknown() {
        for number in 4..=7 {
            assert_eq!(ApiKey::from_number(number), None);
        }
    }

    #[test]
    fn an_api_versions_response_never_has_a_flexible_header() {
        for version in 0..=5 {
            assert_eq!(ApiKey::ApiVersions.response_header_version(version), 0);
        }
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
    }

    #[test]
    fn sasl_handshake_and_offset_delete_are_never_flexible() {
        assert!(!ApiKey::SaslHandshake.is_flexible(1));
        assert!(!ApiKey::OffsetDelete.is_flexible(0));
    }
}

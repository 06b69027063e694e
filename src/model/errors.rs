//! Kafka's error codes: the one table from which every answer takes its number.
//!
//! Why one table: an error number written by hand in a handler is a bug nobody sees in review.
//! Errors of our own modules convert to [`KafkaCode`]; only this file knows the numbers.
//!
//! Invariants
//! - Numbers and names are those of Apache Kafka 4.1; 133 is the highest.
//! - `retriable` means what Kafka's Java client does with it: retry without telling the
//!   application.

use std::fmt;

macro_rules! kafka_codes {
    ($( $number:literal $code:ident $name:literal $retriable:ident $message:literal; )*) => {
        /// One of Kafka's error codes. `None` is success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum KafkaCode {
            $( $code = $number, )*
        }

        impl KafkaCode {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [KafkaCode] = &[ $( KafkaCode::$code, )* ];

            /// The number that goes over the wire.
            pub const fn number(self) -> i16 {
                match self { $( KafkaCode::$code => $number, )* }
            }

            /// The code of a number from the wire; `None` for a number Kafka 4.1 does not define.
            pub const fn from_number(number: i16) -> Option<KafkaCode> {
                match number {
                    $( $number => Some(KafkaCode::$code), )*
                    _ => None,
                }
            }

            /// Kafka's own spelling, as in `UNKNOWN_TOPIC_OR_PARTITION`.
            pub const fn name(self) -> &'static str {
                match self { $( KafkaCode::$code => $name, )* }
            }

            /// Whether clients retry by themselves.
            pub const fn is_retriable(self) -> bool {
                match self { $( KafkaCode::$code => kafka_codes!(@ $retriable), )* }
            }

            /// One sentence for people, lower case, without a full stop.
            pub const fn message(self) -> &'static str {
                match self { $( KafkaCode::$code => $message, )* }
            }
        }
    };
    (@ retriable) => { true };
    (@ final) => { false };
}

kafka_codes! {
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR" final "the broker met an error it does not name";
    0 None "NONE" final "no error";
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE" final "the offset lies outside the partition's log";
    2 CorruptMessage "CORRUPT_MESSAGE" retriable
        "a batch is corrupt: its checksum, length or layout is wrong";
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" retriable
        "this broker does not host the topic partition";
    4 InvalidFetchSize "INVALID_FETCH_SIZE" final "the fetch size is invalid";
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE" retriable
        "the partition has no leader at the moment";
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" retriable
        "this broker is neither leader nor follower of the partition as the request needs";
    7 RequestTimedOut "REQUEST_TIMED_OUT" retriable "the request timed out";
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE" final "the broker is not available";
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" retriable "the replica is not available";
    10 MessageTooLarge "MESSAGE_TOO_LARGE" final
        "a batch is larger than the topic's max.message.bytes";
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH" final
        "the controller has moved to another broker";
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE" final
        "the offset metadata is larger than offset.metadata.max.bytes";
    13 NetworkException "NETWORK_EXCEPTION" retriable
        "the connection was lost before the response came";
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" retriable
        "the coordinator is still loading its state";
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" retriable
        "the coordinator is not available";
    16 NotCoordinator "NOT_COORDINATOR" retriable "this broker is not the coordinator asked for";
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION" final "the topic name is not legal here";
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE" final "the batches are larger than a segment";
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS" retriable
        "fewer replicas are in sync than min.insync.replicas asks for; nothing was appended";
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" retriable
        "appended, but fewer replicas are in sync than min.insync.replicas asks for";
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS" final "acks must be -1, 0 or 1";
    22 IllegalGeneration "ILLEGAL_GENERATION" final "the generation is not the group's current one";
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL" final
        "the member's protocols have nothing in common with those of the group";
    24 InvalidGroupId "INVALID_GROUP_ID" final "the group id is not legal";
    25 UnknownMemberId "UNKNOWN_MEMBER_ID" final "the coordinator does not know this member";
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT" final
        "the session timeout is outside the range the broker allows";
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS" final
        "the group is rebalancing: the member must join again";
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE" final "the offset commit is too large";
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED" final "not authorised for the topic";
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED" final "not authorised for the group";
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED" final
        "not authorised for the cluster";
    32 InvalidTimestamp "INVALID_TIMESTAMP" final
        "a timestamp is outside the range the topic allows";
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM" final
        "the SASL mechanism is not enabled";
    34 IllegalSaslState "ILLEGAL_SASL_STATE" final
        "the request does not fit the state of the SASL exchange";
    35 UnsupportedVersion "UNSUPPORTED_VERSION" final "the API version is not supported";
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS" final "a topic of this name exists already";
    37 InvalidPartitions "INVALID_PARTITIONS" final "the partition count is not legal";
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR" final
        "the replication factor is below 1 or above the number of brokers";
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT" final
        "the replica assignment is not legal";
    40 InvalidConfig "INVALID_CONFIG" final "a configuration key or value is not legal";
    41 NotController "NOT_CONTROLLER" retriable "this broker is not the controller";
    42 InvalidRequest "INVALID_REQUEST" final "the request contradicts itself or this API's rules";
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT" final
        "the record format is not supported by this request";
    44 PolicyViolation "POLICY_VIOLATION" final "a policy of the broker refuses the request";
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER" final
        "the producer's sequence number leaves a gap";
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER" final
        "the producer's sequence number was seen before";
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH" final
        "the producer epoch is older than the current one";
    48 InvalidTxnState "INVALID_TXN_STATE" final
        "the transaction's state does not allow this operation";
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING" final
        "the producer id does not belong to this transactional id";
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT" final
        "the transaction timeout is above transaction.max.timeout.ms";
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS" retriable
        "another operation on the same transaction is still going on";
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED" final
        "the sender is no longer this transaction's coordinator";
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" final
        "not authorised for the transactional id";
    54 SecurityDisabled "SECURITY_DISABLED" final "no authorizer is configured";
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED" final
        "not attempted, because another part of the request was refused";
    56 KafkaStorageError "KAFKA_STORAGE_ERROR" retriable
        "the disk that holds the partition gave an error";
    57 LogDirNotFound "LOG_DIR_NOT_FOUND" final "no such log directory on this broker";
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED" final
        "SASL authentication was refused";
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID" final
        "the broker holds no state for this producer id";
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS" final
        "a reassignment of the partition is in progress";
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED" final
        "delegation tokens are not enabled";
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND" final "no such delegation token";
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH" final
        "the principal is neither owner nor renewer of the delegation token";
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" final
        "delegation tokens are not allowed on this connection";
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED" final
        "not authorised for the delegation token";
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED" final "the delegation token has expired";
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE" final "the principal type is not supported";
    68 NonEmptyGroup "NON_EMPTY_GROUP" final "the group still has members";
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND" final "no such group";
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" retriable "no such fetch session";
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" retriable
        "the fetch session's epoch is not the expected one";
    72 ListenerNotFound "LISTENER_NOT_FOUND" retriable
        "the leader has no listener of the name this connection uses";
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED" final "delete.topic.enable is off";
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH" retriable
        "the leader epoch is older than the broker's";
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" retriable
        "the leader epoch is newer than the broker's";
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE" final
        "the client does not support the partition's compression";
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH" final "the broker epoch is stale";
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE" retriable
        "the new leader's high watermark is not established yet";
    79 MemberIdRequired "MEMBER_ID_REQUIRED" final
        "the member must join again with the member id it was given";
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" retriable
        "the preferred leader is not available";
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED" final "the group has reached its maximum size";
    82 FencedInstanceId "FENCED_INSTANCE_ID" final
        "another member with the same group instance id took this one's place";
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" retriable
        "no eligible leader is available";
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED" retriable "the partition needs no election";
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS" final
        "no reassignment of the partition is in progress";
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC" final
        "the group is subscribed to the topic";
    87 InvalidRecord "INVALID_RECORD" final "a record failed the broker's validation";
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" retriable
        "offsets of an open transaction are pending";
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" retriable "a quota is exceeded";
    90 ProducerFenced "PRODUCER_FENCED" final
        "a newer producer with the same transactional id fenced this one";
    91 ResourceNotFound "RESOURCE_NOT_FOUND" final "no such resource";
    92 DuplicateResource "DUPLICATE_RESOURCE" final "the request names a resource twice";
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL" final
        "the credential does not meet the rules";
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET" final
        "sender or receiver is not among the expected voters";
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION" final "the feature's version is not legal";
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED" final "the feature could not be updated";
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE" final
        "a forwarded principal could not be read";
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND" final "no such snapshot";
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE" final "the position lies outside the snapshot";
    100 UnknownTopicId "UNKNOWN_TOPIC_ID" retriable "this broker does not know the topic id";
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION" final "the broker id is in use";
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED" final "the broker id is not registered";
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID" retriable "the topic id differs from the log's";
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID" final
        "the cluster id differs from this cluster's";
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND" final "no such transactional id";
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" retriable
        "the fetch session mixes topic ids and names";
    107 IneligibleReplica "INELIGIBLE_REPLICA" final
        "a replica of the new in-sync set is not eligible";
    108 NewLeaderElected "NEW_LEADER_ELECTED" final
        "the in-sync set was changed and a new leader elected";
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE" final
        "the offset has moved to tiered storage";
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH" final
        "the member epoch is fenced: the member must give up its partitions and join again";
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID" final
        "another member still holds the group instance id";
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR" final "the group does not support the assignor";
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH" final
        "the member epoch is stale: heartbeat first, then retry";
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE" final
        "the request went to the wrong type of endpoint";
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE" final
        "the type of endpoint is not supported";
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID" final "no such controller";
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID" final
        "the telemetry subscription is unknown or outdated";
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE" final
        "the telemetry is larger than the broker accepts";
    119 InvalidRegistration "INVALID_REGISTRATION" final
        "the controller refuses this broker's registration";
    120 TransactionAbortable "TRANSACTION_ABORTABLE" final
        "the transaction must be aborted; the producer may then go on";
    121 InvalidRecordState "INVALID_RECORD_STATE" final
        "the record's delivery state does not allow this acknowledgement";
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" retriable "no such share session";
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" retriable
        "the share session's epoch is not the expected one";
    124 FencedStateEpoch "FENCED_STATE_EPOCH" final "the share group's state epoch does not match";
    125 InvalidVoterKey "INVALID_VOTER_KEY" final "the voter's key does not match this replica's";
    126 DuplicateVoter "DUPLICATE_VOTER" final "the voter is in the set already";
    127 VoterNotFound "VOTER_NOT_FOUND" final "no such voter";
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION" final
        "the regular expression is not legal";
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED" final
        "the client's metadata is stale: it must bootstrap again";
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY" final "the topology is not legal";
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH" final
        "the topology's epoch is not legal";
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED" final "the topology's epoch is outdated";
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" retriable
        "the broker holds as many share sessions as it may";
}

impl KafkaCode {
    /// Whether this is `NONE`.
    pub const fn is_none(self) -> bool {
        matches!(self, KafkaCode::None)
    }
}

impl From<KafkaCode> for i16 {
    fn from(code: KafkaCode) -> i16 {
        code.number()
    }
}

impl fmt::Display for KafkaCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({}): {}", self.name(), self.number(), self.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_from_minus_one_to_133_has_one_code() {
        let numbers: Vec<i16> = KafkaCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, (-1..=133).collect::<Vec<i16>>());
        for code in KafkaCode::ALL {
            assert_eq!(KafkaCode::from_number(code.number()), Some(*code));
        }
    }

    #[test]
    fn numbers_kafka_does_not_define_are_none() {
        assert_eq!(KafkaCode::from_number(-2), None);
        assert_eq!(KafkaCode::from_number(134), None);
    }

    #[test]
    fn clients_retry_a_moved_leader_but_not_a_bad_request() {
        assert!(KafkaCode::NotLeaderOrFollower.is_retriable());
        assert!(!KafkaCode::InvalidRequest.is_retriable());
    }

    #[test]
    fn the_text_names_code_number_and_meaning() {
        assert_eq!(
            KafkaCode::UnknownTopicId.to_string(),
            "UNKNOWN_TOPIC_ID (100): this broker does not know the topic id"
        );
    }
}

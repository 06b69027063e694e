//! Every bound of the product, and the relations between them.
//!
//! Reaching a bound is an answer to the client, never a surprise.

/// Largest request frame in bytes (`socket.request.max.bytes`); a longer one closes the connection.
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// What one socket read asks for, in bytes.
pub const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Parked answers of one connection; further frames wait in the socket.
pub const CONNECTION_PARKED_MAX: usize = 256;

/// How long a stopping broker waits for answers under way, in milliseconds.
pub const STOP_ANSWERS_MS: u64 = 5000;

/// Connections of one shard.
pub const CONNECTIONS_MAX: usize = 20_000;

/// Bytes of answers that may wait for a client's socket before its reading rests.
pub const CONNECTION_UNSENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Shards of one broker: the top of what `highwater.cores` may say.
pub const CORES_MAX: i64 = 1024;

/// How far apart the ids lie under which clients see the cores of one broker, where each core has a
/// port of its own (`highwater.listeners.per.core`); `node.id` is below it then.
pub const CORE_ID_STRIDE: i32 = 1_000_000;
const _: () = assert!(CORES_MAX < (i32::MAX / CORE_ID_STRIDE) as i64);

/// One Produce or Fetch in so many is timed stage by stage on each core.
pub const STAGE_SAMPLE_EVERY: u32 = 16;

/// How long a core of `highwater.profile=latency` looks for work before it sleeps, in milliseconds;
/// longer than the pause between two ticks of an idle core, so that it never does.
pub const SPIN_BEFORE_PARK_MS: u64 = 1000;

/// Messages that may wait from one core to another.
pub const MESH_QUEUE_LEN: usize = 4096;

/// Batches of one push to a follower, in bytes; a single batch may be larger.
pub const PUSH_BYTES_MAX: usize = 1024 * 1024;

/// Bytes pushed to one follower of one partition that it has not taken yet; it gets no more then.
pub const PUSH_BYTES_IN_FLIGHT_MAX: usize = 4 * 1024 * 1024;
const _: () = assert!(PUSH_BYTES_MAX <= PUSH_BYTES_IN_FLIGHT_MAX);

/// How long a follower waits for the answer to its Open before it asks again, in milliseconds.
pub const REPLICA_OPEN_RETRY_MS: u64 = 250;

/// Attempts that a follower makes at the next tick, without that pause, while its leader has not
/// heard that it leads.
pub const REPLICA_EARLY_OPENS: u32 = 5;

/// How long a leader waits for any progress of what it pushed before it has the follower open
/// anew, in milliseconds.
pub const PUSH_SILENCE_MS: u64 = 3000;

/// Pause before a change of the in-sync replicas that was refused is proposed again, in
/// milliseconds.
pub const ISR_PROPOSAL_RETRY_MS: u64 = 500;

/// Replicas of one partition.
pub const REPLICAS_MAX: usize = 64;

/// Largest offset that another broker's replica may name: appends go on from what it names, and the
/// wire ends at `i64::MAX`. A million records a second reach it in 146,000 years.
pub const REPLICA_OFFSET_MAX: u64 = 1 << 62;

/// Listeners that a broker may register.
pub const BROKER_LISTENERS_MAX: usize = 64;

/// Features that a broker may register.
pub const BROKER_FEATURES_MAX: usize = 256;

/// Bytes of one name in a broker's registration: of a listener, a host, a rack or a feature.
pub const BROKER_TEXT_BYTES_MAX: usize = 255;

/// Partitions of the whole broker.
pub const PARTITIONS_MAX: usize = 200_000;

/// Partitions that one CreateTopics or CreatePartitions may ask for.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

/// Largest frame of the metadata log in bytes: one decision's records.
pub const METADATA_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Longest value of a configuration key in bytes: a list of the throttled replicas of a topic of
/// 40,000 partitions, each with three.
pub const CONFIG_VALUE_BYTES_MAX: usize = 1024 * 1024;

/// What all configurations of a cluster take together in bytes of a snapshot, which has room for
/// those of `PARTITIONS_MAX` partitions beside them.
pub const CONFIG_BYTES_MAX: usize = 32 * 1024 * 1024;
const _: () = assert!(2 * CONFIG_BYTES_MAX < METADATA_SNAPSHOT_BYTES_MAX);

/// Largest snapshot of the metadata in bytes; it travels as one message.
pub const METADATA_SNAPSHOT_BYTES_MAX: usize = 80 * 1024 * 1024;
const _: () = assert!(METADATA_SNAPSHOT_BYTES_MAX < FRAME_BYTES_MAX);

/// Records of one frame of a snapshot.
pub const SNAPSHOT_FRAME_RECORDS: usize = 1024;

/// Voters and learners of the metadata quorum: the brokers of a cluster.
pub const QUORUM_MEMBERS_MAX: usize = 200;

/// The quorum's unit of time, in milliseconds.
pub const QUORUM_TICK_MS: u64 = 50;

/// Ticks between two heartbeats of a leader.
pub const QUORUM_HEARTBEAT_TICKS: usize = 4;

/// Ticks without a leader after which a voter asks for votes; up to twice as many, by chance.
pub const QUORUM_ELECTION_TICKS: usize = 20;
const _: () = assert!(QUORUM_HEARTBEAT_TICKS * 3 < QUORUM_ELECTION_TICKS);

/// Time between two voters' early campaigns, by their order, in milliseconds: when the leader's
/// process has ended, nobody waits for the ticks above, and no two ask at once.
pub const QUORUM_STAGGER_MS: u64 = 60;

/// Early campaigns of one voter, before it goes by ticks again.
pub const QUORUM_EARLY_CAMPAIGNS: u32 = 6;

/// Entries of the quorum's log that an observer may lack when it is given a vote.
pub const VOTER_LAG_MAX: u64 = 64;

/// Silence after which a member of the quorum does not count when voters change, in milliseconds.
pub const VOTER_SILENCE_MS: i64 = 2000;

/// Pause between two looks at whether a change of voters can be made or has been, in milliseconds.
pub const VOTER_RETRY_MS: u64 = 20;

/// How long a voter's removal may take, in milliseconds; a request to add one says by itself.
pub const VOTER_REMOVAL_MS: u64 = 10_000;

/// Pause between two brokers that are asked who the active controller is, in milliseconds.
pub const LOOKUP_MS: u64 = 500;

/// Ticks after which a snapshot that was sent and not acknowledged is sent again.
pub const QUORUM_SNAPSHOT_TICKS: u32 = 200;

/// Bytes of entries in one message of the quorum; a larger entry travels alone.
pub const QUORUM_APPEND_BYTES: u64 = 1024 * 1024;

/// Messages with entries that may be on their way to one member.
pub const QUORUM_APPENDS_UNANSWERED: usize = 64;

/// Bytes of decisions that may wait for a majority.
pub const QUORUM_UNCOMMITTED_BYTES: u64 = 256 * 1024 * 1024;
const _: () = assert!(QUORUM_UNCOMMITTED_BYTES > METADATA_FRAME_BYTES_MAX as u64);

/// Bytes of committed entries that are applied in one go.
pub const QUORUM_READY_BYTES: u64 = 16 * 1024 * 1024;

/// Quiet time after which the commit index is written down by itself, in milliseconds.
pub const QUORUM_COMMIT_WRITE_MS: u64 = 1000;

/// Pause before a member of the quorum whose disk is full looks for room again, in milliseconds.
pub const QUORUM_ROOM_RETRY_MS: u64 = 500;

/// The same of a log that is being cut.
pub const CUT_ROOM_RETRY_MS: u64 = 500;

/// Entries after which the metadata is written as a snapshot.
pub const QUORUM_SNAPSHOT_ENTRIES: u64 = 10_000;

/// Bytes of the quorum's log after which the metadata is written as a snapshot.
pub const QUORUM_SNAPSHOT_BYTES: u64 = 32 * 1024 * 1024;

/// Entries of the quorum's log that stay for slow members when a snapshot covers them.
pub const QUORUM_ENTRIES_KEPT: u64 = 1000;

/// Producer ids that a core takes from the controller at a time (KIP-730).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Length of a topic name in bytes, as Kafka has it.
pub const TOPIC_NAME_LEN_MAX: usize = 249;

/// Size of one journal file in bytes; the journal recycles a few of them. Small enough to be made
/// in a moment at the first start.
pub const JOURNAL_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// Journal files of one core. All full means produce waits for the segment writer.
pub const JOURNAL_FILES_MAX: usize = 4;

/// Bytes after which one journal write takes no further partition.
pub const JOURNAL_WRITE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Recent batches that a shard keeps in memory for reads, in bytes.
pub const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes appended but not yet written that a shard accepts before it stops reading sockets.
pub const UNWRITTEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Batches up to this size are copied out of the receive buffer, so that they do not pin it.
pub const BATCH_COPY_BYTES_MAX: usize = 16 * 1024;

/// A partition's pending bytes from here on go straight to its segment (docs/decisions/001).
pub const DIRECT_APPEND_BYTES_MIN: usize = 512 * 1024;

/// The same for a partition whose writes are twice as large on average: what is pending right after
/// an answer does not tell what comes (docs/decisions/015).
pub const DIRECT_AGAIN_BYTES_MIN: usize = 96 * 1024;

/// Writes to growing files from here on go around the page cache, in bytes.
pub const DIRECT_WRITE_BYTES_MIN: usize = 64 * 1024;

/// Locked memory without which the executor does not start, in bytes.
pub const HOST_MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Descriptors below which a broker is of no use: some segments, some connections.
pub const HOST_FILES_MIN: u64 = 256;

/// Stored bytes from here on go to the socket without passing through our memory.
pub const LEND_BYTES_MIN: usize = 64 * 1024;

/// Bytes of a segment that are asked for before a reader that goes on asks for them.
pub const READ_AHEAD_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Read-aheads that a core has under way; beyond it a reader waits for the disk itself.
pub const READ_AHEADS_MAX: usize = 32;

/// Read buffers that a core keeps to use again.
pub const READ_BUFFERS_MAX: usize = 32;

/// Largest read buffer that is kept, in bytes.
pub const READ_BUFFER_KEPT_BYTES: usize = 2 * 1024 * 1024;

/// Room held back in the data directory and released when the file system is full, in bytes.
pub const RESERVE_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Groups with settings of their own (resource type GROUP).
pub const GROUP_CONFIGS_MAX: usize = 10_000;

/// Records of one refused batch that its answer names; Kafka names all of them (KIP-467).
pub const RECORD_ERRORS_MAX: usize = 32;
/// Records of refused batches that one Produce answer names.
pub const RECORD_ERRORS_PER_ANSWER_MAX: usize = 1024;
const _: () = assert!(RECORD_ERRORS_MAX <= RECORD_ERRORS_PER_ANSWER_MAX);

/// Batches remembered per producer and partition to recognise duplicates (KIP-98).
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Fetch sessions of one shard, whatever `max.incremental.fetch.session.cache.slots` says.
pub const FETCH_SESSIONS_MAX: usize = 10_000;

/// Output of one decompression in bytes; more is refused as corrupt.
pub const DECOMPRESSED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Groups of one coordinator partition.
pub const GROUPS_MAX: usize = 100_000;

/// Members of one group, those counted that were given an id and have not joined with it yet.
pub const GROUP_MEMBERS_MAX: usize = 10_000;

/// Members of one share group: the top of what `group.share.max.size` may say.
pub const SHARE_GROUP_MEMBERS_MAX: usize = 1_000;

/// How long a share group waits for the share coordinator before it tells it of a partition again,
/// in milliseconds (Kafka: twice `offsets.commit.timeout.ms`).
pub const SHARE_INITIALIZE_RETRY_MS: i64 = 10_000;

/// Partitions of a share group that the share coordinator is asked about at a time.
pub const SHARE_STATES_AT_ONCE: usize = 64;

/// Rebalances of a group whose reasons are kept.
pub const GROUP_REBALANCES_KEPT: usize = 10;

/// Rounds in which an assignor evens out members with different subscriptions.
pub const ASSIGNOR_PASSES_MAX: usize = 16;

/// Length in bytes of a client's regular expression.
pub const REGEX_BYTES_MAX: usize = 4096;

/// Memory in bytes that a compiled regular expression may take.
pub const REGEX_COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// Length in bytes of each text that a group record keeps: ids, client id, protocol names.
pub const GROUP_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of records that a coordinator puts into one batch; a longer step takes several batches.
pub const COORDINATOR_BATCH_BYTES: usize = 512 * 1024;

/// Bytes that one read of a coordinator's replay asks for.
pub const COORDINATOR_LOAD_BYTES: usize = 1024 * 1024;

/// Transactional ids of one coordinator partition.
pub const TRANSACTIONAL_IDS_MAX: usize = 100_000;

/// Length of a transactional id in bytes.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = 16 * 1024;

/// Transactional ids whose deadlines a coordinator looks at in one turn.
pub const TRANSACTIONS_WOKEN_PER_TURN: usize = 64;

/// Pause before markers that could not be written are tried again, in milliseconds.
pub const TRANSACTION_MARKERS_RETRY_MS: u64 = 100;

/// Share partitions whose state one coordinator keeps.
pub const SHARE_STATES_MAX: usize = 100_000;

/// Pause between two looks whether a share coordinator's log is worth a checkpoint, in
/// milliseconds (Kafka's prune interval).
pub const SHARE_CHECKPOINT_INTERVAL_MS: u64 = 300_000;

/// Records of a share coordinator's log that make a checkpoint worth it.
pub const SHARE_CHECKPOINT_RECORDS_MIN: usize = 10_000;

/// Records of one share partition between its start and its end, whatever
/// `group.share.partition.max.record.locks` says: what one state record can describe, one by one.
pub const SHARE_IN_FLIGHT_MAX: usize = 32_768;

/// Share partitions in use on one core; one that nobody holds records of makes room.
pub const SHARE_PARTITIONS_MAX: usize = 20_000;

/// Partitions of one share session.
pub const SHARE_SESSION_PARTITIONS_MAX: usize = 20_000;

/// Reads of one partition that a share fetch tries where nobody gets what it finds.
pub const SHARE_READS_PER_CALL: usize = 16;

/// Records that one share fetch may acquire, whatever it asks for.
pub const SHARE_FETCH_RECORDS_MAX: usize = SHARE_IN_FLIGHT_MAX;

/// How long those who wait for records of a share partition leave the first look to the one who has
/// waited longest, in milliseconds: some way to another core and back on a busy host.
pub const SHARE_TURN_MS: u64 = 10;

/// Pause before a share partition's state that could not be written is written again, in
/// milliseconds.
pub const SHARE_WRITE_RETRY_MS: u64 = 100;

/// How long a share partition's state is asked for while its coordinator is being loaded, moves or
/// is not reached, in milliseconds.
pub const SHARE_STATE_WAIT_MS: u64 = 5000;

/// The same where a member's fetch waits for it, in milliseconds; it tries again when that is over.
pub const SHARE_OPEN_WAIT_MS: u64 = 500;

/// First pause before a share coordinator that is being loaded is asked again, in milliseconds;
/// each further one is twice as long.
pub const SHARE_STATE_PAUSE_MS_MIN: u64 = 5;

/// Longest of these pauses, in milliseconds.
pub const SHARE_STATE_PAUSE_MS_MAX: u64 = 100;

/// Groups whose deadlines a coordinator looks at in one turn.
pub const GROUPS_WOKEN_PER_TURN: usize = 64;

/// Groups that the search for expired offsets looks at in one turn.
pub const GROUPS_SWEPT_PER_TURN: usize = 64;

const _: () = assert!(2 * (JOURNAL_WRITE_BYTES_MAX as u64) < JOURNAL_FILE_BYTES);
const _: () = assert!(DIRECT_APPEND_BYTES_MIN < JOURNAL_WRITE_BYTES_MAX);
const _: () = assert!(2 * DIRECT_AGAIN_BYTES_MIN < DIRECT_APPEND_BYTES_MIN);
const _: () = assert!(UNWRITTEN_BYTES_MAX <= TAIL_BYTES_MAX);

/// Background drains of one core that run side by side.
pub const DRAINS_AT_ONCE: usize = 16;

/// Background drains that run side by side however much they write.
pub const DRAINS_AT_ONCE_MIN: usize = 2;

/// Bytes that background drains write at the same time, from where on no further one is begun while
/// the journal has a spare file: its syncs wait behind them in the device's queue
/// (docs/decisions/017).
pub const DRAINING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one partition in memory, but not in its segment, that make a background drain worth it.
pub const DRAIN_BYTES_MIN: usize = 1024 * 1024;

/// Segment bytes of one core, written without a sync, after which everything is synced in the
/// background, so that a start after a crash has no more to read.
pub const UNSYNCED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Segment bytes of one core, synced or read by a start, after which recovery points are written
/// anew, so that of what is synced the next start reads no more than the journal's size.
pub const UNPOINTED_BYTES_MAX: u64 = 64 * 1024 * 1024;
const _: () = assert!(UNPOINTED_BYTES_MAX <= JOURNAL_FILE_BYTES * JOURNAL_FILES_MAX as u64);

/// Longest time from a start to the first look for segments to drop, in milliseconds (Kafka's
/// initial task delay).
pub const RETENTION_DELAY_MS: u64 = 30_000;

/// Smallest key map of a compactor, in bytes: a smaller setting counts as this.
pub const KEY_MAP_BYTES_MIN: usize = 64 * 1024;

/// Bytes that a compactor reads before it lets others run.
pub const CLEANER_BITE_BYTES: usize = 256 * 1024;

/// Shortest pause of a compactor, in milliseconds.
pub const CLEANER_PAUSE_MS_MIN: u64 = 5;

/// Bytes of a compactor's output after which they are synced, so that no sync is long.
pub const CLEANER_SYNC_BYTES: u64 = 8 * 1024 * 1024;

/// Bytes that one fetch may return, whatever it asks for (`fetch.max.bytes`).
pub const FETCH_BYTES_MAX: usize = 55 * 1024 * 1024;
// A string in a record has an i16 for its length; a member id is a client id and a little more.
const _: () = assert!(GROUP_TEXT_BYTES_MAX * 2 <= i16::MAX as usize + 1);

/// Pause between two rounds of housekeeping on one core, in milliseconds.
pub const HOUSEKEEPING_INTERVAL_MS: u64 = 1000;

/// Free space on the data directory's file system below which produce is refused, in bytes. Covers
/// what is appended, but not yet in segments.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

const _: () = assert!(RESERVE_BYTES >= TAIL_BYTES_MAX as u64);

/// Parked produces that a core keeps for the next requests.
pub const PRODUCE_POOL_MAX: usize = 1024;

/// How long a batch waits for its transaction's coordinator to say whether it may be appended, in
/// milliseconds; the client is asked to send it again after that.
pub const VERIFICATION_MS_MAX: u64 = 1000;

/// Pause before a coordinator that could not tell is asked again, in milliseconds.
pub const VERIFICATION_PAUSE_MS: u64 = 2;

/// Calls to one broker that a core has under way at a time; each has a connection of its own.
pub const PEER_CALLS_MAX: usize = 16;

/// How long a connection to another broker may take to be made and welcomed, in milliseconds.
pub const PEER_CONNECT_MS: u64 = 3000;

/// Bytes that wait for a connection to another broker to come up.
pub const PEER_QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that a connection to another broker has accepted and its socket has not; beyond it the
/// connection is given up, because the other side has stopped reading.
pub const PEER_UNSENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Shortest pause before a broker that was not reached is tried again, in milliseconds; it doubles
/// with each failure.
pub const PEER_RETRY_MS_MIN: u64 = 50;

/// Longest pause before a broker that was not reached is tried again, in milliseconds.
pub const PEER_RETRY_MS_MAX: u64 = 1000;

/// Connections in a row that a broker's host must refuse, after one that was up was closed, before
/// the broker's process counts as ended.
pub const PEER_REFUSALS_GONE: u32 = 4;

/// Pause between two such attempts, in milliseconds.
pub const PEER_PROBE_MS: u64 = 40;

/// Attempts after which a broker whose host neither refuses nor welcomes is no more looked at.
pub const PEER_PROBES_MAX: u32 = 50;
const _: () = assert!(PEER_PROBES_MAX > PEER_REFUSALS_GONE);

/// Refusals of other brokers that are remembered, so that each is logged once.
pub const PEER_REFUSALS_MAX: usize = 64;

/// Pause between two looks at what replicas wait for, in milliseconds.
pub const REPLICA_TICK_MS: u64 = 50;

/// Pause between two looks at where replicas begin after records were deleted, in milliseconds.
pub const DELETION_LOOK_MS: u64 = 5;

/// Leaders that one round of balancing moves.
pub const ELECTIONS_PER_ROUND_MAX: usize = 1000;

/// Partitions whose in-sync sets one request to the controller changes at most.
pub const ISR_PROPOSALS_MAX: usize = 1000;

/// Pause before a broker that is not in use yet asks the controller again, in milliseconds.
pub const JOIN_RETRY_MS: u64 = 50;

/// Pause between two looks of the active controller at who is silent, in milliseconds.
pub const CONTROLLER_TICK_MS: u64 = 100;

/// How long a broker that stops waits for others to lead what it leads, in milliseconds.
pub const LEAVE_MS_MAX: u64 = 10_000;

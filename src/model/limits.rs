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

/// Messages that may wait from one core to another.
pub const MESH_QUEUE_LEN: usize = 4096;

/// Partitions of the whole broker.
pub const PARTITIONS_MAX: usize = 200_000;

/// Partitions that one CreateTopics or CreatePartitions may ask for.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

/// Largest frame of the metadata log in bytes: one decision's records.
pub const METADATA_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

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

/// Writes to growing files from here on go around the page cache, in bytes.
pub const DIRECT_WRITE_BYTES_MIN: usize = 64 * 1024;

/// Locked memory without which the executor does not start, in bytes.
pub const HOST_MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Descriptors below which a broker is of no use: some segments, some connections.
pub const HOST_FILES_MIN: u64 = 256;

/// Stored bytes from here on go to the socket without passing through our memory.
pub const LEND_BYTES_MIN: usize = 64 * 1024;

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

/// Pause before a share partition's state that could not be written is written again, in
/// milliseconds.
pub const SHARE_WRITE_RETRY_MS: u64 = 100;

/// How long a share partition's state is asked for while its coordinator is being loaded, in
/// milliseconds.
pub const SHARE_STATE_WAIT_MS: u64 = 5000;

/// Pause before a share coordinator that is being loaded is asked again, in milliseconds.
pub const SHARE_STATE_PAUSE_MS: u64 = 5;

/// Groups whose deadlines a coordinator looks at in one turn.
pub const GROUPS_WOKEN_PER_TURN: usize = 64;

/// Groups that the search for expired offsets looks at in one turn.
pub const GROUPS_SWEPT_PER_TURN: usize = 64;

const _: () = assert!(2 * (JOURNAL_WRITE_BYTES_MAX as u64) < JOURNAL_FILE_BYTES);
const _: () = assert!(DIRECT_APPEND_BYTES_MIN < JOURNAL_WRITE_BYTES_MAX);
const _: () = assert!(UNWRITTEN_BYTES_MAX <= TAIL_BYTES_MAX);

/// Background drains of one core that run side by side.
pub const DRAINS_AT_ONCE: usize = 16;

/// Bytes of one partition in memory, but not in its segment, that make a background drain worth it.
pub const DRAIN_BYTES_MIN: usize = 1024 * 1024;

/// Segment bytes written without a sync after which one is made anyway, so recovery stays bounded.
pub const SEGMENT_UNSYNCED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Segment bytes of one core, synced or read by a start, after which recovery points are written
/// anew, so that the next start reads no more than the journal's size.
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

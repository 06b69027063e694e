//! Counters of one core, plain integers: one writer, read by snapshot.

/// What one core has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub connections_opened: u64,
    pub connections_refused: u64,
    pub frames: u64,
    pub frames_refused: u64,
    pub reads_paused: u64,
    /// Frames of other brokers for this core.
    pub peer_frames: u64,
    /// Rounds of compaction completed.
    pub rounds_compacted: u64,
    /// Replicas in which somebody who read found damage.
    pub damaged_replicas: u64,
}

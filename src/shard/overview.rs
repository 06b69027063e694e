//! What a broker tells whoever watches it: counts of every core, and of the metadata that it knows.
//!
//! Gathered when somebody asks. A core answers from what it keeps anyway, so that watching costs
//! nothing between two looks.

use crate::controller::image::MetadataImage;
use crate::model::ids::{BrokerId, CoreId};
use crate::shard::questions::{Question, Reply, ask, stages_of_all};
use crate::shard::replicas::Role;
use crate::shard::shard::{Shard, ShardRef, WriteState};
use crate::shard::stages::StageSnapshot;
use crate::shard::stats::Stats;
use crate::storage::disk::Disk;
use futures::future::join_all;

/// A broker at one moment, or nearly: each core tells its own.
#[derive(Debug, Clone)]
pub struct Overview {
    pub broker: BrokerId,
    /// In the order of the cores.
    pub cores: Vec<CoreOverview>,
    pub metadata: MetadataOverview,
}

/// One core.
#[derive(Debug, Clone)]
pub struct CoreOverview {
    pub counts: CoreCounts,
    pub stages: StageSnapshot,
}

/// What a core has now, and what it has counted since the start.
#[derive(Debug, Clone)]
pub struct CoreCounts {
    pub connections: usize,
    /// Replicas that the core owns.
    pub replicas: usize,
    /// Of these, those that lead.
    pub leaders: usize,
    /// Replicas that could not be opened, or were found damaged and are being fetched anew.
    pub offline_replicas: usize,
    /// Appended and not yet handed to the kernel, in bytes.
    pub unwritten_bytes: usize,
    pub write_state: WriteState,
    pub stats: Stats,
}

/// Of the cluster's metadata, as this broker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetadataOverview {
    /// Records applied.
    pub end: u64,
    pub topics: usize,
    pub partitions: usize,
    /// Partitions of the cluster that nobody leads.
    pub leaderless: usize,
    /// Partitions led by this broker of which not every replica is in sync.
    pub under_replicated: usize,
}

impl MetadataOverview {
    /// Counts what an image holds.
    pub fn of(image: &MetadataImage) -> MetadataOverview {
        let mut overview = MetadataOverview {
            end: image.end(),
            topics: image.topic_count(),
            partitions: image.partition_count(),
            ..MetadataOverview::default()
        };
        for (_, partition) in image.topics().flat_map(|topic| topic.partitions()) {
            let state = &partition.state;
            overview.leaderless += usize::from(state.leader.is_none());
            let is_led_here = state.leader == Some(image.local());
            let is_short = state.isr.len() < state.replicas.len();
            overview.under_replicated += usize::from(is_led_here && is_short);
        }
        overview
    }
}

impl<D: Disk> Shard<D> {
    /// This core's counts.
    pub fn counts(&self) -> CoreCounts {
        let leads = |role: &Role| matches!(role, Role::Leader(_));
        CoreCounts {
            connections: self.connection_count(),
            replicas: self.partitions.len() + self.offline_partitions.len(),
            leaders: self.partitions.iter().filter(|(_, it)| leads(&it.role)).count(),
            offline_replicas: self.offline_partitions.len(),
            unwritten_bytes: self.commit.unwritten_bytes,
            write_state: self.write_state,
            stats: self.stats,
        }
    }
}

/// Asks every core.
pub async fn overview<D: Disk>(shard: &ShardRef<D>) -> Overview {
    let cores = shard.borrow().cores;
    let asks = (0..cores).map(|core| ask(shard, CoreId(core), Question::Counts));
    let counts = join_all(asks).await.into_iter().map(|reply| match reply {
        Reply::Counts(counts) => *counts,
        other => unreachable!("counts are answered by counts, not by {other:?}"),
    });
    let stages = stages_of_all(shard).await;
    let cores = counts.zip(stages).map(|(counts, stages)| CoreOverview { counts, stages });
    let cores = cores.collect();
    let shard = shard.borrow();
    Overview { broker: shard.config.node_id, cores, metadata: MetadataOverview::of(&shard.image) }
}

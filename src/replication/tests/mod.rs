//! Tests of replication: the codec, each side by itself, and three replicas with a controller.

mod cluster;
mod codec;
mod following;
mod leading;
mod promises;

use crate::model::clock::Now;
use crate::model::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset};
use crate::replication::LogView;
use crate::replication::leader::{PartitionState, Replica};

fn at_ms(ms: u64) -> Now {
    Now { monotonic_us: ms * 1000, wall_ms: 0 }
}

fn offset(value: u64) -> Offset {
    Offset::new(value)
}

/// A log by the start of each of its epochs, and its end.
struct Epochs {
    starts: Vec<(i32, u64)>,
    log_start: u64,
    log_end: u64,
}

impl Epochs {
    fn new(starts: &[(i32, u64)], log_end: u64) -> Epochs {
        Epochs { starts: starts.to_vec(), log_start: 0, log_end }
    }

    fn end_of(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        if self.starts.last().is_none_or(|last| epoch.0 > last.0) {
            return None;
        }
        let after = self.starts.partition_point(|start| start.0 <= epoch.0);
        let end = self.starts.get(after).map_or(self.log_end, |next| next.1);
        let found = self.starts[..after].last().map_or(epoch.0, |found| found.0);
        Some((LeaderEpoch(found), offset(end)))
    }

    /// Calls `use_view` with what a replica says of this log.
    fn view<T>(&self, use_view: impl FnOnce(&LogView<'_>) -> T) -> T {
        use_view(&LogView {
            log_start: offset(self.log_start),
            log_end: offset(self.log_end),
            last_epoch: self.starts.last().map(|start| LeaderEpoch(start.0)),
            end_of_epoch: &|epoch| self.end_of(epoch),
        })
    }
}

/// Replicas 1 to `replicas`, registered at epoch 100 + id.
fn state(partition_epoch: i32, replicas: i32, isr: &[i32], min_isr: usize) -> PartitionState {
    let replica =
        |id| Replica { id: BrokerId(id), broker_epoch: Some(BrokerEpoch(100 + i64::from(id))) };
    PartitionState {
        partition_epoch,
        replicas: (1..=replicas).map(replica).collect(),
        isr: isr.iter().copied().map(BrokerId).collect(),
        min_isr,
    }
}

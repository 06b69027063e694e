//! Why a group rebalanced: the latest reasons, kept in memory for whoever describes the group.

use crate::model::limits::GROUP_REBALANCES_KEPT;
use std::collections::VecDeque;

/// One rebalance, begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalance {
    /// Wall clock in ms.
    pub at_ms: i64,
    /// Generation or group epoch that it led away from.
    pub from: i32,
    /// Which member did what, or what happened to the topics.
    pub reason: String,
}

/// The latest rebalances of one group, the last one last.
#[derive(Debug, Default)]
pub(super) struct Rebalances(VecDeque<Rebalance>);

impl Rebalances {
    pub(super) fn note(&mut self, rebalance: Rebalance) {
        if self.0.len() == GROUP_REBALANCES_KEPT {
            self.0.pop_front();
        }
        assert!(!rebalance.reason.is_empty());
        self.0.push_back(rebalance);
        assert!(self.0.len() <= GROUP_REBALANCES_KEPT);
    }

    pub(super) fn to_vec(&self) -> Vec<Rebalance> {
        self.0.iter().cloned().collect()
    }
}

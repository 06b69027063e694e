//! Connections of the model: each keeps its order, and any may break, stall, or be late.

use super::{BROKERS, Role, World, id};
use crate::model::ids::TopicPartition;
use crate::replication::messages::{Body, Message, decode};
use std::collections::VecDeque;

impl World {
    pub(super) fn send(&mut self, from: usize, to: usize, body: Body) {
        let payload = Message { partition: TopicPartition::default(), body }.to_bytes();
        let link = self.links.entry((from, to)).or_default();
        if link.is_empty() {
            link.push(VecDeque::new());
        }
        link.last_mut().unwrap().push_back(payload);
    }

    pub(super) fn deliver_any(&mut self) -> Result<(), String> {
        if self.dice.one_in(30) {
            self.stalled = (self.dice.below(BROKERS), self.dice.below(BROKERS));
        }
        let stalled = if self.is_healing { (BROKERS, BROKERS) } else { self.stalled };
        let busy: Vec<((usize, usize), usize)> = self
            .links
            .iter()
            .flat_map(|(ends, link)| (0..link.len()).map(move |at| (*ends, at)))
            .filter(|(ends, at)| *ends != stalled && !self.links[ends][*at].is_empty())
            .collect();
        if busy.is_empty() {
            return Ok(());
        }
        let ((from, to), at) = busy[self.dice.below(busy.len())];
        let mut payload = self.links.get_mut(&(from, to)).unwrap()[at].pop_front().unwrap();
        if !self.brokers[to].is_up {
            return Ok(());
        }
        let message = decode(&mut payload).unwrap().unwrap();
        self.deliver(from, to, message.body)
    }

    pub(super) fn break_link(&mut self) {
        let (from, to) = (self.dice.below(BROKERS), self.dice.below(BROKERS));
        let link = self.links.entry((from, to)).or_default();
        // What was sent is lost, or still comes, from somewhere on the way.
        for connection in link.iter_mut() {
            let kept = self.dice.below(connection.len() + 1);
            connection.truncate(kept);
        }
        link.push(VecDeque::new());
        for (here, there) in [(from, to), (to, from)] {
            // Either end may not notice.
            if self.dice.one_in(2) {
                self.on_peer_down(here, there);
            }
        }
    }

    fn on_peer_down(&mut self, here: usize, there: usize) {
        match &mut self.brokers[here].role {
            Role::Idle => {}
            Role::Leader(leader) => leader.on_peer_down(id(there)),
            Role::Follower { follower, leader, .. } if *leader == there => follower.on_peer_down(),
            Role::Follower { .. } => {}
        }
    }
}

//! LeaveGroup: members that go at once instead of letting their session run out.

use super::calls::{GroupAnswer, Leave, LeavingMember, Left, LeftMember};
use super::classic::{ClassicGroup, GroupState};
use super::turn::Turn;
use crate::coordinator::replayed::Waiter;
use crate::model::errors::KafkaCode;

impl ClassicGroup {
    /// Takes the named members out; each gets its own code. One rebalance follows for all.
    pub(super) fn on_leave(&mut self, leave: Leave, waiter: Waiter, turn: &mut Turn<'_>) {
        let asked = leave.members.len();
        let mut members = Vec::with_capacity(asked);
        for leaving in leave.members {
            let code = self.leave(&leaving, turn);
            let LeavingMember { member, instance } = leaving;
            members.push(LeftMember { member, instance, code });
        }
        assert!(members.len() == asked);
        let has_left = members.iter().any(|left| left.code == KafkaCode::None);
        if has_left && self.state != GroupState::Empty {
            let left = members.iter().filter(|left| left.code == KafkaCode::None);
            let names: Vec<&str> = left.map(LeftMember::name).collect();
            self.rebalance(|| format!("member {} left", names.join(", ")), turn);
        }
        turn.answer(waiter, GroupAnswer::Leave(Left { members }));
    }

    fn leave(&mut self, leaving: &LeavingMember, turn: &mut Turn<'_>) -> KafkaCode {
        let instance = leaving.instance.as_deref();
        if leaving.member.is_empty() {
            // An administrator removes a static member by its instance id (KIP-345).
            let member = instance.and_then(|instance| self.instances.get(instance)).cloned();
            let Some(member) = member else { return KafkaCode::UnknownMemberId };
            self.remove_member(&member, turn);
            return KafkaCode::None;
        }
        if self.pending_joins.remove(&leaving.member).is_some() {
            return KafkaCode::None;
        }
        match self.check_member(&leaving.member, instance) {
            Ok(()) => {
                self.remove_member(&leaving.member, turn);
                KafkaCode::None
            }
            Err(code) => code,
        }
    }
}

impl LeftMember {
    fn name(&self) -> &str {
        match &self.instance {
            Some(instance) if self.member.is_empty() => instance,
            Some(_) | None => &self.member,
        }
    }
}

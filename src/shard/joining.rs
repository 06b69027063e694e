//! How this broker comes to belong to its cluster, stays in it, and leaves; and what the active
//! controller does about those that fall silent. Both run on the controller's core.
//!
//! A broker registers with whoever is the active controller, and then says at intervals that it is
//! alive. Once it has applied its own registration it is put to use. A lone broker has done all of
//! that in the first write of its start. A controller by itself is not put to use, and so has no
//! heartbeats: it only sees to it that the metadata knows where it is.

use crate::controller::decide::{BrokerStanding, Change, ChangeReply, Heartbeat};
use crate::controller::records::Availability;
use crate::model::errors::KafkaCode;
use crate::model::limits::{CONTROLLER_TICK_MS, JOIN_RETRY_MS, LEAVE_MS_MAX};
use crate::shard::controller_calls;
use crate::shard::lookup;
use crate::shard::membership::Absence;
use crate::shard::metadata::{self, CONTROLLER_CORE};
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;
use futures::future::select;

/// Whether a broker that stops in order wants its partitions led by others first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Stay,
    Leave,
}

/// Registers and sends heartbeats; ends with its executor.
pub(super) async fn membership_loop<D: Disk>(shard: ShardRef<D>) {
    if shard.borrow().core != CONTROLLER_CORE {
        return;
    }
    loop {
        let is_one_of_several = {
            let shard = shard.borrow();
            shard.quorum.is_open() && !shard.is_by_itself()
        };
        let pause_ms = match is_one_of_several {
            true => take_part(&shard).await,
            false => CONTROLLER_TICK_MS,
        };
        pause(&shard, pause_ms).await;
    }
}

/// One registration or heartbeat; how long to wait until the next.
async fn take_part<D: Disk>(shard: &ShardRef<D>) -> u64 {
    let (is_broker, must_register) = {
        let mut shard = shard.borrow_mut();
        match shard.config.cluster.roles.broker {
            true => (true, shard.membership.epoch.is_none()),
            false => (false, shard.must_register()),
        }
    };
    if must_register {
        register(shard).await;
        return JOIN_RETRY_MS;
    }
    if !is_broker {
        return shard.borrow().config.cluster.heartbeat_interval_ms;
    }
    match beat(shard, Wish::Stay).await {
        Some(standing) if standing.availability == Availability::Active => {
            shard.borrow().config.cluster.heartbeat_interval_ms
        }
        Some(_) | None => JOIN_RETRY_MS,
    }
}

async fn register<D: Disk>(shard: &ShardRef<D>) {
    let broker = Box::new(shard.borrow().registration());
    let change = Change::RegisterBroker { broker, has_session: false };
    // A controller that knows this broker from before may be heard of before anybody has said where
    // it is.
    let is_led = {
        let shard = shard.borrow();
        let own = shard.image.local();
        let is_known = |id| id == own || shard.peer_address(id).is_some();
        shard.metadata.controller().is_some_and(is_known)
    };
    let reply = match if is_led { None } else { lookup::controller(shard).await } {
        // Its quorum may not know this broker yet: it is made a member when it has registered.
        Some(told) => match controller_calls::carry(shard, told, change).await {
            Ok(reply) => reply,
            Err(_) => unreachable!("registrations are carried"),
        },
        None => metadata::change_here(shard, change).await,
    };
    let ChangeReply::Registered(result) = reply else {
        unreachable!("a registration is answered by an epoch");
    };
    let mut shard = shard.borrow_mut();
    match result {
        Ok(epoch) => {
            if shard.membership.epoch.replace(epoch) != Some(epoch) {
                tracing::info!(epoch = epoch.0, "registered");
            }
            shard.membership.on_taken();
        }
        Err(refusal) => shard.membership.complain(refusal),
    }
}

async fn beat<D: Disk>(shard: &ShardRef<D>, wish: Wish) -> Option<BrokerStanding> {
    let beat = {
        let shard = shard.borrow();
        Heartbeat {
            id: shard.image.local(),
            epoch: shard.membership.epoch?,
            position: i64::try_from(shard.image.end()).unwrap_or(i64::MAX) - 1,
            wants_fence: false,
            wants_shutdown: wish == Wish::Leave,
            is_shutdown_known: false,
        }
    };
    let change = Change::Heartbeat(beat);
    let ChangeReply::Standing(result) = metadata::change_here(shard, change).await else {
        unreachable!("a heartbeat is answered by a standing");
    };
    let mut shard = shard.borrow_mut();
    match result {
        Ok(standing) => {
            shard.membership.on_taken();
            Some(standing)
        }
        Err(refusal) => {
            if matches!(
                refusal.code,
                KafkaCode::StaleBrokerEpoch | KafkaCode::BrokerIdNotRegistered
            ) {
                shard.membership.epoch = None;
            }
            shard.membership.complain(refusal);
            None
        }
    }
}

/// Has what this broker leads led by others, within `LEAVE_MS_MAX`; the first step of a stop.
pub async fn leave<D: Disk>(shard: &ShardRef<D>) {
    let give_up_us = {
        let shard = shard.borrow();
        let leads_nothing = shard.is_by_itself() || !shard.config.cluster.roles.broker;
        if leads_nothing || !shard.config.cluster.controlled_shutdown {
            return;
        }
        shard.now.deadline_us(LEAVE_MS_MAX)
    };
    while shard.borrow().now.monotonic_us < give_up_us {
        if beat(shard, Wish::Leave).await.is_some_and(|standing| standing.should_shut_down) {
            return;
        }
        pause(shard, JOIN_RETRY_MS).await;
    }
    tracing::warn!("others do not lead in its place yet: it stops all the same");
}

/// Fences brokers that are not there any more, and lets preferred replicas lead again; while this
/// broker is the active controller. Ends with its executor.
pub(super) async fn controller_loop<D: Disk>(shard: ShardRef<D>) {
    if shard.borrow().core != CONTROLLER_CORE {
        return;
    }
    let signal = shard.borrow().signals.controller.clone();
    loop {
        let tick = std::pin::pin!(pause(&shard, CONTROLLER_TICK_MS));
        select(tick, signal.wait()).await;
        let absent = shard.borrow_mut().absent_brokers();
        if !absent.is_empty() {
            for (id, _, absence) in &absent {
                match absence {
                    Absence::Silent => {
                        tracing::warn!(broker = id.0, "not heard of for a session's time: fenced");
                    }
                    Absence::Gone => {
                        tracing::warn!(broker = id.0, "its process has ended: fenced");
                    }
                }
            }
            let brokers = absent.into_iter().map(|(id, epoch, _)| (id, epoch)).collect();
            metadata::change_here(&shard, Change::FenceAbsent { brokers }).await;
        }
        if shard.borrow_mut().is_balance_due() {
            metadata::change_here(&shard, Change::BalanceLeaders).await;
        }
    }
}

async fn pause<D: Disk>(shard: &ShardRef<D>, ms: u64) {
    let waited = {
        let mut shard = shard.borrow_mut();
        let due_us = shard.now.deadline_us(ms);
        shard.pauses.until(due_us)
    };
    // The sender lives in the shard: only its end could cancel the wait.
    let _ = waited.await;
}

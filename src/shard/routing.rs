//! Messages from other cores, handed to whom they concern.

use crate::model::ids::CoreId;
use crate::protocol::peer::PeerKind;
use crate::shard::mesh::ShardMessage;
use crate::shard::peers::PeerId;
use crate::shard::questions;
use crate::shard::quorum;
use crate::shard::reads;
use crate::shard::recovery;
use crate::shard::replica_messages;
use crate::shard::shard::ShardRef;
use crate::shard::stages::Stage;
use crate::storage::disk::Disk;
use bytes::Bytes;
use std::sync::Arc;

/// Handles one message; whatever it leads to is in the outbox afterwards.
pub fn on_message<D: Disk>(shard: &ShardRef<D>, from: CoreId, message: ShardMessage) {
    assert!(from != shard.borrow().core, "a core does not send to itself");
    match message {
        ShardMessage::Append { mut order, parts } => {
            let mut shard = shard.borrow_mut();
            order.stamp = shard.stages.end(Stage::Route, order.stamp);
            shard.append_parts(order, parts);
        }
        ShardMessage::AppendTransactional(mut append) => {
            let mut shard = shard.borrow_mut();
            append.order.stamp = shard.stages.end(Stage::Route, append.order.stamp);
            shard.append_transactional(*append);
        }
        ShardMessage::Appended { outcomes } => {
            let mut shard = shard.borrow_mut();
            for (token, outcome) in outcomes {
                let token = shard.stages.end_of(Stage::Route, token);
                shard.resolve(token, outcome);
            }
        }
        ShardMessage::Read(mut order) => {
            order.stamp = shard.borrow_mut().stages.end(Stage::Route, order.stamp);
            reads::read(shard, order);
        }
        ShardMessage::ReadDone { key, pass, stamp, outcomes } => {
            let mut shard = shard.borrow_mut();
            shard.stages.end(Stage::Route, stamp);
            shard.on_read_done(key, pass, outcomes);
        }
        ShardMessage::Watch(order) => shard.borrow_mut().watch(order),
        ShardMessage::Wake { fetches } => {
            let mut shard = shard.borrow_mut();
            for (key, pass) in fetches {
                shard.on_wake(key, pass);
            }
        }
        ShardMessage::WakeShare { partition, watch } => {
            let mut shard = shard.borrow_mut();
            if !shard.shares.on_wake(watch.place, watch.poll) {
                shard.send(from, ShardMessage::PassShareTurn { partition, watch });
            }
        }
        ShardMessage::PassShareTurn { partition, watch } => {
            shard.borrow_mut().pass_share_turn(partition, watch);
        }
        ShardMessage::Ask { id, question } => {
            let task = answer_to(shard.clone(), from, id, *question);
            shard.borrow_mut().outbox.spawn(task);
        }
        ShardMessage::Reply { id, reply } => shard.borrow_mut().on_reply(id, *reply),
        ShardMessage::PeerFrame { from, kind, payload } => {
            on_peer_frame(shard, from, kind, &payload);
        }
        ShardMessage::Offline => shard.borrow_mut().stop_acknowledging(),
        ShardMessage::Controller(controller) => shard.borrow_mut().metadata.controller = controller,
        ShardMessage::Image { id, image } => {
            let shard_of_task = shard.clone();
            shard.borrow_mut().outbox.spawn(async move {
                recovery::apply_image(&shard_of_task, Arc::clone(&image)).await;
                let reply = Box::new(questions::Reply::Applied);
                shard_of_task.borrow_mut().send(from, ShardMessage::Reply { id, reply });
            });
        }
    }
}

/// Handles a frame of another broker on the core that it is for.
pub fn on_peer_frame<D: Disk>(shard: &ShardRef<D>, from: PeerId, kind: PeerKind, payload: &Bytes) {
    shard.borrow_mut().stats.peer_frames += 1;
    match kind {
        PeerKind::Replication => replica_messages::on_message(shard, from, payload),
        PeerKind::Raft => quorum::on_message(shard, from.broker, payload),
    }
}

async fn answer_to<D: Disk>(
    shard: ShardRef<D>,
    from: CoreId,
    id: u64,
    question: questions::Question,
) {
    let reply = Box::new(questions::answer(&shard, question).await);
    shard.borrow_mut().send(from, ShardMessage::Reply { id, reply });
}

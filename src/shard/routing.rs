//! Messages from other cores, handed to whom they concern.

use crate::model::ids::CoreId;
use crate::shard::mesh::ShardMessage;
use crate::shard::questions;
use crate::shard::reads;
use crate::shard::recovery;
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;
use std::sync::Arc;

/// Handles one message; whatever it leads to is in the outbox afterwards.
pub fn on_message<D: Disk>(shard: &ShardRef<D>, from: CoreId, message: ShardMessage) {
    assert!(from != shard.borrow().core, "a core does not send to itself");
    match message {
        ShardMessage::Append { origin, key, acks, parts } => {
            shard.borrow_mut().append_parts(origin, key, acks, parts);
        }
        ShardMessage::AppendTransactional(order) => {
            shard.borrow_mut().append_transactional(*order);
        }
        ShardMessage::Appended { outcomes } => {
            let mut shard = shard.borrow_mut();
            for (token, outcome) in outcomes {
                shard.resolve(token, outcome);
            }
        }
        ShardMessage::Read(order) => reads::read(shard, order),
        ShardMessage::ReadDone { key, pass, outcomes } => {
            shard.borrow_mut().on_read_done(key, pass, outcomes);
        }
        ShardMessage::Watch(order) => shard.borrow_mut().watch(order),
        ShardMessage::Wake { fetches } => {
            let mut shard = shard.borrow_mut();
            for (key, pass) in fetches {
                shard.on_wake(key, pass);
            }
        }
        ShardMessage::WakeShare { place, poll } => {
            shard.borrow_mut().shares.on_wake(place, poll);
        }
        ShardMessage::Ask { id, question } => {
            let task = answer_to(shard.clone(), from, id, *question);
            shard.borrow_mut().outbox.spawn(task);
        }
        ShardMessage::Reply { id, reply } => shard.borrow_mut().on_reply(id, *reply),
        ShardMessage::Offline => shard.borrow_mut().stop_acknowledging(),
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

async fn answer_to<D: Disk>(
    shard: ShardRef<D>,
    from: CoreId,
    id: u64,
    question: questions::Question,
) {
    let reply = Box::new(questions::answer(&shard, question).await);
    shard.borrow_mut().send(from, ShardMessage::Reply { id, reply });
}

//! What happens to share partitions becomes durable, and sessions that ended give their records
//! back.

use crate::coordinator::share::{ShareAnswer, ShareKey, ShareRequest, StateWrite};
use crate::model::errors::KafkaCode;
use crate::model::limits::SHARE_WRITE_RETRY_MS;
use crate::shard::shard::{Shard, ShardRef};
use crate::shard::share_calls;
use crate::shard::share_host::ask_share_state;
use crate::storage::disk::Disk;
use futures::channel::oneshot;

/// Starts writes and releases as they come up; ends with its executor.
pub async fn share_loop<D: Disk>(shard: ShardRef<D>) {
    let signal = shard.borrow().signals.shares.clone();
    loop {
        signal.wait().await;
        let mut borrowed = shard.borrow_mut();
        while let Some((key, generation)) = borrowed.shares.to_write.pop_front() {
            borrowed.outbox.spawn(write_all(shard.clone(), key, generation));
        }
        for ended in std::mem::take(&mut borrowed.shares.ended) {
            let shard = shard.clone();
            borrowed.outbox.spawn(async move { share_calls::release(&shard, &ended).await });
        }
    }
}

/// Writes until nothing is left to write.
async fn write_all<D: Disk>(shard: ShardRef<D>, key: ShareKey, generation: u64) {
    loop {
        let Some((write, leader_epoch)) = shard.borrow_mut().shares.begin_write(&key, generation)
        else {
            return;
        };
        let number = write.number;
        let change = StateWrite {
            state_epoch: write.state_epoch,
            leader_epoch: leader_epoch.0,
            start_offset: write.start_offset,
            batches: write.batches,
        };
        let request = ShareRequest::Write { key: key.clone(), write: change };
        let result = match ask_share_state(&shard, &key, request).await {
            ShareAnswer::Done => Ok(()),
            ShareAnswer::Refused(code) => Err(code),
            other => unreachable!("a write is not answered by {other:?}"),
        };
        let next = shard.borrow_mut().on_share_written(&key, generation, number, result);
        match next {
            Next::End => return,
            Next::Write => {}
            Next::Pause(pause) => match pause.await {
                Ok(()) => {}
                Err(_) => return,
            },
        }
    }
}

/// How writing goes on.
enum Next {
    End,
    Write,
    Pause(oneshot::Receiver<()>),
}

impl<D: Disk> Shard<D> {
    fn on_share_written(
        &mut self,
        key: &ShareKey,
        generation: u64,
        number: u64,
        result: Result<(), KafkaCode>,
    ) -> Next {
        let open = self.shares.get(key).filter(|open| open.generation == generation);
        let Some(open) = open else { return Next::End };
        if let Err(code) = result
            && is_void(code)
        {
            tracing::info!(key = key.text(), code = code.name(), "share partition is read anew");
            self.shares.remove(key, code);
            self.wake_shares(&key.partition);
            return Next::End;
        }
        let has_changed = open.partition.on_written(number, result.is_ok());
        let due_us = open.partition.next_deadline_us();
        self.shares.answer_writes(key, number, result);
        due_us.into_iter().for_each(|due_us| self.shares.note_due(due_us));
        if has_changed {
            self.wake_shares(&key.partition);
        }
        let Err(code) = result else { return Next::Write };
        tracing::warn!(key = key.text(), code = code.name(), "share partition is not written yet");
        Next::Pause(self.pauses.until(self.now.deadline_us(SHARE_WRITE_RETRY_MS)))
    }
}

/// Whether the coordinator knows another state, or none: what is in memory is worth nothing.
fn is_void(code: KafkaCode) -> bool {
    matches!(
        code,
        KafkaCode::FencedStateEpoch | KafkaCode::FencedLeaderEpoch | KafkaCode::InvalidRequest
    )
}

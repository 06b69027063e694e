//! Lets another thread ask the broker for its overview.
//!
//! The first core answers, from a task of its own; one question at a time, so that whoever asks too
//! often waits and the broker does not.

use super::run_shard::LocalShard;
use crate::shard::overview::{Overview, overview};
use futures::StreamExt;
use futures::channel::mpsc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where questions come in: each is the place that its answer is wanted at.
pub(super) type Questions = mpsc::Receiver<SyncSender<Overview>>;

/// Asks a broker of this process, from any thread.
#[derive(Debug, Clone)]
pub struct Inspector {
    questions: mpsc::Sender<SyncSender<Overview>>,
}

/// An inspector, and what the first core is given to answer it.
pub(super) fn channel() -> (Inspector, Questions) {
    let (questions, receiver) = mpsc::channel(0);
    (Inspector { questions }, receiver)
}

impl Inspector {
    /// Waits for the broker's answer; `None` where it is stopping, or takes longer than
    /// `ANSWER_MAX`.
    pub fn overview(&mut self) -> Option<Overview> {
        let (answer, receiver) = sync_channel(1);
        self.questions.try_send(answer).ok()?;
        receiver.recv_timeout(ANSWER_MAX).ok()
    }
}

/// Answers for as long as somebody may ask.
pub(super) async fn answer_loop(shard: LocalShard, mut questions: Questions) {
    while let Some(answer) = questions.next().await {
        let overview = overview(&shard).await;
        // Who has asked may have given up.
        drop(answer.try_send(overview));
    }
}

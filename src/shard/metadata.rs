//! Changes of the metadata: how topics and configurations change, on every core alike.
//!
//! The controller's core (core 0) of the active controller decides, and proposes the records to the
//! quorum; once they are committed and applied, every core has the new image. A change is answered
//! when all cores have opened what it asks of them.
//!
//! Invariants
//! - One change at a time: each is decided upon the image that the one before it left.
//! - Nothing is decided before this controller has applied an entry of its own term.

use crate::controller::decide::{self, Change, ChangeReply, Context, Refusal};
use crate::controller::image::MetadataImage;
use crate::controller::metadata_log;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerId, CoreId};
use crate::shard::controller_calls;
use crate::shard::mesh::ShardMessage;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::quorum::{self, Fate};
use crate::shard::recovery;
use crate::shard::shard::{Shard, ShardRef, WriteState};
use crate::storage::disk::Disk;
use futures::future::join_all;
use std::rc::Rc;
use std::sync::Arc;

/// Core that decides changes of metadata.
pub const CONTROLLER_CORE: CoreId = CoreId(0);

/// What one core knows of who decides.
#[derive(Default)]
pub struct Metadata {
    /// Held over a whole change, so that changes are decided one after the other.
    turn: Rc<futures::lock::Mutex<()>>,
    pub controller: Controller,
}

/// The active controller, as this broker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Controller {
    /// `None` while nobody is known to lead, or a new leader has yet to catch up.
    pub leader: Option<BrokerId>,
    /// Grows with each election.
    pub term: u64,
}

impl Metadata {
    /// The active controller; `None` while there is none.
    pub fn controller(&self) -> Option<BrokerId> {
        self.controller.leader
    }
}

/// Asks the controller's core for a change and waits until every core works with it.
pub async fn change<D: Disk>(shard: &ShardRef<D>, change: Change) -> ChangeReply {
    match ask(shard, CONTROLLER_CORE, Question::Change(change)).await {
        Reply::Change(reply) => reply,
        other => unreachable!("a change is answered by a change, not by {other:?}"),
    }
}

/// Carries out a change; on the controller's core.
pub async fn change_here<D: Disk>(shard: &ShardRef<D>, change: Change) -> ChangeReply {
    assert!(shard.borrow().core == CONTROLLER_CORE);
    let elsewhere = {
        let shard = shard.borrow();
        let own = shard.image.local();
        shard.metadata.controller().filter(|leader| *leader != own && !shard.quorum.is_active())
    };
    let change = match elsewhere {
        None => change,
        // Boxed because few changes go this way.
        Some(to) => match Box::pin(controller_calls::carry(shard, to, change)).await {
            Ok(reply) => return reply,
            Err(change) => change,
        },
    };
    let turn = Rc::clone(&shard.borrow().metadata.turn);
    let _turn = turn.lock().await;
    let change = shard.borrow_mut().with_sessions(change);
    let decision = shard.borrow().decide(change);
    if !shard.borrow().quorum.is_active() {
        return decision.reply.failed(shard.borrow().undecided());
    }
    if decision.records.is_empty() {
        return decision.reply;
    }
    let frame = match metadata_log::encode_frame(&decision.records) {
        Ok(frame) => frame,
        Err(error) => {
            let refusal = format!("{error}; ask for less at a time");
            tracing::warn!("a change of the metadata is refused: {refusal}");
            let refusal = Refusal::new(KafkaCode::PolicyViolation, refusal);
            return decision.reply.failed(refusal);
        }
    };
    let Ok(fate) = shard.borrow_mut().propose(frame) else {
        return decision.reply.failed(KafkaCode::NotController);
    };
    // By this task rather than by the loops: a lone broker's change needs no other task's turn.
    quorum::persist(shard).await;
    quorum::apply(shard).await;
    match fate.await {
        Ok(Fate::Applied) => decision.reply,
        Ok(Fate::Unknown) => decision.reply.failed(KafkaCode::NotController),
        Err(_) => decision.reply.failed(KafkaCode::KafkaStorageError),
    }
}

/// Gives the cluster its identity, when this broker has become the controller of a new one.
pub fn found_cluster<D: Disk>(shard: &ShardRef<D>) {
    let mut borrowed = shard.borrow_mut();
    let is_founded = borrowed.image.cluster_id().is_some();
    if is_founded || !borrowed.quorum.is_active() {
        return;
    }
    let (shard, id) = (shard.clone(), borrowed.cluster_id);
    borrowed.outbox.spawn(async move {
        // A refusal means that another leads by now, and founds it.
        let _ = change_here(&shard, Change::FoundCluster { id }).await;
    });
}

impl<D: Disk> Shard<D> {
    fn decide(&self, change: Change) -> decide::Decision {
        let context = Context { config: &self.config, random: &*self.random };
        decide::decide(&self.image, change, &context)
    }

    /// Why nothing can be decided here now.
    fn undecided(&self) -> KafkaCode {
        match self.write_state {
            WriteState::Offline => KafkaCode::KafkaStorageError,
            WriteState::Open | WriteState::DiskFull => KafkaCode::NotController,
        }
    }
}

/// Hands an image to every core and waits until all have opened their partitions.
pub async fn publish<D: Disk>(shard: &ShardRef<D>, image: Arc<MetadataImage>) {
    let replies = {
        let mut shard = shard.borrow_mut();
        let own = shard.core;
        let others = (0..shard.cores).map(CoreId).filter(|core| *core != own);
        let mut replies = Vec::new();
        for core in others {
            let (id, receiver) = shard.open_question();
            shard.send(core, ShardMessage::Image { id, image: Arc::clone(&image) });
            replies.push(receiver);
        }
        replies
    };
    recovery::apply_image(shard, image).await;
    for reply in join_all(replies).await {
        reply.expect("cores live and die together");
    }
}

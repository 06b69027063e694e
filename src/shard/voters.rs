//! Voters come and go while the cluster runs (KIP-853): what the active controller makes sure of
//! before it changes its quorum.
//!
//! Invariants
//! - One change at a time, which is the quorum's own rule; who comes second waits, within its time.
//! - Nobody gets a vote who is not the data directory that was named, or who lags: the quorum would
//!   wait for it.
//! - The last voter stays, and so does one without whom the rest could not decide.

use crate::controller::decide::Refusal;
use crate::controller::quorum::consensus::NotProposed;
use crate::controller::quorum::members::MemberChange;
use crate::model::base64url::encode_uuid;
use crate::model::errors::KafkaCode;
use crate::model::ids::BrokerId;
use crate::model::limits::{VOTER_LAG_MAX, VOTER_REMOVAL_MS, VOTER_RETRY_MS, VOTER_SILENCE_MS};
use crate::protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use crate::shard::metadata::CONTROLLER_CORE;
use crate::shard::peers;
use crate::shard::questions::{Question, Reply, ask};
use crate::shard::quorum::QuorumView;
use crate::shard::shard::{Shard, ShardRef};
use crate::storage::disk::Disk;
use uuid::Uuid;

/// A voter by its id and its data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoterKey {
    pub id: BrokerId,
    /// All zeros where it is not known.
    pub directory: Uuid,
}

/// What may be asked of the quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoterChange {
    Add { voter: VoterKey, timeout_ms: u64 },
    Remove { voter: VoterKey },
}

/// Why a change cannot be made now.
enum NotNow {
    Refused(Refusal),
    /// It may become possible; the text says what is waited for.
    Later(String),
    /// The voter leads: it hands over, and its successor removes it.
    Leads,
}

impl VoterKey {
    fn name(&self) -> String {
        match self.directory.is_nil() {
            true => format!("{}", self.id.0),
            false => format!("{} with directory {}", self.id.0, encode_uuid(self.directory)),
        }
    }
}

impl VoterChange {
    fn member_change(self) -> MemberChange {
        match self {
            VoterChange::Add { voter, .. } => MemberChange::AddVoter(voter.id),
            VoterChange::Remove { voter } => MemberChange::Remove(voter.id),
        }
    }

    fn timeout_ms(self) -> u64 {
        match self {
            VoterChange::Add { timeout_ms, .. } => timeout_ms,
            VoterChange::Remove { .. } => VOTER_REMOVAL_MS,
        }
    }

    /// Whether the members are as the change wants them.
    fn is_done(self, view: &QuorumView) -> bool {
        let voters = &view.role.members.voters;
        match self {
            VoterChange::Add { voter, .. } => voters.contains(&voter.id),
            VoterChange::Remove { voter } => !voters.contains(&voter.id),
        }
    }
}

/// Changes the voters, on any core of the active controller; returns when it is done.
///
/// # Errors
/// NOT_CONTROLLER, INCONSISTENT_VOTER_SET and the like: see the texts of `VoterChange`'s checks.
pub async fn change<D: Disk>(shard: &ShardRef<D>, change: VoterChange) -> Result<(), Refusal> {
    match ask(shard, CONTROLLER_CORE, Question::ChangeVoters(change)).await {
        Reply::VotersChanged(result) => result,
        other => unreachable!("a change of voters is answered by its result, not by {other:?}"),
    }
}

/// Carries out a change of voters; on the controller's core.
pub async fn change_here<D: Disk>(shard: &ShardRef<D>, change: VoterChange) -> Result<(), Refusal> {
    let give_up_us = shard.borrow().now.deadline_us(change.timeout_ms());
    if propose(shard, change, give_up_us).await? == Proposal::Elsewhere {
        return remove_elsewhere(shard, change, give_up_us).await;
    }
    loop {
        {
            let shard = shard.borrow();
            let view = shard.quorum.view();
            if change.is_done(&view) {
                let voters: Vec<i32> = view.role.members.voters.iter().map(|id| id.0).collect();
                tracing::warn!(?change, ?voters, "voters of the metadata quorum changed");
                return Ok(());
            }
            if shard.now.monotonic_us >= give_up_us {
                return Err(too_late());
            }
        }
        pause(shard).await;
    }
}

fn too_late() -> Refusal {
    let why = "Request timed out waiting for voters to commit the change.";
    Refusal::new(KafkaCode::RequestTimedOut, why)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proposal {
    /// In the log of this leader.
    Here,
    /// For the leader that this one hands over to.
    Elsewhere,
}

/// Puts the change into the log as soon as it can be.
async fn propose<D: Disk>(
    shard: &ShardRef<D>,
    change: VoterChange,
    give_up_us: u64,
) -> Result<Proposal, Refusal> {
    loop {
        let tried = shard.borrow_mut().try_change_voters(change);
        match tried {
            Ok(()) => return Ok(Proposal::Here),
            Err(NotNow::Leads) => return Ok(Proposal::Elsewhere),
            Err(NotNow::Refused(refusal)) => return Err(refusal),
            Err(NotNow::Later(why)) if shard.borrow().now.monotonic_us >= give_up_us => {
                return Err(Refusal::new(KafkaCode::RequestTimedOut, why));
            }
            Err(NotNow::Later(_)) => {}
        }
        pause(shard).await;
    }
}

/// Has the successor of this leader remove it.
async fn remove_elsewhere<D: Disk>(
    shard: &ShardRef<D>,
    change: VoterChange,
    give_up_us: u64,
) -> Result<(), Refusal> {
    let VoterChange::Remove { voter } = change else {
        unreachable!("who leads has a vote: it is not added");
    };
    let request = RemoveRaftVoterRequest {
        cluster_id: None,
        voter_id: voter.id.0,
        voter_directory_id: voter.directory,
    };
    let mut asked = false;
    while shard.borrow().now.monotonic_us < give_up_us {
        let successor = {
            let mut shard = shard.borrow_mut();
            if shard.quorum.is_active() {
                let since_ms = shard.now.wall_ms.saturating_sub(VOTER_SILENCE_MS);
                shard.hand_over_quorum(since_ms);
            }
            let own = shard.image.local();
            shard.metadata.controller().filter(|leader| *leader != own)
        };
        if let Some(to) = successor {
            let answer = peers::call(shard, to, &request, VOTER_REMOVAL_MS).await;
            let code = answer.ok().and_then(|answer| {
                let code = KafkaCode::from_number(answer.error_code)?;
                Some((code, answer.error_message))
            });
            let has_asked = std::mem::replace(&mut asked, true);
            match code {
                Some((KafkaCode::None, _)) => return Ok(()),
                // Who is to lead has yet to catch up, or was not reached.
                Some((KafkaCode::NotController, _)) | None => {}
                // An earlier answer was lost.
                Some((KafkaCode::VoterNotFound, _)) if has_asked => return Ok(()),
                Some((code, text)) => {
                    return Err(Refusal::new(code, text.unwrap_or_default()));
                }
            }
        }
        pause(shard).await;
    }
    Err(too_late())
}

async fn pause<D: Disk>(shard: &ShardRef<D>) {
    let waited = {
        let mut shard = shard.borrow_mut();
        let due_us = shard.now.deadline_us(VOTER_RETRY_MS);
        shard.pauses.until(due_us)
    };
    // The sender lives in the shard: only its end could cancel the wait.
    let _ = waited.await;
}

fn refused(code: KafkaCode, message: String) -> Result<(), NotNow> {
    Err(NotNow::Refused(Refusal::new(code, message)))
}

impl<D: Disk> Shard<D> {
    fn try_change_voters(&mut self, change: VoterChange) -> Result<(), NotNow> {
        if !self.quorum.is_active() {
            return Err(NotNow::Refused(Refusal::from(KafkaCode::NotController)));
        }
        let view = self.quorum.view();
        match change {
            VoterChange::Add { voter, .. } => self.check_addition(&view, voter)?,
            VoterChange::Remove { voter } => self.check_removal(&view, voter)?,
        }
        if change.member_change() == MemberChange::Remove(self.image.local()) {
            return Err(NotNow::Leads);
        }
        match self.change_members(change.member_change()) {
            Ok(_) => Ok(()),
            Err(NotProposed::NotLeader) => {
                Err(NotNow::Refused(Refusal::from(KafkaCode::NotController)))
            }
            Err(error @ NotProposed::Pointless) => {
                refused(KafkaCode::InvalidRequest, error.to_string())
            }
            Err(NotProposed::ChangeUnderWay | NotProposed::Full) => Err(NotNow::Later(
                "Request timed out waiting for leader to handle previous voter change request"
                    .to_owned(),
            )),
        }
    }

    fn check_addition(&self, view: &QuorumView, voter: VoterKey) -> Result<(), NotNow> {
        let members = &view.role.members;
        let (id, name) = (voter.id.0, voter.name());
        if voter.directory.is_nil() {
            let text = "Add voter request didn't include a valid voter".to_owned();
            return refused(KafkaCode::InvalidRequest, text);
        }
        if members.voters.contains(&voter.id) {
            let text = format!(
                "The voter id for {name} is already part of the set of voters {}. Where its disk \
                 was replaced, remove the old one first.",
                self.voter_names(view)
            );
            return refused(KafkaCode::DuplicateVoter, text);
        }
        let Some(known) = self.image.node(voter.id).map(|known| &known.registration) else {
            let text = format!(
                "Broker {id} is not registered: start it with controller.quorum.bootstrap.servers, \
                 and give it a vote when it follows the metadata."
            );
            return refused(KafkaCode::InvalidRequest, text);
        };
        if known.directory != voter.directory {
            let text = format!(
                "The data directory of broker {id} is {}, not {}.",
                encode_uuid(known.directory),
                encode_uuid(voter.directory)
            );
            return refused(KafkaCode::InvalidVoterKey, text);
        }
        if !known.roles.controller {
            let text = format!("Broker {id} has not the role controller (process.roles).");
            return refused(KafkaCode::InvalidRequest, text);
        }
        let progress = view.role.progress.get(&voter.id).copied().unwrap_or(0);
        let is_near = progress > 0 && progress + VOTER_LAG_MAX >= view.role.last_index;
        if !is_near || !self.is_heard(view, voter.id) {
            let text = format!("Aborted add voter operation for {name} since it is lagging behind");
            return Err(NotNow::Later(text));
        }
        Ok(())
    }

    fn check_removal(&self, view: &QuorumView, voter: VoterKey) -> Result<(), NotNow> {
        let voters = &view.role.members.voters;
        let known = self.voter_key(view, voter.id);
        let is_known = known.directory == voter.directory;
        if !voters.contains(&voter.id) || !is_known {
            let text = format!(
                "Cannot remove voter {} from the set of voters {}",
                voter.name(),
                self.voter_names(view)
            );
            return refused(KafkaCode::VoterNotFound, text);
        }
        if voters.len() == 1 {
            let text = format!("Voter {} is the last one: nobody could decide.", voter.id.0);
            return refused(KafkaCode::InvalidRequest, text);
        }
        let rest = || voters.iter().filter(|id| **id != voter.id);
        let heard: Vec<i32> =
            rest().filter(|id| self.is_heard(view, **id)).map(|id| id.0).collect();
        if heard.len() <= rest().count() / 2 {
            let rest: Vec<i32> = rest().map(|id| id.0).collect();
            let text = format!(
                "Without voter {} the voters would be {rest:?}, of which only {heard:?} are \
                 heard: they could not decide.",
                voter.id.0
            );
            return Err(NotNow::Later(text));
        }
        Ok(())
    }

    /// Whether a member is this one, or spoke lately.
    fn is_heard(&self, view: &QuorumView, id: BrokerId) -> bool {
        let heard = view.heard.get(&id).map_or(i64::MIN, |(heard, _)| *heard);
        id == self.image.local() || heard.saturating_add(VOTER_SILENCE_MS) >= self.now.wall_ms
    }

    fn voter_key(&self, view: &QuorumView, id: BrokerId) -> VoterKey {
        let directory = match id == self.image.local() {
            true => Some(self.directory_id),
            false => view.role.directories.get(&id).copied(),
        };
        VoterKey { id, directory: directory.unwrap_or_default() }
    }

    fn voter_names(&self, view: &QuorumView) -> String {
        let voters = view.role.members.voters.iter();
        let names: Vec<String> = voters.map(|id| self.voter_key(view, *id).name()).collect();
        format!("[{}]", names.join(", "))
    }
}

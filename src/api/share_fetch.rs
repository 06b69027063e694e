//! ShareFetch: a member of a share group acquires records of its partitions (KIP-932).
//!
//! What the request acknowledges comes first. Then the partitions' cores are asked one after the
//! other, so that what the request allows is spent once; with nothing found, the request waits to
//! be woken and asks again, as a Fetch does, until its time is up.
//!
//! `MinBytes` above 1 is judged by each core for its own partitions.

use crate::api::brokers::Reachable;
use crate::api::context::RequestContext;
use crate::api::share_requests::{self, Acknowledgement, Leaders, Parsed, PartAnswer, PartAnswers};
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, TopicPartition};
use crate::model::limits::{FETCH_BYTES_MAX, SHARE_FETCH_RECORDS_MAX};
use crate::protocol::messages::share_fetch::{
    AcquiredRecords, LeaderIdAndEpoch, NodeEndpoint, PartitionData, ShareFetchRequest,
    ShareFetchResponse, ShareFetchableTopicResponse,
};
use crate::shard::share_calls::{self, AcquireCall, ShareCall, ShareReply};
use crate::shard::share_session::{
    EndedSession, NamedPartition, SHARE_EPOCH_FINAL, SHARE_EPOCH_INITIAL, ShareMember,
};
use crate::shard::share_watches::ShareWatch;
use crate::shard::signal::yield_now;
use crate::storage::disk::Disk;

/// Answers ShareFetch.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ShareFetchRequest,
) -> ShareFetchResponse {
    let of = share_requests::check_served(&context)
        .and_then(|()| share_requests::member(&request.group_id, &request.member_id));
    let of = match of {
        Ok(of) => of,
        Err(code) => return refused(code),
    };
    let parsed = parse(&request);
    let turn = match turn(&context, &of, &request, &parsed) {
        Ok(turn) => turn,
        Err(code) => return refused(code),
    };
    let mut answers = PartAnswers::default();
    for named in &turn.told_of {
        answers.of(*named);
    }
    let has_acknowledged = !parsed.acknowledged.is_empty();
    share_requests::acknowledge(&context, &of, parsed.acknowledged, &mut answers).await;
    match &turn.ended {
        Some(ended) => share_calls::release(&context.shard, ended).await,
        None => {
            let member = Member { of: &of, session: turn.session, request: &request };
            member.acquire(&context, &turn.partitions, &mut answers, has_acknowledged).await;
        }
    }
    response(&context, &of, answers)
}

fn refused(code: KafkaCode) -> ShareFetchResponse {
    ShareFetchResponse { error_code: code.number(), ..ShareFetchResponse::default() }
}

fn parse(request: &ShareFetchRequest) -> Parsed {
    let mut parsed = Parsed::default();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let named = (topic.topic_id, partition.partition_index);
            parsed.named.push(named);
            let batches = &partition.acknowledgement_batches;
            if !batches.is_empty() {
                let batches = batches.iter().map(|batch| {
                    (batch.first_offset, batch.last_offset, &batch.acknowledge_types[..])
                });
                parsed.acknowledged.push(Acknowledgement::new(named, batches));
            }
        }
    }
    parsed
}

/// What a request means for its session.
struct Turn {
    session: u64,
    /// To fetch.
    partitions: Vec<NamedPartition>,
    /// To be answered even when there is nothing to tell: all, the first time.
    told_of: Vec<NamedPartition>,
    /// The session was closed.
    ended: Option<EndedSession>,
}

fn turn<D: Disk>(
    context: &RequestContext<D>,
    of: &ShareMember,
    request: &ShareFetchRequest,
    parsed: &Parsed,
) -> Result<Turn, KafkaCode> {
    let sessions = &mut context.shard.borrow_mut().share_sessions;
    let (partitions, told_of, ended) = (Vec::new(), Vec::new(), None);
    match request.share_session_epoch {
        SHARE_EPOCH_FINAL => {
            let ended = sessions.close(of)?;
            Ok(Turn { session: ended.id, partitions, told_of, ended: Some(ended) })
        }
        SHARE_EPOCH_INITIAL if !parsed.acknowledged.is_empty() => Err(KafkaCode::InvalidRequest),
        SHARE_EPOCH_INITIAL => {
            let session = sessions.open(of.clone(), context.connection, parsed.named.clone())?;
            let partitions = sessions.turn(of);
            Ok(Turn { session, told_of: partitions.clone(), partitions, ended })
        }
        epoch => {
            let session = sessions.advance(of, epoch)?;
            let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| (topic.topic_id, *partition))
            });
            let forgotten: Vec<NamedPartition> = forgotten.collect();
            sessions.change(of, parsed.named.clone(), &forgotten)?;
            Ok(Turn { session, partitions: sessions.turn(of), told_of, ended })
        }
    }
}

/// A member and what it asks for.
struct Member<'a> {
    of: &'a ShareMember,
    session: u64,
    request: &'a ShareFetchRequest,
}

impl Member<'_> {
    async fn acquire<D: Disk>(
        &self,
        context: &RequestContext<D>,
        partitions: &[NamedPartition],
        answers: &mut PartAnswers,
        is_answered_at_once: bool,
    ) {
        let resolved = resolve(context, partitions, answers);
        let (poll, signal, deadline_us) = {
            let mut shard = context.shard.borrow_mut();
            let max_wait_ms = u64::try_from(self.request.max_wait_ms).unwrap_or(0);
            let deadline_us = shard.now.deadline_us(max_wait_ms);
            let (poll, signal) = shard.shares.open_poll(context.connection, deadline_us);
            (poll, signal, deadline_us)
        };
        let mut begins_session = self.request.share_session_epoch == SHARE_EPOCH_INITIAL;
        loop {
            let is_last = context.shard.borrow().is_overdue(deadline_us);
            let pass = Pass { poll, is_last, begins_session };
            let found = self.look(context, &resolved, pass, answers).await;
            begins_session = false;
            let is_gone = context.shard.borrow_mut().connection(context.connection).is_none();
            if is_gone {
                let partitions = partitions.to_vec();
                let ended = EndedSession { of: self.of.clone(), id: self.session, partitions };
                share_calls::release(&context.shard, &ended).await;
                break;
            }
            match found {
                Found::Some => break,
                Found::Nothing if is_answered_at_once || answers.has_errors() => break,
                Found::Nothing | Found::Unfinished if is_last => break,
                Found::Unfinished => yield_now().await,
                Found::Nothing => signal.wait().await,
            }
        }
        context.shard.borrow_mut().shares.close_poll(context.connection, poll);
    }

    /// One pass over all cores.
    async fn look<D: Disk>(
        &self,
        context: &RequestContext<D>,
        by_core: &ByCore,
        pass: Pass,
        answers: &mut PartAnswers,
    ) -> Found {
        let at_least_0 = |value: i32| usize::try_from(value).unwrap_or(0);
        let (watch, bytes_max) = {
            let shard = context.shard.borrow();
            let place = context.connection.index;
            let watch = ShareWatch { core: shard.core, place, poll: pass.poll };
            (watch, shard.config.fetch_bytes_max.min(FETCH_BYTES_MAX))
        };
        let mut bytes = at_least_0(self.request.max_bytes).min(bytes_max);
        let mut records = at_least_0(self.request.max_records).min(SHARE_FETCH_RECORDS_MAX);
        let mut found = Found::Nothing;
        for (core, partitions) in by_core {
            if bytes == 0 || records == 0 {
                break;
            }
            let call = ShareCall::Acquire(AcquireCall {
                of: self.of.clone(),
                session: self.session,
                partitions: partitions.clone(),
                bytes_max: bytes,
                records_max: records,
                batch_size: at_least_0(self.request.batch_size),
                bytes_min: at_least_0(self.request.min_bytes).min(bytes_max),
                is_last: pass.is_last,
                watch,
                begins_session: pass.begins_session,
            });
            let ShareReply::Acquired(acquired) =
                share_calls::call(&context.shard, *core, call).await
            else {
                unreachable!("records are asked for");
            };
            if acquired.is_unfinished && matches!(found, Found::Nothing) {
                found = Found::Unfinished;
            }
            for part in acquired.parts {
                if !part.ranges.is_empty() {
                    found = Found::Some;
                }
                bytes = bytes.saturating_sub(part.size());
                records = records.saturating_sub(part.record_count());
                let id = part.partition;
                let answer = answers.of((id.topic.0, id.partition.0));
                answer.code = part.code;
                answer.records = part.records;
                answer.ranges = part.ranges;
            }
        }
        found
    }
}

/// Partitions by core, in the order of their turns.
type ByCore = Vec<(CoreId, Vec<TopicPartition>)>;

fn resolve<D: Disk>(
    context: &RequestContext<D>,
    partitions: &[NamedPartition],
    answers: &mut PartAnswers,
) -> ByCore {
    let mut by_core: ByCore = Vec::new();
    for named in partitions {
        match share_requests::owner(context, *named) {
            Ok((id, core)) => match by_core.iter_mut().find(|(other, _)| *other == core) {
                Some((_, ids)) => ids.push(id),
                None => by_core.push((core, vec![id])),
            },
            Err(code) => answers.of(*named).code = code,
        }
    }
    by_core
}

/// One look at all cores.
#[derive(Clone, Copy)]
struct Pass {
    poll: u64,
    /// The request's time is up.
    is_last: bool,
    begins_session: bool,
}

/// What a pass over all cores came to.
enum Found {
    Some,
    Nothing,
    /// Nothing yet, and there may be more at once.
    Unfinished,
}

fn response<D: Disk>(
    context: &RequestContext<D>,
    of: &ShareMember,
    answers: PartAnswers,
) -> ShareFetchResponse {
    let lock_ms = context.shard.borrow().share_config(&of.group).record_lock_ms;
    let leaders = Leaders::of(context, &answers);
    let mut responses: Vec<ShareFetchableTopicResponse> = Vec::new();
    for (topic_id, parts) in answers.by_topic() {
        let part = |(index, answer)| data(index, answer, leaders.leader((topic_id, index)));
        let partitions = parts.into_iter().map(part).collect();
        responses.push(ShareFetchableTopicResponse { topic_id, partitions });
    }
    let node = |node: Reachable| NodeEndpoint {
        node_id: node.id.0,
        host: node.endpoint.host,
        port: i32::from(node.endpoint.port),
        rack: node.rack,
    };
    ShareFetchResponse {
        acquisition_lock_timeout_ms: i32::try_from(lock_ms).unwrap_or(i32::MAX),
        responses,
        node_endpoints: leaders.into_nodes().map(node).collect(),
        ..ShareFetchResponse::default()
    }
}

fn data(partition_index: i32, answer: PartAnswer, leader: Option<(i32, i32)>) -> PartitionData {
    let wire = |offset: u64| i64::try_from(offset).expect("an offset of the log");
    let acquired = answer.ranges.iter().map(|range| AcquiredRecords {
        first_offset: wire(range.first),
        last_offset: wire(range.last),
        delivery_count: range.delivery_count,
    });
    PartitionData {
        partition_index,
        error_code: answer.code.number(),
        acknowledge_error_code: answer.acknowledge_code.number(),
        current_leader: leader.map_or(LeaderIdAndEpoch::default(), |(leader_id, leader_epoch)| {
            LeaderIdAndEpoch { leader_id, leader_epoch }
        }),
        acquired_records: acquired.collect(),
        records: answer.records.into_iter().collect(),
        ..PartitionData::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::share_acknowledge;

    #[test]
    fn beside_an_error_no_leader_is_named_but_one_that_is_known() {
        let mut answers = PartAnswers::default();
        answers.of((uuid::Uuid::nil(), 0)).code = KafkaCode::UnknownServerError;
        let (_, mut parts) = answers.by_topic().remove(0);
        let (index, answer) = parts.remove(0);
        let told = data(index, answer, None);
        // 0 would be a broker.
        assert_eq!((told.current_leader.leader_id, told.current_leader.leader_epoch), (-1, -1));
        let acknowledged = share_acknowledge::PartitionData::default();
        assert_eq!(acknowledged.current_leader.leader_id, -1);
    }
}

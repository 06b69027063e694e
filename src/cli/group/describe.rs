//! `highwater group describe`: state, members, lag of each partition, and the latest rebalances.

use super::{again_while_loading, committed, coordinator, lag};
use crate::cli::args::Target;
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::leaders::Leaders;
use crate::cli::offsets;
use crate::cli::table::Table;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribed,
};
use crate::protocol::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use crate::protocol::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
};
use crate::protocol::messages::share_group_describe::{
    ShareGroupDescribeRequest, ShareGroupDescribed,
};
use crate::protocol::primitive::{LengthForm, Reader};
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;

const FORM: LengthForm = LengthForm::Fixed;
const SHARE: &str = "share";

/// A group of any kind.
#[derive(Default)]
struct Described {
    kind: &'static str,
    state: String,
    /// Assignor or chosen protocol.
    protocol: String,
    /// Group epoch, or -1.
    epoch: i32,
    members: Vec<Member>,
    /// Wall clock in ms, generation, reason.
    rebalances: Vec<(i64, i32, String)>,
}

struct Member {
    id: String,
    client_id: String,
    host: String,
    instance: Option<String>,
    /// Topic and partitions.
    assigned: Vec<(String, Vec<i32>)>,
}

/// One partition's line.
struct Line {
    topic: String,
    partition: i32,
    /// `None` when nothing is committed.
    offset: Option<i64>,
    end: Option<i64>,
    lag_seconds: Option<i64>,
    member: String,
}

/// Runs the command.
pub(super) fn run(group: &str, is_json: bool, target: &Target) -> Result<(), CliError> {
    let mut client = coordinator(target, group)?;
    let described = describe(&mut client, group)?;
    let lines = lines(&mut client, group, &described, target)?;
    if is_json {
        println!("{}", to_json(group, &described, &lines));
    } else {
        print_text(group, &described, &lines);
    }
    Ok(())
}

fn describe(client: &mut Client, group: &str) -> Result<Described, CliError> {
    let what = format!("group {group}");
    if client.version_of::<ConsumerGroupDescribeRequest>().is_ok() {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group.to_owned()],
            include_authorized_operations: false,
        };
        let found = again_while_loading(|| {
            let found = client.call(&request)?.groups.into_iter().next().unwrap_or_default();
            match KafkaCode::from_number(found.error_code) {
                Some(KafkaCode::GroupIdNotFound) => Ok(None),
                _ => check(&what, found.error_code, found.error_message.as_deref())
                    .map(|()| Some(found)),
            }
        })?;
        if let Some(found) = found {
            return Ok(of_consumer(found));
        }
    }
    if let Some(found) = describe_share(client, group)? {
        return Ok(found);
    }
    let request = DescribeGroupsRequest {
        groups: vec![group.to_owned()],
        ..DescribeGroupsRequest::default()
    };
    again_while_loading(|| {
        let found = client.call(&request)?.groups.into_iter().next().unwrap_or_default();
        check(&what, found.error_code, found.error_message.as_deref())?;
        Ok(of_classic(found))
    })
}

fn of_consumer(found: ConsumerGroupDescribed) -> Described {
    let members = found.members.into_iter().map(|member| Member {
        id: member.member_id,
        client_id: member.client_id,
        host: member.client_host,
        instance: member.instance_id,
        assigned: member
            .assignment
            .topic_partitions
            .into_iter()
            .map(|topic| (topic.topic_name, topic.partitions))
            .collect(),
    });
    Described {
        kind: "consumer",
        state: found.group_state,
        protocol: found.assignor_name,
        epoch: found.group_epoch,
        members: members.collect(),
        rebalances: found
            .rebalances
            .into_iter()
            .map(|one| (one.at_ms, one.from, one.reason))
            .collect(),
    }
}

/// The group, if it is a share group.
fn describe_share(client: &mut Client, group: &str) -> Result<Option<Described>, CliError> {
    if client.version_of::<ShareGroupDescribeRequest>().is_err() {
        return Ok(None);
    }
    let request = ShareGroupDescribeRequest {
        group_ids: vec![group.to_owned()],
        include_authorized_operations: false,
    };
    again_while_loading(|| {
        let found = client.call(&request)?.groups.into_iter().next().unwrap_or_default();
        match KafkaCode::from_number(found.error_code) {
            Some(KafkaCode::GroupIdNotFound) => Ok(None),
            _ => {
                let message = found.error_message.as_deref();
                check(&format!("group {group}"), found.error_code, message)?;
                Ok(Some(of_share(found)))
            }
        }
    })
}

fn of_share(found: ShareGroupDescribed) -> Described {
    let members = found.members.into_iter().map(|member| {
        let topics = member.assignment.topic_partitions.into_iter();
        Member {
            id: member.member_id,
            client_id: member.client_id,
            host: member.client_host,
            instance: None,
            assigned: topics.map(|topic| (topic.topic_name, topic.partitions)).collect(),
        }
    });
    let rebalances = found.rebalances.into_iter();
    Described {
        kind: SHARE,
        state: found.group_state,
        protocol: found.assignor_name,
        epoch: found.group_epoch,
        members: members.collect(),
        rebalances: rebalances.map(|one| (one.at_ms, one.from, one.reason)).collect(),
    }
}

/// From where a share group reads, by topic and partition.
fn starts(
    client: &mut Client,
    group: &str,
) -> Result<BTreeMap<String, BTreeMap<i32, i64>>, CliError> {
    let asked = DescribeShareGroupOffsetsRequestGroup { group_id: group.to_owned(), topics: None };
    let request = DescribeShareGroupOffsetsRequest { groups: vec![asked] };
    again_while_loading(|| {
        let mut topics: BTreeMap<String, BTreeMap<i32, i64>> = BTreeMap::new();
        for answer in client.call(&request)?.groups {
            let message = answer.error_message.as_deref();
            check(&format!("offsets of {group}"), answer.error_code, message)?;
            for topic in answer.topics {
                let partitions = topic.partitions.into_iter();
                let offsets = partitions.map(|own| (own.partition_index, own.start_offset));
                topics.entry(topic.topic_name).or_default().extend(offsets);
            }
        }
        Ok(topics)
    })
}

fn of_classic(found: DescribedGroup) -> Described {
    let members = found.members.into_iter().map(|member| Member {
        id: member.member_id,
        client_id: member.client_id,
        host: member.client_host,
        instance: member.group_instance_id,
        assigned: assigned(&member.member_assignment).unwrap_or_default(),
    });
    Described {
        kind: "classic",
        state: found.group_state,
        protocol: found.protocol_data,
        epoch: -1,
        members: members.collect(),
        rebalances: found
            .rebalances
            .into_iter()
            .map(|one| (one.at_ms, one.from, one.reason))
            .collect(),
    }
}

/// Topics and partitions of a consumer's assignment; `None` when it is another client's format.
fn assigned(bytes: &Bytes) -> Option<Vec<(String, Vec<i32>)>> {
    let mut reader = Reader::new(bytes);
    reader.get_i16().ok()?;
    let count = reader.get_count(FORM, 6).ok()?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.get_str(FORM).ok()?.to_owned();
        let count = reader.get_count(FORM, 4).ok()?;
        let partitions: Option<Vec<i32>> = (0..count).map(|_| reader.get_i32().ok()).collect();
        topics.push((name, partitions?));
    }
    Some(topics)
}

fn lines(
    client: &mut Client,
    group: &str,
    described: &Described,
    target: &Target,
) -> Result<Vec<Line>, CliError> {
    // Members of a share group read a partition together.
    let mut owners: BTreeMap<(String, i32), Vec<&str>> = BTreeMap::new();
    for member in &described.members {
        for (topic, partitions) in &member.assigned {
            for index in partitions {
                owners.entry((topic.clone(), *index)).or_default().push(&member.id);
            }
        }
    }
    let committed = match described.kind {
        SHARE => starts(client, group)?,
        _ => committed(client, group)?
            .into_iter()
            .map(|(topic, own)| {
                let offsets = own.into_iter().map(|(index, own)| (index, own.committed_offset));
                (topic, offsets.collect())
            })
            .collect(),
    };
    let mut wanted: BTreeMap<String, BTreeMap<i32, Option<i64>>> = BTreeMap::new();
    for (topic, index) in owners.keys() {
        wanted.entry(topic.clone()).or_default().insert(*index, None);
    }
    for (topic, partitions) in committed {
        let offsets = partitions.into_iter();
        let offsets = offsets.map(|(index, offset)| (index, (offset >= 0).then_some(offset)));
        wanted.entry(topic).or_default().extend(offsets);
    }
    let mut lines = Vec::new();
    for (topic, partitions) in wanted {
        let mut leaders = Leaders::find(&target.bootstrap, &topic, false).ok();
        for (partition, offset) in partitions {
            let place = (topic.clone(), partition);
            let member = owners.get(&place).map_or_else(|| "-".to_owned(), |own| own.join(","));
            let (end, lag_seconds) = match leaders.as_mut() {
                Some(leaders) => ends_of(leaders, &topic, partition, offset)?,
                None => (None, None),
            };
            let topic = topic.clone();
            lines.push(Line { topic, partition, offset, end, lag_seconds, member });
        }
    }
    Ok(lines)
}

/// End offset, and seconds that the group is behind.
#[allow(clippy::disallowed_methods, reason = "a command reads the wall clock")]
fn ends_of(
    leaders: &mut Leaders,
    topic: &str,
    partition: i32,
    offset: Option<i64>,
) -> Result<(Option<i64>, Option<i64>), CliError> {
    if leaders.require(topic, partition).is_err() {
        return Ok((None, None));
    }
    let end = offsets::at(leaders, topic, partition, offsets::LATEST)?;
    let Some(offset) = offset else { return Ok((Some(end), None)) };
    if offset >= end {
        return Ok((Some(end), Some(0)));
    }
    let written_ms = lag::timestamp_at(leaders, topic, partition, offset)?;
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ms = since_1970.ok().and_then(|since| i64::try_from(since.as_millis()).ok());
    let behind = now_ms.zip(written_ms).map(|(now, written)| (now - written).max(0) / 1000);
    Ok((Some(end), behind))
}

impl Line {
    fn lag(&self) -> Option<i64> {
        self.end.zip(self.offset).map(|(end, offset)| (end - offset).max(0))
    }
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn print_text(group: &str, described: &Described, lines: &[Line]) {
    let Described { kind, state, protocol, .. } = described;
    let protocol = if protocol.is_empty() { "-" } else { protocol };
    let count = described.members.len();
    println!("{group}  {kind}  {state}  {protocol}  {count} members");
    let heading = ["TOPIC", "PARTITION", "OFFSET", "END", "LAG", "SECONDS", "MEMBER"];
    let mut table = Table::new(&heading);
    for line in lines {
        table.row(vec![
            line.topic.clone(),
            line.partition.to_string(),
            or_dash(line.offset),
            or_dash(line.end),
            or_dash(line.lag()),
            or_dash(line.lag_seconds),
            line.member.clone(),
        ]);
    }
    print!("\n{}", table.render());
    if !described.members.is_empty() {
        let mut table = Table::new(&["MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"]);
        for member in &described.members {
            let partitions: usize = member.assigned.iter().map(|(_, own)| own.len()).sum();
            table.row(vec![
                member.id.clone(),
                or_dash(member.instance.clone()),
                member.client_id.clone(),
                member.host.clone(),
                partitions.to_string(),
            ]);
        }
        print!("\n{}", table.render());
    }
    if !described.rebalances.is_empty() {
        let mut table = Table::new(&["REBALANCED AT (MS)", "FROM", "REASON"]);
        for (at_ms, from, reason) in &described.rebalances {
            table.row(vec![at_ms.to_string(), from.to_string(), reason.clone()]);
        }
        print!("\n{}", table.render());
    }
}

fn to_json(group: &str, described: &Described, lines: &[Line]) -> serde_json::Value {
    let partitions: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "topic": line.topic, "partition": line.partition, "offset": line.offset,
                "end": line.end, "lag": line.lag(), "lag_seconds": line.lag_seconds,
                "member": line.member,
            })
        })
        .collect();
    let members: Vec<_> = described
        .members
        .iter()
        .map(|member| {
            json!({
                "member": member.id, "instance": member.instance, "client": member.client_id,
                "host": member.host, "assigned": member.assigned,
            })
        })
        .collect();
    let rebalances: Vec<_> = described
        .rebalances
        .iter()
        .map(|(at_ms, from, reason)| json!({ "at_ms": at_ms, "from": from, "reason": reason }))
        .collect();
    json!({
        "group": group, "type": described.kind, "state": described.state,
        "protocol": described.protocol, "epoch": described.epoch, "partitions": partitions,
        "members": members, "rebalances": rebalances,
    })
}

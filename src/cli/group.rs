//! `highwater group`: list, describe, reset offsets of and delete consumer groups.
//!
//! Any broker is asked where a group's coordinator is; the rest of the questions go there. Groups
//! of the consumer protocol and classic ones look the same here, as far as they are.

mod datetime;
mod describe;
mod lag;
mod reset;

use crate::cli::args::{GroupCommand, Target};
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::table::Table;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::delete_groups::DeleteGroupsRequest;
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListedGroup};
use crate::protocol::messages::metadata::MetadataRequest;
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponsePartitions,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// First FindCoordinator that asks for many keys.
const MANY_KEYS: i16 = 4;
/// How long a coordinator that is loading its groups is waited for.
const COORDINATOR_WITHIN: Duration = Duration::from_secs(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Runs one of the group commands.
pub(crate) fn run(command: &GroupCommand) -> Result<(), CliError> {
    match command {
        GroupCommand::List { states, types, json, target } => list(states, types, *json, target),
        GroupCommand::Describe { group, json, target } => describe::run(group, *json, target),
        GroupCommand::ResetOffsets(options) => reset::run(options),
        GroupCommand::Delete { groups, target } => delete(groups, target),
    }
}

fn list(
    states: &[String],
    types: &[String],
    is_json: bool,
    target: &Target,
) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let brokers =
        client.call(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() })?;
    let mut groups: Vec<ListedGroup> = Vec::new();
    for broker in brokers.brokers {
        let mut client = Client::connect(&format!("{}:{}", broker.host, broker.port))?;
        let request =
            ListGroupsRequest { states_filter: states.to_vec(), types_filter: types.to_vec() };
        let listed = again_while_loading(|| {
            let listed = client.call(&request)?;
            check("groups", listed.error_code, None)?;
            Ok(listed.groups)
        })?;
        groups.extend(listed);
    }
    groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    let mut table = Table::new(&["GROUP", "TYPE", "STATE", "PROTOCOL"]);
    for group in groups {
        if is_json {
            println!("{}", listed_json(&group));
        }
        table.row(vec![group.group_id, group.group_type, group.group_state, group.protocol_type]);
    }
    if !is_json {
        print!("{}", table.render());
    }
    Ok(())
}

fn listed_json(group: &ListedGroup) -> serde_json::Value {
    json!({
        "group": group.group_id, "type": group.group_type, "state": group.group_state,
        "protocol": group.protocol_type,
    })
}

fn delete(groups: &[String], target: &Target) -> Result<(), CliError> {
    for group in groups {
        let mut client = coordinator(target, group)?;
        let request = DeleteGroupsRequest { groups_names: vec![group.clone()] };
        again_while_loading(|| {
            for result in client.call(&request)?.results {
                check(&format!("group {group}"), result.error_code, None)?;
            }
            Ok(())
        })?;
        println!("deleted {group}");
    }
    Ok(())
}

/// A connection to the group's coordinator.
fn coordinator(target: &Target, group: &str) -> Result<Client, CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let has_many = client.version_of::<FindCoordinatorRequest>()? >= MANY_KEYS;
    let request = match has_many {
        true => FindCoordinatorRequest {
            coordinator_keys: vec![group.to_owned()],
            ..Default::default()
        },
        false => FindCoordinatorRequest { key: group.to_owned(), ..Default::default() },
    };
    let address = again_while_loading(|| {
        let found = client.call(&request)?;
        let (code, host, port) = match found.coordinators.into_iter().next() {
            Some(one) => (one.error_code, one.host, one.port),
            None => (found.error_code, found.host, found.port),
        };
        check(&format!("coordinator of {group}"), code, None)?;
        Ok(format!("{host}:{port}"))
    })?;
    Client::connect(&address)
}

/// Asks again for a while when the answer is that the coordinator is on its way.
#[allow(clippy::disallowed_methods, reason = "a command waits on the wall clock")]
fn again_while_loading<T>(mut ask: impl FnMut() -> Result<T, CliError>) -> Result<T, CliError> {
    let give_up = Instant::now() + COORDINATOR_WITHIN;
    loop {
        match ask() {
            Err(CliError::Refused {
                code:
                    KafkaCode::CoordinatorLoadInProgress
                    | KafkaCode::CoordinatorNotAvailable
                    | KafkaCode::NotCoordinator,
                ..
            }) if Instant::now() < give_up => std::thread::sleep(ASK_AGAIN_AFTER),
            answer => return answer,
        }
    }
}

/// All committed offsets of a group, by topic and partition.
fn committed(
    client: &mut Client,
    group: &str,
) -> Result<BTreeMap<String, BTreeMap<i32, OffsetFetchResponsePartitions>>, CliError> {
    let asked =
        OffsetFetchRequestGroup { group_id: group.to_owned(), topics: None, ..Default::default() };
    let request = OffsetFetchRequest { groups: vec![asked], ..Default::default() };
    again_while_loading(|| {
        let mut topics: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for answer in client.call(&request)?.groups {
            check(&format!("offsets of {group}"), answer.error_code, None)?;
            for topic in answer.topics {
                let offsets = topics.entry(topic.name).or_default();
                let partitions = topic.partitions.into_iter();
                offsets.extend(partitions.map(|own| (own.partition_index, own)));
            }
        }
        Ok(topics)
    })
}

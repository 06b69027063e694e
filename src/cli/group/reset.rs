//! `highwater group reset-offsets`: shows where a group would begin, and sets it with `--execute`.

use super::{again_while_loading, committed, coordinator, datetime};
use crate::cli::args::ResetOptions;
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::leaders::Leaders;
use crate::cli::offsets;
use crate::cli::table::Table;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Where to.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Earliest,
    Latest,
    /// Milliseconds since 1970.
    Time(i64),
    /// Relative to what is committed.
    Shift(i64),
    Offset(i64),
}

/// One partition's way.
struct Move {
    topic: String,
    partition: i32,
    /// `None` when nothing is committed.
    from: Option<i64>,
    to: i64,
}

/// Runs the command.
pub(super) fn run(options: &ResetOptions) -> Result<(), CliError> {
    let goal = goal(options)?;
    let mut client = coordinator(&options.target, &options.group)?;
    let known = committed(&mut client, &options.group)?;
    let known: BTreeMap<String, BTreeMap<i32, i64>> = known
        .into_iter()
        .map(|(topic, own)| {
            (topic, own.into_iter().map(|(index, own)| (index, own.committed_offset)).collect())
        })
        .collect();
    let mut moves = Vec::new();
    for (topic, partitions) in wanted(options, &known)? {
        let mut leaders = Leaders::find(&options.target.bootstrap, &topic, false)?;
        let all: Vec<i32> = leaders.topic.partitions.iter().map(|p| p.partition_index).collect();
        for partition in &partitions {
            leaders.require(&topic, *partition)?;
        }
        for partition in all {
            if !partitions.is_empty() && !partitions.contains(&partition) {
                continue;
            }
            let from = known.get(&topic).and_then(|own| own.get(&partition)).copied();
            let from = from.filter(|offset| *offset >= 0);
            let to = place(&mut leaders, &topic, partition, from, goal)?;
            moves.push(Move { topic: topic.clone(), partition, from, to });
        }
    }
    if options.execute && !options.dry_run {
        commit(&mut client, &options.group, &moves)?;
    }
    show(&moves, options);
    Ok(())
}

fn goal(options: &ResetOptions) -> Result<Goal, CliError> {
    if options.to_earliest {
        return Ok(Goal::Earliest);
    }
    if options.to_latest {
        return Ok(Goal::Latest);
    }
    if let Some(by) = options.shift_by {
        return Ok(Goal::Shift(by));
    }
    if let Some(offset) = options.to_offset {
        return Ok(Goal::Offset(offset));
    }
    let text = options.to_datetime.as_deref().expect("clap wants one of the five");
    let time_ms = match text.strip_prefix('@') {
        Some(ms) => ms.parse().ok(),
        None => datetime::parse_ms(text),
    };
    time_ms.map(Goal::Time).ok_or_else(|| CliError::Usage {
        flag: "--to-datetime",
        value: text.to_owned(),
        expected: "must be YYYY-MM-DDTHH:MM:SS.sss with Z or +HH:MM (else UTC), or @MS",
    })
}

/// Topics with the partitions named, or none for all.
fn wanted(
    options: &ResetOptions,
    known: &BTreeMap<String, BTreeMap<i32, i64>>,
) -> Result<BTreeMap<String, BTreeSet<i32>>, CliError> {
    if options.all_topics {
        return Ok(known.keys().map(|topic| (topic.clone(), BTreeSet::new())).collect());
    }
    let mut wanted: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for text in &options.topics {
        let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
        let own = wanted.entry(topic.to_owned()).or_default();
        for index in partitions.split(',').filter(|index| !index.is_empty()) {
            own.insert(index.parse().map_err(|_| CliError::Usage {
                flag: "--topic",
                value: text.clone(),
                expected: "must be TOPIC or TOPIC:PARTITION,PARTITION",
            })?);
        }
    }
    Ok(wanted)
}

/// Where a partition is to begin, within what its log has.
fn place(
    leaders: &mut Leaders,
    topic: &str,
    partition: i32,
    from: Option<i64>,
    goal: Goal,
) -> Result<i64, CliError> {
    let first = offsets::at(leaders, topic, partition, offsets::EARLIEST)?;
    let end = offsets::at(leaders, topic, partition, offsets::LATEST)?;
    let to = match goal {
        Goal::Earliest => first,
        Goal::Latest => end,
        Goal::Offset(offset) => offset,
        // A partition without a committed offset is shifted from its begin.
        Goal::Shift(by) => from.unwrap_or(first).saturating_add(by),
        Goal::Time(time_ms) => match offsets::at(leaders, topic, partition, time_ms.max(0))? {
            -1 => end,
            offset => offset,
        },
    };
    Ok(to.clamp(first, end))
}

fn commit(client: &mut Client, group: &str, moves: &[Move]) -> Result<(), CliError> {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for one in moves {
        if topics.last().is_none_or(|topic| topic.name != one.topic) {
            topics.push(OffsetCommitRequestTopic { name: one.topic.clone(), partitions: vec![] });
        }
        let topic = topics.last_mut().expect("one was pushed");
        topic.partitions.push(OffsetCommitRequestPartition {
            partition_index: one.partition,
            committed_offset: one.to,
            committed_leader_epoch: -1,
            committed_metadata: Some(String::new()),
        });
    }
    let request = OffsetCommitRequest { group_id: group.to_owned(), topics, ..Default::default() };
    again_while_loading(|| {
        for topic in client.call(&request)?.topics {
            for own in topic.partitions {
                let what = format!("{group} at {}/{}", topic.name, own.partition_index);
                check(&what, own.error_code, None)?;
            }
        }
        Ok(())
    })
}

fn show(moves: &[Move], options: &ResetOptions) {
    let mut table = Table::new(&["TOPIC", "PARTITION", "FROM", "TO"]);
    for Move { topic, partition, from, to } in moves {
        if options.json {
            let is_done = options.execute;
            let line = json!({
                "topic": topic, "partition": partition, "from": from, "to": to, "done": is_done,
            });
            println!("{line}");
        }
        let from = from.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        table.row(vec![topic.clone(), partition.to_string(), from, to.to_string()]);
    }
    if !options.json {
        print!("{}", table.render());
        if !options.execute {
            println!("nothing was changed: add --execute");
        }
    }
}

//! `highwater cluster status`: the quorum, the brokers, and partitions that lack replicas.

use super::{describe_quorum, shown};
use crate::cli::args::Target;
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::table::Table;
use crate::protocol::messages::describe_brokers::{
    DescribeBrokersRequest, DescribeBrokersResponse, DescribedBroker,
};
use crate::protocol::messages::describe_quorum::{DescribedPartition, QuorumNode, ReplicaState};
use serde_json::{Value, json};

/// Asks any broker, which asks the active controller, and prints what it says.
pub(super) fn run(target: &Target, as_json: bool) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let (answer, quorum) = describe_quorum(&mut client)?;
    let brokers = client.call(&DescribeBrokersRequest { broker_id: -1 })?;
    check("the brokers", brokers.error_code, None)?;
    match as_json {
        true => println!("{}", document(&quorum, &answer.nodes, &brokers)),
        false => print!("{}", text(&quorum, &answer.nodes, &brokers)),
    }
    Ok(())
}

fn state_name(broker: &DescribedBroker) -> &'static str {
    match broker.state {
        0 => "fenced",
        1 => "active",
        2 => "stopping",
        _ => "unknown",
    }
}

/// Where a voter is reached, as `host:port`.
fn address(nodes: &[QuorumNode], id: i32) -> Option<String> {
    let node = nodes.iter().find(|node| node.node_id == id)?;
    let listener = node.listeners.first()?;
    Some(format!("{}:{}", listener.host, listener.port))
}

/// How far behind the leader it is, in entries and in milliseconds.
fn lag(quorum: &DescribedPartition, replica: &ReplicaState) -> (i64, Option<i64>) {
    let members = quorum.current_voters.iter().chain(&quorum.observers);
    let leader = members.clone().find(|one| one.replica_id == quorum.leader_id);
    let end = leader.map_or(quorum.high_watermark, |leader| leader.log_end_offset);
    let now = leader.map_or(0, |leader| leader.last_caught_up_timestamp);
    let behind = end - replica.log_end_offset.max(0);
    let caught_up = replica.last_caught_up_timestamp;
    (behind.max(0), (caught_up > 0).then_some((now - caught_up).max(0)))
}

fn text(
    quorum: &DescribedPartition,
    nodes: &[QuorumNode],
    brokers: &DescribeBrokersResponse,
) -> String {
    let mut text = format!(
        "cluster     {}\ncontroller  {}, term {}, {} entries committed\n",
        shown(brokers.cluster_id),
        quorum.leader_id,
        quorum.leader_epoch,
        quorum.high_watermark
    );
    text += &format!(
        "partitions  {}, {} with too few replicas in sync, {} without a leader\n\n",
        brokers.partitions, brokers.under_replicated, brokers.leaderless
    );
    let mut members = Table::new(&["NODE", "ROLE", "ADDRESS", "LAG", "CAUGHT UP", "DIRECTORY"]);
    for (replicas, role) in [(&quorum.current_voters, "voter"), (&quorum.observers, "observer")] {
        for replica in replicas {
            let (entries, ms) = lag(quorum, replica);
            let is_leader = replica.replica_id == quorum.leader_id;
            members.row(vec![
                replica.replica_id.to_string(),
                if is_leader { "leader".to_owned() } else { role.to_owned() },
                address(nodes, replica.replica_id).unwrap_or_else(|| "-".to_owned()),
                entries.to_string(),
                ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms}ms ago")),
                shown(replica.replica_directory_id),
            ]);
        }
    }
    text += &members.render();
    let heading = ["BROKER", "STATE", "ADDRESS", "RACK", "CORES", "REPLICAS", "LEADS", "DIRECTORY"];
    let mut table = Table::new(&heading);
    for broker in &brokers.brokers {
        table.row(vec![
            broker.broker_id.to_string(),
            state_name(broker).to_owned(),
            format!("{}:{}", broker.host, broker.port),
            broker.rack.clone().unwrap_or_else(|| "-".to_owned()),
            broker.cores.to_string(),
            broker.replicas.to_string(),
            broker.leaders.to_string(),
            shown(broker.directory_id),
        ]);
    }
    text.push('\n');
    text + &table.render()
}

fn document(
    quorum: &DescribedPartition,
    nodes: &[QuorumNode],
    brokers: &DescribeBrokersResponse,
) -> Value {
    let member = |replica: &ReplicaState| {
        let (entries, ms) = lag(quorum, replica);
        json!({
            "node_id": replica.replica_id,
            "address": address(nodes, replica.replica_id),
            "directory_id": shown(replica.replica_directory_id),
            "log_end_offset": replica.log_end_offset,
            "lag_entries": entries,
            "lag_ms": ms,
        })
    };
    let broker = |broker: &DescribedBroker| {
        json!({
            "node_id": broker.broker_id,
            "epoch": broker.broker_epoch,
            "directory_id": shown(broker.directory_id),
            "state": state_name(broker),
            "is_controller": broker.is_controller,
            "cores": broker.cores,
            "host": broker.host,
            "port": broker.port,
            "rack": broker.rack,
            "replicas": broker.replicas,
            "leads": broker.leaders,
        })
    };
    json!({
        "cluster_id": shown(brokers.cluster_id),
        "leader": quorum.leader_id,
        "term": quorum.leader_epoch,
        "committed": quorum.high_watermark,
        "voters": quorum.current_voters.iter().map(member).collect::<Vec<_>>(),
        "observers": quorum.observers.iter().map(member).collect::<Vec<_>>(),
        "brokers": brokers.brokers.iter().map(broker).collect::<Vec<_>>(),
        "partitions": brokers.partitions,
        "under_replicated_partitions": brokers.under_replicated,
        "leaderless_partitions": brokers.leaderless,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::describe_quorum::QuorumListener;
    use expect_test::expect;
    use uuid::Uuid;

    fn replica(id: i32, end: i64, caught_up: i64) -> ReplicaState {
        ReplicaState {
            replica_id: id,
            log_end_offset: end,
            last_fetch_timestamp: caught_up,
            last_caught_up_timestamp: caught_up,
            ..ReplicaState::default()
        }
    }

    #[test]
    fn a_status_shows_who_lags_and_who_stops() {
        let quorum = DescribedPartition {
            leader_id: 1,
            leader_epoch: 7,
            high_watermark: 100,
            current_voters: vec![replica(1, 101, 5000), replica(2, 90, 4800)],
            observers: vec![replica(4, -1, -1)],
            ..DescribedPartition::default()
        };
        let broker = |broker_id, state| DescribedBroker {
            broker_id,
            state,
            host: "10.0.0.1".to_owned(),
            port: 9092,
            cores: 2,
            directory_id: Uuid::nil(),
            rack: None,
            ..DescribedBroker::default()
        };
        let brokers = DescribeBrokersResponse {
            brokers: vec![broker(1, 1), broker(2, 2), broker(4, 0)],
            partitions: 12,
            under_replicated: 3,
            ..DescribeBrokersResponse::default()
        };
        let listener = QuorumListener {
            name: "CONTROLLER".to_owned(),
            host: "10.0.0.1".to_owned(),
            port: 9093,
        };
        let nodes = [QuorumNode { node_id: 1, listeners: vec![listener] }];
        expect![[r#"
            cluster     -
            controller  1, term 7, 100 entries committed
            partitions  12, 3 with too few replicas in sync, 0 without a leader

            NODE  ROLE      ADDRESS        LAG  CAUGHT UP  DIRECTORY
            1     leader    10.0.0.1:9093  0    0ms ago    -
            2     voter     -              11   200ms ago  -
            4     observer  -              101  never      -

            BROKER  STATE     ADDRESS        RACK  CORES  REPLICAS  LEADS  DIRECTORY
            1       active    10.0.0.1:9092  -     2      0         0      -
            2       stopping  10.0.0.1:9092  -     2      0         0      -
            4       fenced    10.0.0.1:9092  -     2      0         0      -
        "#]]
        .assert_eq(&text(&quorum, &nodes, &brokers));
        let document = document(&quorum, &nodes, &brokers);
        assert_eq!(document["voters"][0]["address"], "10.0.0.1:9093");
        assert_eq!(document["voters"][1]["lag_entries"], 11);
        assert_eq!(document["observers"][0]["lag_ms"], Value::Null);
    }
}

//! How the brokers and the topic of a run are configured, and what their durability is: asked of
//! the brokers themselves before the load.
//!
//! Invariant: a broker that refuses, or does not know a request, leaves the field absent with the
//! reason. Of its directories only what it tells is said, and their disks only where it runs on
//! this machine and both see a volume of the same size.

use std::path::Path;
use std::time::Duration;

use highwater::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use highwater::protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResult,
};
use highwater::protocol::messages::metadata::{MetadataRequest, MetadataResponseBroker};
use serde_json::{Map, Value, json};

use crate::control::Control;
use crate::failure::{Failure, code_name};
use crate::host_disk::{disk_of, room_of};

/// What decides when an acknowledged record is on stable storage, and on how many replicas:
/// Highwater's key, then Apache Kafka's.
const DURABILITY_KEYS: [&str; 8] = [
    "highwater.durability",
    "flush.messages",
    "flush.ms",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "min.insync.replicas",
    "unclean.leader.election.enable",
    "default.replication.factor",
];

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The wire's number of a value that nobody has set.
const SOURCE_DEFAULT: i8 = 5;

/// A broker that takes longer is left out, so that a run begins.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Of larger clusters the first so many are asked.
const BROKERS_MAX: usize = 16;

/// `brokers` and `topic` of a summary's environment.
pub(crate) fn describe_cluster(bootstrap: &str, topic: &str) -> Map<String, Value> {
    let asked = Control::connect_within(bootstrap, ANSWER_WITHIN).and_then(|mut control| {
        let request = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
        let brokers = control.call(&request)?.brokers;
        Ok((control, brokers))
    });
    let mut facts = Map::new();
    match asked {
        Err(failure) => {
            facts.insert("brokers_absent".to_owned(), first_line(&failure));
        }
        Ok((mut control, mut brokers)) => {
            brokers.sort_by_key(|broker| broker.node_id);
            let told = brokers.iter().take(BROKERS_MAX);
            let told = told.map(|broker| describe_broker(&control, broker));
            facts.insert("brokers".to_owned(), told.collect());
            if brokers.len() > BROKERS_MAX {
                facts.insert("brokers_not_asked".to_owned(), json!(brokers.len() - BROKERS_MAX));
            }
            let mut of_topic = Map::from_iter([("name".to_owned(), json!(topic))]);
            add_config(&mut of_topic, configs(&mut control, TOPIC, topic));
            facts.insert("topic".to_owned(), Value::Object(of_topic));
        }
    }
    facts
}

fn describe_broker(control: &Control, broker: &MetadataResponseBroker) -> Value {
    let address = format!("{}:{}", broker.host, broker.port);
    let mut facts = Map::from_iter([
        ("id".to_owned(), json!(broker.node_id)),
        ("address".to_owned(), json!(address)),
    ]);
    match control.connect_to(&address) {
        Err(failure) => add_config(&mut facts, Err(failure)),
        Ok(mut own) => {
            add_config(&mut facts, configs(&mut own, BROKER, &broker.node_id.to_string()));
            match log_dirs(&mut own) {
                Ok(dirs) => facts.insert("log_dirs".to_owned(), Value::from(dirs)),
                Err(failure) => facts.insert("log_dirs_absent".to_owned(), first_line(&failure)),
            };
        }
    }
    Value::Object(facts)
}

/// All keys of one topic or broker.
fn configs(
    control: &mut Control,
    kind: i8,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    let resource = DescribeConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let mut results = control.call(&request)?.results;
    let refusal = results.iter().map(|result| result.error_code).find(|code| *code != 0);
    match (refusal, results.pop()) {
        (Some(code), _) => Err(Failure::Declined { api: "DescribeConfigs", code }),
        (None, result) => Ok(result.map(|result| result.configs).unwrap_or_default()),
    }
}

/// The keys that were set, and those of durability whether set or not.
fn add_config(
    facts: &mut Map<String, Value>,
    told: Result<Vec<DescribeConfigsResourceResult>, Failure>,
) {
    let entries = match told {
        Ok(entries) => entries,
        Err(failure) => {
            facts.insert("config_absent".to_owned(), first_line(&failure));
            return;
        }
    };
    let chosen = |is_chosen: &dyn Fn(&DescribeConfigsResourceResult) -> bool| {
        let chosen = entries.iter().filter(|entry| !entry.is_sensitive && is_chosen(entry));
        chosen.map(|entry| (entry.name.clone(), json!(entry.value))).collect::<Value>()
    };
    facts.insert("config".to_owned(), chosen(&|entry| entry.config_source != SOURCE_DEFAULT));
    let is_of_durability =
        |entry: &DescribeConfigsResourceResult| DURABILITY_KEYS.contains(&entry.name.as_str());
    facts.insert("durability".to_owned(), chosen(&is_of_durability));
}

fn log_dirs(control: &mut Control) -> Result<Vec<Value>, Failure> {
    // No topic is asked for: a large cluster would tell of each partition.
    let answer = control.call(&DescribeLogDirsRequest { topics: Some(Vec::new()) })?;
    if answer.error_code != 0 {
        return Err(Failure::Declined { api: "DescribeLogDirs", code: answer.error_code });
    }
    let is_here = is_on_this_machine(control);
    Ok(answer.results.iter().map(|dir| log_dir(dir, is_here)).collect())
}

/// Whoever connects to an address of its own machine does so from that address.
fn is_on_this_machine(control: &Control) -> bool {
    let ends = (control.socket().local_addr(), control.socket().peer_addr());
    matches!(ends, (Ok(local), Ok(peer)) if local.ip() == peer.ip())
}

fn log_dir(dir: &DescribeLogDirsResult, is_here: bool) -> Value {
    if dir.error_code != 0 {
        return json!({ "path": dir.log_dir, "error": code_name(dir.error_code) });
    }
    let told = |bytes: i64| u64::try_from(bytes).ok();
    let path = Path::new(&dir.log_dir);
    // Behind a forwarded port, or in a container, the same name is another directory.
    let is_seen = is_here && path.is_absolute() && {
        room_of(path).is_some_and(|(total, _)| Some(total) == told(dir.total_bytes))
    };
    json!({
        "path": dir.log_dir,
        "total_bytes": told(dir.total_bytes),
        "free_bytes": told(dir.usable_bytes),
        "is_local": is_seen,
        "disk": if is_seen { disk_of(path) } else { None },
    })
}

/// Without the help, which is about flags.
fn first_line(failure: &Failure) -> Value {
    json!(failure.to_string().lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: &str, source: i8) -> DescribeConfigsResourceResult {
        DescribeConfigsResourceResult {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            config_source: source,
            ..DescribeConfigsResourceResult::default()
        }
    }

    #[test]
    fn what_was_set_is_told_and_durability_also_by_default() {
        let secret = DescribeConfigsResourceResult {
            is_sensitive: true,
            ..entry("sasl.jaas.config", "password", 4)
        };
        let entries = vec![
            entry("num.io.threads", "8", 5),
            entry("log.dirs", "/data", 4),
            entry("min.insync.replicas", "2", 1),
            entry("highwater.durability", "flush", 5),
            secret,
        ];
        let mut facts = Map::new();
        add_config(&mut facts, Ok(entries));
        assert_eq!(facts["config"], json!({ "log.dirs": "/data", "min.insync.replicas": "2" }));
        let durability = json!({ "min.insync.replicas": "2", "highwater.durability": "flush" });
        assert_eq!(facts["durability"], durability);
    }

    #[test]
    fn a_refusal_leaves_the_reason_in_place_of_the_field() {
        let mut facts = Map::new();
        add_config(&mut facts, Err(Failure::Declined { api: "DescribeConfigs", code: 31 }));
        assert!(facts.get("config").is_none() && facts.get("durability").is_none());
        let reason = facts["config_absent"].as_str().unwrap();
        assert!(reason.starts_with("DescribeConfigs was refused: CLUSTER_AUTH"), "{reason}");
        let nobody = describe_cluster("127.0.0.1:1", "t");
        let reason = nobody["brokers_absent"].as_str().unwrap();
        assert_eq!(reason, "no broker answers at 127.0.0.1:1");
    }

    #[test]
    fn a_directory_is_looked_at_only_where_it_is_the_brokers_own() {
        let here = tempfile::tempdir().unwrap();
        let (total, free) = room_of(here.path()).unwrap();
        let dir = |log_dir: &str, total: u64| DescribeLogDirsResult {
            log_dir: log_dir.to_owned(),
            total_bytes: i64::try_from(total).unwrap(),
            usable_bytes: i64::try_from(free).unwrap(),
            ..DescribeLogDirsResult::default()
        };
        let path = here.path().to_str().unwrap();
        let seen = log_dir(&dir(path, total), true);
        assert!(seen["disk"]["file_system"].is_string(), "{seen:#}");
        let others =
            [(dir(path, total), false), (dir(path, total + 1), true), (dir("data", total), true)];
        for (dir, is_here) in others {
            let told = log_dir(&dir, is_here);
            assert!(told["disk"].is_null() && told["is_local"] == false, "{told:#}");
            assert_eq!(told["free_bytes"], json!(free));
        }
        let offline = DescribeLogDirsResult { error_code: 56, ..dir(path, total) };
        assert_eq!(log_dir(&offline, true)["error"], "KAFKA_STORAGE_ERROR");
    }
}

//! An overview as Prometheus' text format (version 0.0.4).
//!
//! Names are `highwater_*`, units are seconds and bytes, counters end with `_total`. Every series
//! has the core as a label, or is of the whole broker; none is of a topic or partition, so that
//! their number does not grow with the cluster.

use crate::model::histogram::Histogram;
use crate::model::limits::STAGE_SAMPLE_EVERY;
use crate::shard::overview::{CoreOverview, Overview};
use crate::shard::shard::WriteState;
use std::fmt::Write;

/// Upper ends of the buckets of a stage, in nanoseconds and as their label says.
const BUCKETS: [(u64, &str); 20] = [
    (1_000, "0.000001"),
    (2_500, "0.0000025"),
    (5_000, "0.000005"),
    (10_000, "0.00001"),
    (25_000, "0.000025"),
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (10_000_000_000, "10"),
];

const NS_PER_SECOND: u64 = 1_000_000_000;

/// One number of each core.
struct PerCore {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    of: fn(&CoreOverview) -> u64,
}

const PER_CORE: [PerCore; 12] = [
    gauge("highwater_connections", "Open connections of clients.", |core| {
        number(core.counts.connections)
    }),
    counter("highwater_connections_opened_total", "Connections taken.", |core| {
        core.counts.stats.connections_opened
    }),
    counter(
        "highwater_connections_refused_total",
        "Connections closed at once because a bound was reached.",
        |core| core.counts.stats.connections_refused,
    ),
    counter("highwater_frames_total", "Requests of clients, of any kind.", |core| {
        core.counts.stats.frames
    }),
    counter(
        "highwater_frames_refused_total",
        "Frames that were no requests; their connections were closed.",
        |core| core.counts.stats.frames_refused,
    ),
    counter("highwater_requests_total", "Produces and fetches.", |core| core.stages.requests),
    counter(
        "highwater_routed_total",
        "Messages for produces and fetches to other cores.",
        |core| core.stages.routed,
    ),
    gauge("highwater_replicas", "Replicas on this core.", |core| number(core.counts.replicas)),
    gauge("highwater_leaders", "Replicas on this core that lead.", |core| {
        number(core.counts.leaders)
    }),
    gauge(
        "highwater_offline_replicas",
        "Replicas on this core that could not be opened.",
        |core| number(core.counts.offline_replicas),
    ),
    gauge("highwater_unwritten_bytes", "Appended and not yet handed to the kernel.", |core| {
        number(core.counts.unwritten_bytes)
    }),
    counter(
        "highwater_damaged_replicas_total",
        "Replicas in which a reader found damage.",
        |core| core.counts.stats.damaged_replicas,
    ),
];

const fn gauge(name: &'static str, help: &'static str, of: fn(&CoreOverview) -> u64) -> PerCore {
    PerCore { name, kind: "gauge", help, of }
}

const fn counter(name: &'static str, help: &'static str, of: fn(&CoreOverview) -> u64) -> PerCore {
    PerCore { name, kind: "counter", help, of }
}

/// Everything that is told, as text.
pub fn text(overview: &Overview) -> String {
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    head(&mut text, "highwater_info", "gauge", "Who this broker is; always 1.");
    line(
        &mut text,
        "highwater_info",
        &format!("node_id=\"{}\",version=\"{version}\"", overview.broker.0),
        1,
    );
    for metric in &PER_CORE {
        head(&mut text, metric.name, metric.kind, metric.help);
        for core in &overview.cores {
            line(&mut text, metric.name, &core_label(core), (metric.of)(core));
        }
    }
    of_broker(&mut text, overview);
    stages(&mut text, overview);
    text
}

fn of_broker(text: &mut String, overview: &Overview) {
    let is = |state: WriteState| {
        u64::from(overview.cores.iter().any(|core| core.counts.write_state == state))
    };
    let metadata = &overview.metadata;
    for (name, help, value) in [
        (
            "highwater_log_directory_offline",
            "1 where the log directory failed: nothing is acknowledged any more (E0009).",
            is(WriteState::Offline),
        ),
        (
            "highwater_disk_full",
            "1 where free space is below the reserve: produces are refused (E0008).",
            is(WriteState::DiskFull),
        ),
        (
            "highwater_under_replicated_partitions",
            "Partitions led by this broker of which not every replica is in sync.",
            number(metadata.under_replicated),
        ),
        (
            "highwater_cluster_leaderless_partitions",
            "Partitions of the cluster without a leader, as this broker knows.",
            number(metadata.leaderless),
        ),
        ("highwater_cluster_topics", "Topics of the cluster.", number(metadata.topics)),
        ("highwater_cluster_partitions", "Partitions of the cluster.", number(metadata.partitions)),
        ("highwater_metadata_records", "Metadata records applied.", metadata.end),
    ] {
        head(text, name, "gauge", help);
        line(text, name, "", value);
    }
}

fn stages(text: &mut String, overview: &Overview) {
    const NAME: &str = "highwater_stage_seconds";
    let help = format!(
        "Time of a produce or fetch in one stage of its way; one in {STAGE_SAMPLE_EVERY} is timed."
    );
    head(text, NAME, "histogram", &help);
    for core in &overview.cores {
        for (stage, times) in &core.stages.stages {
            let labels = format!("{},stage=\"{}\"", core_label(core), stage.name());
            histogram(text, NAME, &labels, times);
        }
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, times: &Histogram) {
    let bucket = format!("{name}_bucket");
    for (ns, seconds) in BUCKETS {
        line(text, &bucket, &format!("{labels},le=\"{seconds}\""), times.count_up_to(ns));
    }
    line(text, &bucket, &format!("{labels},le=\"+Inf\""), times.count());
    let (whole, rest) = (times.sum_ns() / NS_PER_SECOND, times.sum_ns() % NS_PER_SECOND);
    line(text, &format!("{name}_sum"), labels, format!("{whole}.{rest:09}"));
    line(text, &format!("{name}_count"), labels, times.count());
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

fn line(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
    writeln!(text, "{name}{open}{labels}{close} {value}").expect("a string takes what is written");
}

fn core_label(core: &CoreOverview) -> String {
    format!("core=\"{}\"", core.stages.core.0)
}

fn number(count: usize) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{BrokerId, CoreId};
    use crate::shard::overview::{CoreCounts, MetadataOverview};
    use crate::shard::stages::{Stage, StageSnapshot};
    use crate::shard::stats::Stats;
    use std::collections::BTreeSet;

    fn overview() -> Overview {
        let mut times = Histogram::default();
        [900, 40_000, 41_000, 20_000_000_000].into_iter().for_each(|ns| times.record(ns));
        let stats = Stats { frames: 12, ..Stats::default() };
        let counts = CoreCounts {
            connections: 3,
            replicas: 8,
            leaders: 5,
            offline_replicas: 1,
            unwritten_bytes: 4096,
            write_state: WriteState::DiskFull,
            stats,
        };
        let stages = StageSnapshot {
            core: CoreId(1),
            requests: 10,
            routed: 2,
            stages: vec![(Stage::Sync, times)],
        };
        let metadata = MetadataOverview { end: 99, under_replicated: 4, ..Default::default() };
        Overview { broker: BrokerId(7), cores: vec![CoreOverview { counts, stages }], metadata }
    }

    #[test]
    fn buckets_count_up_and_the_sum_is_in_seconds() {
        let text = text(&overview());
        let sync = "highwater_stage_seconds_bucket{core=\"1\",stage=\"sync\",le=";
        for (le, count) in [("0.000001", 1), ("0.00005", 3), ("10", 3), ("+Inf", 4)] {
            assert!(text.contains(&format!("{sync}\"{le}\"}} {count}\n")), "{le}:\n{text}");
        }
        assert!(
            text.contains("highwater_stage_seconds_sum{core=\"1\",stage=\"sync\"} 20.000081900\n")
        );
        assert!(text.contains("highwater_frames_total{core=\"1\"} 12\n"));
        assert!(text.contains("highwater_disk_full 1\n"));
        assert!(text.contains("highwater_under_replicated_partitions 4\n"));
    }

    #[test]
    fn each_name_is_told_once_and_before_its_values() {
        let text = text(&overview());
        let mut told = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(told.insert(name), "{name} twice");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().unwrap();
                let base =
                    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                assert!(told.contains(name) || base.is_some_and(|it| told.contains(it)), "{line}");
                assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(told.len() > PER_CORE.len());
    }
}

//! P9, P10 and P15: readers, of logs that both brokers have filled alike, from the page cache or
//! without it, alone or beside a producer.

use serde_json::Value;

use crate::bench::{Bench, Measured, alternate};
use crate::disk::{evict, settle};
use crate::failure::Failure;
use crate::figure::{Figure, Sample};
use crate::loads::half_load;
use crate::measure::sample;
use crate::rows::{Beside, Read, Row, Work};
use crate::rows_produce::BATCHES;
use crate::server::{Broker, Server, now};

/// Filled once for all rows that only read.
const READ_TOPIC: &str = "versus-read";
/// Read while it grows; filled anew by its row.
const GROWING_TOPIC: &str = "versus-drain";
const OTHER_TOPIC: &str = "versus-beside";

/// Batches of 16 KB at a rate that both brokers hold, so that both hold the same: 96 MB/s.
const FILL: &str = "produce --partitions 16 --connections 16 --acks all --records-per-batch 150 \
                    --rate 900k/s --arrivals constant --warmup 0s --fresh \
                    --config file.delete.delay.ms=1000";

const BESIDE: &str = "produce --partitions 16 --connections 16 --acks all --records-per-batch 150 \
                      --config file.delete.delay.ms=1000";

/// Fills, warms, and measures both brokers in turn.
pub(crate) fn measure(
    bench: &Bench,
    servers: &mut [Server],
    row: &Row,
) -> Result<Measured, Failure> {
    let Work::Read(read) = row.work else {
        return Err(Failure::Skipped { reason: "the row reads nothing".to_owned() });
    };
    let is_growing = read.beside == Beside::SameTopic;
    let topic = if is_growing { GROWING_TOPIC } else { READ_TOPIC };
    for server in servers.iter_mut() {
        if is_growing || !server.is_filled {
            fill(bench, server, topic)?;
            server.is_filled |= !is_growing;
        }
    }
    let servers = &*servers;
    let rate = match read.beside {
        Beside::Nothing => 0.0,
        Beside::OtherTopic | Beside::SameTopic => half_load(bench, servers, row, BATCHES)?,
    };
    for server in servers {
        let seconds = bench.arguments.warm_seconds(server.broker);
        let line = format!("consume --loop {} --duration {seconds}s", reader(read, topic));
        bench.loadgen.run_line(server, &line)?;
    }
    let outcome = alternate(bench, row, servers, |server| match read.beside {
        Beside::Nothing if read.is_cold => passes(bench, server, (read, topic), |_| true),
        Beside::Nothing => {
            let (seconds, warmup) = (row.seconds(bench.arguments), bench.loadgen.warmup_seconds);
            let flags = reader(read, topic);
            let line = format!("consume --loop {flags} --duration {seconds}s --warmup {warmup}s");
            Ok(sample(&bench.loadgen.run_line(server, &line)?))
        }
        Beside::OtherTopic | Beside::SameTopic => beside(bench, server, (row, read, topic), rate),
    });
    for server in servers {
        for topic in [GROWING_TOPIC, OTHER_TOPIC] {
            bench.loadgen.delete_topic(server, topic);
        }
    }
    outcome
}

fn reader(read: Read, topic: &str) -> String {
    format!("--topic {topic} --connections {}", read.connections)
}

fn fill(bench: &Bench, server: &Server, topic: &str) -> Result<(), Failure> {
    let seconds = if bench.arguments.quick { 5 } else { 10 };
    let durability = match server.broker {
        Broker::Kafka => "",
        Broker::Highwater => "--config highwater.durability=kernel",
    };
    let line = format!("{FILL} --duration {seconds}s --topic {topic} {durability}");
    bench.loadgen.run_line(server, &line)?;
    Ok(())
}

/// Reads the log from start to end, once and then again while `goes_on` says so.
fn passes(
    bench: &Bench,
    server: &Server,
    (read, topic): (Read, &str),
    mut goes_on: impl FnMut(f64) -> bool,
) -> Result<Sample, Failure> {
    let begin = now();
    let (mut bytes, mut seconds, mut cpu) = (0.0, 0.0, 0.0);
    let mut last;
    loop {
        if read.is_cold {
            settle(server.data());
            evict(server.data())?;
        }
        let summary =
            bench.loadgen.run_line(server, &format!("consume {}", reader(read, topic)))?;
        let figure = |value: &Value| value.as_f64().unwrap_or(0.0);
        bytes += figure(&summary["bytes"]);
        seconds += figure(&summary["measured_seconds"]);
        cpu += figure(&summary["server"]["cpu_seconds"]);
        last = sample(&summary);
        let elapsed = begin.elapsed().as_secs_f64();
        if !goes_on(elapsed) || elapsed > f64::from(bench.arguments.pass_seconds()) {
            break;
        }
    }
    if seconds == 0.0 || bytes == 0.0 {
        return Err(Failure::Skipped { reason: format!("nothing was read of {topic}") });
    }
    Ok(last
        .with(Figure::MegabyteRate, bytes / seconds / 1e6)
        .with(Figure::CpuPerGigabyte, cpu * 1e9 / bytes))
}

/// A producer at a fixed rate, first alone, then beside a reader that passes again and again.
fn beside(
    bench: &Bench,
    server: &Server,
    (row, read, topic): (&Row, Read, &str),
    rate: f64,
) -> Result<Sample, Failure> {
    bench.wait_for_room(row)?;
    let target = if read.beside == Beside::SameTopic { topic } else { OTHER_TOPIC };
    let seconds = row.seconds(bench.arguments);
    let line = format!("{BESIDE} --rate {rate:.0} --topic {target}");
    let command = || bench.loadgen.row_command((server, row), &line, seconds);
    let alone = sample(&bench.loadgen.start(command())?.summary()?);
    let mut producer = bench.loadgen.start(command())?;
    // Its warm-up goes first: only what it counts is beside readers.
    crate::server::pause(std::time::Duration::from_secs(bench.loadgen.warmup_seconds.into()));
    let read = passes(bench, server, (read, topic), |_| producer.is_running())?;
    let busy = sample(&producer.summary()?);
    let tail = |sample: &Sample, figure| sample.get(figure).unwrap_or(0.0);
    let mut sample = read;
    for figure in [Figure::P50, Figure::P99, Figure::P999] {
        sample = sample.with(figure, tail(&busy, figure));
    }
    let errors = tail(&busy, Figure::Errors) + tail(&sample, Figure::Errors);
    let growth = tail(&busy, Figure::P99) / tail(&alone, Figure::P99).max(1.0);
    // Reader and producer share a core: their lateness is in the tail, with readers and without.
    sample.invalid = None;
    Ok(sample.with(Figure::Errors, errors).with(Figure::TailGrowth, growth))
}

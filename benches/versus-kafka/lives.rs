//! P17, P19 and G4: brokers that start, and start again after a crash or a stop.

use std::time::Duration;

use crate::bench::{Bench, Measured, alternate_over};
use crate::failure::Failure;
use crate::figure::{Figure, Sample};
use crate::rows::Row;
use crate::server::{Down, Server, pause};

/// Memory is read when a broker has been idle for so long.
const IDLE: Duration = Duration::from_secs(3);

/// Load goes on for so long before a broker is killed under it.
const UNDER_LOAD: Duration = Duration::from_secs(2);

const CRASH_TOPIC: &str = "versus-crash";

/// 64 MB/s in batches of 16 KB.
const CRASH_FILL: &str = "produce --connections 16 --acks all --records-per-batch 150 --rate 600k/s \
                          --arrivals constant --warmup 0s";
const CRASH_FILL_MB_PER_SECOND: u32 = 64;

/// Groups that are there before a restart, and how they commit.
const GROUPS: &str = "commit --groups 10000 --partitions 16 --partitions-per-commit 4 \
                      --connections 16 --in-flight 5 --once --topic versus-groups";
const GROUPS_BACK: &str = "first-offsets --groups 10000 --topic versus-groups --within 3m";

/// Starts each broker on an empty directory. Formatting Kafka's directory is not counted.
pub(crate) fn measure_starts(bench: &Bench<'_>, row: &Row) -> Result<Measured, Failure> {
    let brokers = bench.arguments.brokers();
    alternate_over(bench, row, brokers.len(), |index| {
        let broker = brokers[index];
        let server = bench.start((broker, &format!("start-{broker}")), row.purpose, 1)?;
        let begin = server.started();
        bench.loadgen.wait_until_ready(&server)?;
        let sample = Sample::of(Figure::Start, begin.elapsed().as_secs_f64() * 1e3);
        pause(IDLE);
        Ok((broker, sample.with(Figure::Resident, server.resident_megabytes()?)))
    })
}

/// Memory of brokers that have just been through other rows.
pub(crate) fn measure_memory(servers: &[Server]) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    for server in servers {
        let sample = Sample::of(Figure::Resident, server.resident_megabytes()?);
        measured.samples.push((server.broker, sample));
    }
    Ok(measured)
}

/// Fills both brokers; kills each under load again and again.
pub(crate) fn measure_crashes(
    bench: &Bench<'_>,
    row: &Row,
    partitions: u32,
) -> Result<Measured, Failure> {
    bench.wait_for_room(row)?;
    let seconds = if bench.arguments.quick { 8 } else { 47 };
    let mut servers = bench.start_all(row.purpose)?;
    for server in &servers {
        let config: Vec<&str> = row.config_for(server.broker).collect();
        bench.loadgen.create_topic(server, (CRASH_TOPIC, partitions), &config)?;
        // Kafka answers before the last of a thousand partitions is led.
        bench.loadgen.wait_until_all_accept(server, CRASH_TOPIC)?;
        let line = format!("{CRASH_FILL} --topic {CRASH_TOPIC} --duration {seconds}s");
        bench.loadgen.run_line(server, &line)?;
    }
    let measured = alternate_over(bench, row, servers.len(), |index| {
        let server = &mut servers[index];
        let line = "produce --connections 16 --acks all --rate 50k/s --duration 10m --topic";
        let mut load = bench.loadgen.start_line(server, &format!("{line} {CRASH_TOPIC}"))?;
        pause(UNDER_LOAD);
        if !load.is_running() {
            return Err(Failure::Skipped { reason: "the load ended before the kill".to_owned() });
        }
        let begin = server.restart(Down::Killed)?;
        bench.loadgen.wait_until_all_accept(server, CRASH_TOPIC)?;
        let sample = Sample::of(Figure::Start, begin.elapsed().as_secs_f64() * 1e3);
        Ok((server.broker, sample.with(Figure::Resident, server.resident_megabytes()?)))
    })?;
    Ok(measured.remark(format!("{} MB of data", seconds * CRASH_FILL_MB_PER_SECOND)))
}

/// Restarts of brokers that have many groups. One broker at a time is up.
pub(crate) fn measure_groups(
    bench: &Bench<'_>,
    row: &Row,
    down: Down,
) -> Result<Measured, Failure> {
    let mut all = Measured::default();
    for broker in bench.arguments.brokers() {
        let name = format!("restart-{broker}");
        let mut server = bench.start_ready((broker, &name), row.purpose, 1)?;
        bench.loadgen.run_line(&server, GROUPS)?;
        bench.loadgen.do_line(&server, GROUPS_BACK)?;
        let measured = alternate_over(bench, row, 1, |_| {
            let begin = server.restart(down)?;
            bench.loadgen.do_line(&server, GROUPS_BACK)?;
            Ok((broker, Sample::of(Figure::Start, begin.elapsed().as_secs_f64() * 1e3)))
        })?;
        all.samples.extend(measured.samples);
        all.failure = all.failure.or(measured.failure);
    }
    Ok(all)
}

/// Idle connections and partitions, and P1 beside them. One broker at a time is up.
pub(crate) fn measure_crowd(bench: &Bench<'_>, row: &Row) -> Result<Measured, Failure> {
    let thousands: u32 = if bench.arguments.quick { 2 } else { 10 };
    let mut all = Measured::default();
    for broker in bench.arguments.brokers() {
        let name = format!("crowd-{broker}");
        let mut server = bench.start_ready((broker, &name), row.purpose, 1)?;
        // Kafka refuses 10,000 partitions in one request.
        for topic in 0..thousands {
            let name = format!("crowd-{topic}");
            let config: Vec<&str> = row.config_for(broker).collect();
            bench.loadgen.create_topic(&server, (&name, 1000), &config)?;
            bench.loadgen.wait_until_all_accept(&server, &name)?;
        }
        let measured = alternate_over(bench, row, 1, |_| {
            let sample = crowd_sample(bench, row, (&mut server, thousands))?;
            Ok((broker, sample))
        })?;
        all.samples.extend(measured.samples);
        all.failure = all.failure.or(measured.failure);
    }
    Ok(all.remark(format!("{thousands},000 connections and {thousands},000 partitions")))
}

fn crowd_sample(
    bench: &Bench<'_>,
    row: &Row,
    (server, thousands): (&mut Server, u32),
) -> Result<Sample, Failure> {
    let begin = server.restart(Down::Stopped)?;
    bench.loadgen.wait_until_all_accept(server, "crowd-0")?;
    let started = begin.elapsed().as_secs_f64() * 1e3;
    let line = format!("idle --connections {thousands}000");
    let mut idle = bench.loadgen.start_line(server, &line)?;
    idle.first_line()?;
    pause(IDLE);
    let load = Row { work: crate::rows::Work::Load(crate::rows_produce::ONE_RECORD), ..*row };
    // A broker that has just started: what its compiler has not yet seen must not be the figure.
    bench.loadgen.run(server, &load, bench.arguments.warm_seconds(server.broker))?;
    let sample = bench.loadgen.run(server, &load, row.seconds(bench.arguments))?;
    if !idle.is_running() {
        return Err(Failure::Skipped { reason: "idle connections were closed".to_owned() });
    }
    Ok(sample.with(Figure::Start, started))
}

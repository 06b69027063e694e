//! R2 and R3: nodes of a cluster die, and their partitions get other leaders.

use serde_json::Value;

use crate::bench::{Bench, Measured, alternate_over};
use crate::failure::Failure;
use crate::figure::{Figure, Sample, Spread};
use crate::rows::Row;
use crate::server::{Down, Server};

/// A median of fewer deaths says little.
const KILLS_MIN: usize = 5;

/// Kills each node of both clusters in turn: whoever leads the metadata quorum dies as often on one
/// side as on the other.
pub(crate) fn measure_failovers(
    bench: &Bench<'_>,
    row: &Row,
    partitions: u32,
) -> Result<Measured, Failure> {
    let kills = KILLS_MIN.div_ceil(bench.arguments.repeats.max(1));
    let mut servers = bench.start_all(row.purpose)?;
    let mut turns = vec![0; servers.len()];
    let measured = alternate_over(bench, row, servers.len(), |index| {
        let (server, turn) = (&mut servers[index], &mut turns[index]);
        let mut seen = Vec::new();
        for _ in 0..kills {
            let victim = *turn % server.node_count();
            *turn += 1;
            seen.push(kill(bench, (server, row), victim, partitions)?);
        }
        Ok((server.broker, median(&seen)))
    })?;
    let deaths = kills * bench.arguments.repeats;
    Ok(measured.remark(format!("{deaths} deaths on each side, {kills} to a sample (their median)")))
}

/// One death; the node is started again, and the next measurement waits for it.
fn kill(
    bench: &Bench<'_>,
    (server, row): (&mut Server, &Row),
    victim: usize,
    partitions: u32,
) -> Result<Sample, Failure> {
    let summary = bench.loadgen.fail_over((server, row), victim, partitions);
    // It is down, or a failure has left the cluster to its end.
    server.node(victim).restart(Down::Killed)?;
    let summary = summary?;
    let figure = |value: &Value| value.as_f64().unwrap_or(0.0);
    Ok(Sample::of(Figure::Failover, figure(&summary["gap_ms"]["max"]))
        .with(Figure::Noticed, figure(&summary["noticed_ms"]))
        .with(Figure::Handover, figure(&summary["handover_ms"])))
}

fn median(seen: &[Sample]) -> Sample {
    let figures = [Figure::Failover, Figure::Noticed, Figure::Handover];
    let medians = figures.map(|figure| (figure, Spread::of_figure(seen, figure)));
    medians.into_iter().fold(Sample::default(), |sample, (figure, spread)| match spread {
        Some(spread) => sample.with(figure, spread.median),
        None => sample,
    })
}

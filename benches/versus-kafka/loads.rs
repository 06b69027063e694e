//! Rows that put a load on both brokers: warmed, then measured in turn.

use crate::bench::{Bench, Measured, alternate};
use crate::failure::Failure;
use crate::figure::Figure;
use crate::rows::{Row, Work};
use crate::server::Server;

/// Rebalances of a measurement.
const REBALANCES: u32 = 4;

/// Warms both brokers up with the row's own work, then measures them in turn.
pub(crate) fn measure(bench: &Bench, servers: &[Server], row: &Row) -> Result<Measured, Failure> {
    let is_rebalance = matches!(row.work, Work::Rebalance(_));
    for server in servers {
        let seconds = bench.arguments.warm_seconds(server.broker);
        let seconds = if is_rebalance { REBALANCES } else { seconds };
        bench.loadgen.run(server, row, seconds)?;
    }
    let seconds = if is_rebalance { REBALANCES } else { row.seconds(bench.arguments) };
    alternate(bench, row, servers, |server| {
        bench.wait_for_room(row)?;
        bench.loadgen.run(server, row, seconds)
    })
}

/// Measures both brokers at half of what the slower one takes of `closed`.
pub(crate) fn measure_half(
    bench: &Bench,
    servers: &[Server],
    row: &Row,
    (closed, open): (&str, &str),
) -> Result<Measured, Failure> {
    let rate = half_load(bench, servers, row, closed)?;
    let line = format!("{open} --rate {rate:.0}");
    for server in servers {
        let seconds = bench.arguments.warm_seconds(server.broker);
        bench.loadgen.run_load((server, row), &line, seconds)?;
    }
    let measured = alternate(bench, row, servers, |server| {
        bench.wait_for_room(row)?;
        bench.loadgen.run_load((server, row), &line, row.seconds(bench.arguments))
    })?;
    Ok(measured.remark(format!("{rate:.0} records/s")))
}

/// Half of what the slower broker takes of a closed loop, in records per second.
pub(crate) fn half_load(
    bench: &Bench,
    servers: &[Server],
    row: &Row,
    closed: &str,
) -> Result<f64, Failure> {
    let mut least = f64::INFINITY;
    for server in servers {
        let seconds = bench.arguments.warm_seconds(server.broker);
        let sample = bench.loadgen.run_load((server, row), closed, seconds)?;
        least = least.min(sample.get(Figure::RecordRate).unwrap_or(0.0));
    }
    eprintln!("{}: half of the slower broker's load is {:.0} records/s", row.id, least / 2.0);
    Ok((least / 2.0).max(1.0))
}

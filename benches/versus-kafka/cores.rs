//! P16: what a second core costs. Four brokers are up, two of each kind, and one at a time has
//! work.

use crate::bench::{Bench, Measured, alternate_over};
use crate::failure::Failure;
use crate::figure::{Figure, Sample};
use crate::rows::Row;
use crate::server::{Broker, Server};

/// Measures both brokers on one core and on two.
pub(crate) fn measure(bench: &Bench, row: &Row) -> Result<Measured, Failure> {
    let mut pairs: Vec<(Broker, [Server; 2])> = Vec::new();
    for broker in bench.arguments.brokers() {
        let start = |name: &str, cores: usize| {
            bench.start_ready((broker, &format!("{name}-{broker}")), row.purpose, cores)
        };
        let pair = [start("one-core", 1)?, start("two-cores", 2)?];
        for server in &pair {
            bench.loadgen.run(server, row, bench.arguments.warm_seconds(broker))?;
        }
        pairs.push((broker, pair));
    }
    let seconds = row.seconds(bench.arguments);
    alternate_over(bench, row, pairs.len(), |index| {
        let (broker, [one, two]) = &pairs[index];
        let one = bench.loadgen.run(one, row, seconds)?;
        let two = bench.loadgen.run(two, row, seconds)?;
        Ok((*broker, both(one, &two)))
    })
}

fn both(one: Sample, two: &Sample) -> Sample {
    let cpu = |sample: &Sample| sample.get(Figure::CpuPerRequest).unwrap_or(0.0);
    let (of_one, of_two) = (cpu(&one), cpu(two));
    let mut both = one.with(Figure::CpuPerRequestOfTwo, of_two);
    if of_one > 0.0 {
        both = both.with(Figure::CpuGrowth, of_two / of_one);
    }
    // The client shares its core with the second of the broker's: its own time is not judged.
    both.invalid = None;
    both
}

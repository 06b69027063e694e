//! What all rows share: brokers to be had, room on the disk, and the order of measurements.

use std::path::PathBuf;
use std::time::Duration;

use crate::Arguments;
use crate::disk::free_gb;
use crate::failure::Failure;
use crate::figure::Sample;
use crate::highwater;
use crate::kafka::Kafka;
use crate::measure::Loadgen;
use crate::rows::Row;
use crate::server::{Broker, Purpose, Server, now, pause};

/// Free space that no row may use up.
const SPARE_GB: u64 = 2;

/// Deleted topics are off the disk within this time.
const ROOM_WITHIN: Duration = Duration::from_secs(30);

/// Where brokers and generators come from.
pub(crate) struct Bench<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) loadgen: Loadgen,
    pub(crate) kafka: Option<Kafka>,
    pub(crate) folder: PathBuf,
}

/// What was measured of a row; with a failure, what there was until then.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) samples: Vec<(Broker, Sample)>,
    pub(crate) failure: Option<Failure>,
    /// Sizes and the like that hold for this run only.
    pub(crate) remark: Option<String>,
}

impl Measured {
    /// All samples of a broker.
    pub(crate) fn of(&self, broker: Broker) -> Vec<Sample> {
        let own = self.samples.iter().filter(|(measured, _)| *measured == broker);
        own.map(|(_, sample)| sample.clone()).collect()
    }

    /// With a remark.
    pub(crate) fn remark(self, text: String) -> Measured {
        Measured { remark: Some(text), ..self }
    }
}

impl Bench<'_> {
    /// Starts a broker on an empty directory, on the first core or the first two.
    pub(crate) fn start(
        &self,
        (broker, name): (Broker, &str),
        purpose: Purpose,
        cores: usize,
    ) -> Result<Server, Failure> {
        let data = self.folder.join(name);
        let first = self.arguments.server_core;
        let cores: Vec<usize> = match cores {
            1 => vec![first],
            _ => vec![first, self.arguments.client_core],
        };
        match (broker, &self.kafka) {
            (Broker::Kafka, Some(kafka)) => kafka.start(&data, &cores, purpose),
            _ => highwater::start(&self.loadgen.highwater, &data, &cores, purpose),
        }
    }

    /// As [`Bench::start`], and it has accepted a record.
    pub(crate) fn start_ready(
        &self,
        name: (Broker, &str),
        purpose: Purpose,
        cores: usize,
    ) -> Result<Server, Failure> {
        let server = self.start(name, purpose, cores)?;
        self.loadgen.wait_until_ready(&server)?;
        Ok(server)
    }

    /// Both brokers, ready.
    pub(crate) fn start_all(&self, purpose: Purpose) -> Result<Vec<Server>, Failure> {
        let brokers = self.arguments.brokers().into_iter();
        let start = |broker| self.start_ready((broker, &format!("data-{broker}")), purpose, 1);
        brokers.map(start).collect()
    }

    /// Waits until what was deleted has left the disk.
    pub(crate) fn wait_for_room(&self, row: &Row) -> Result<(), Failure> {
        let needed = row.room_gb(self.arguments) + SPARE_GB;
        let deadline = now() + ROOM_WITHIN;
        loop {
            let free = free_gb(&self.folder)?;
            if free >= needed {
                return Ok(());
            }
            if now() >= deadline {
                let reason = format!("the disk has {free} GB free, the row may need {needed}");
                return Err(Failure::Skipped { reason });
            }
            pause(Duration::from_millis(500));
        }
    }
}

/// Measures all servers `--repeats` times, each time in the other order.
pub(crate) fn alternate(
    bench: &Bench<'_>,
    row: &Row,
    servers: &[Server],
    measure: impl Fn(&Server) -> Result<Sample, Failure>,
) -> Result<Measured, Failure> {
    alternate_over(bench, row, servers.len(), |index| {
        Ok((servers[index].broker, measure(&servers[index])?))
    })
}

/// As [`alternate`], of things with a number. A failure after a first sample keeps what there is.
pub(crate) fn alternate_over(
    bench: &Bench<'_>,
    row: &Row,
    count: usize,
    mut measure: impl FnMut(usize) -> Result<(Broker, Sample), Failure>,
) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let repeats = bench.arguments.repeats;
    for repeat in 0..repeats {
        let mut order: Vec<usize> = (0..count).collect();
        if repeat % 2 == 1 {
            order.reverse();
        }
        for index in order {
            match measure(index) {
                Ok((broker, sample)) => {
                    eprintln!("{} {}/{repeats} {broker}: {sample}", row.id, repeat + 1);
                    measured.samples.push((broker, sample));
                }
                Err(failure) if measured.samples.is_empty() => return Err(failure),
                Err(failure) => {
                    measured.failure = Some(failure);
                    return Ok(measured);
                }
            }
        }
    }
    Ok(measured)
}

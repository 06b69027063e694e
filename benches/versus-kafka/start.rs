//! P17: from an empty directory to the first accepted record, and memory when idle.
//! G4: from the start of a process on many groups to the committed offsets of all of them.

use std::time::Duration;

use crate::Arguments;
use crate::failure::Failure;
use crate::measure::Loadgen;
use crate::report::{Report, Restart, Start};
use crate::rows::Row;
use crate::server::{Broker, Down, Purpose, Server, now, pause};

/// Memory is read when a broker has been idle for so long.
const IDLE: Duration = Duration::from_secs(3);

/// Starts each broker `--repeats` times. Formatting Kafka's directory is not counted.
pub(crate) fn measure_starts(
    arguments: &Arguments,
    loadgen: &Loadgen,
    start: &impl Fn(Broker, &str, Purpose) -> Result<Server, Failure>,
    report: &mut Report,
) -> Result<(), Failure> {
    for repeat in 0..arguments.repeats {
        for broker in arguments.brokers() {
            let server = start(broker, &format!("start-{broker}"), Purpose::Records)?;
            let begin = now();
            loadgen.wait_until_ready(&server)?;
            let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
            pause(IDLE);
            let resident_bytes = server.resident_bytes()?;
            eprintln!(
                "P17 {}/{} {broker}: {milliseconds:.0} ms, {} MB idle",
                repeat + 1,
                arguments.repeats,
                resident_bytes / 1_000_000
            );
            report.add_start(Start { broker, milliseconds, resident_bytes });
        }
    }
    Ok(())
}

/// Starts each broker again `--repeats` times after each way of going down. The other one is down.
pub(crate) fn measure_restarts(
    arguments: &Arguments,
    loadgen: &Loadgen,
    start: &impl Fn(Broker, &str, Purpose) -> Result<Server, Failure>,
    (row, report): (&Row, &mut Report),
) -> Result<(), Failure> {
    for broker in arguments.brokers() {
        let mut server = start(broker, &format!("restart-{broker}"), row.purpose())?;
        loadgen.wait_until_ready(&server)?;
        loadgen.fill_groups(&server, row)?;
        loadgen.wait_for_offsets(&server, row)?;
        for down in [Down::Killed, Down::Stopped] {
            for repeat in 0..arguments.repeats {
                let begin = server.restart(down)?;
                loadgen.wait_for_offsets(&server, row)?;
                let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
                eprintln!(
                    "{} {}/{} {broker} {down}: {milliseconds:.0} ms",
                    row.id,
                    repeat + 1,
                    arguments.repeats
                );
                report.add_restart(Restart { broker, down, milliseconds });
            }
        }
    }
    Ok(())
}

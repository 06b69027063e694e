//! P17: from an empty directory to the first accepted record, and memory when idle.

use std::time::Duration;

use crate::Arguments;
use crate::failure::Failure;
use crate::measure::Loadgen;
use crate::report::{Report, Start};
use crate::server::{Broker, Server, now, pause};

/// Memory is read when a broker has been idle for so long.
const IDLE: Duration = Duration::from_secs(3);

/// Starts each broker `--repeats` times. Formatting Kafka's directory is not counted.
pub(crate) fn measure_starts(
    arguments: &Arguments,
    loadgen: &Loadgen,
    start: &impl Fn(Broker, &str) -> Result<Server, Failure>,
    report: &mut Report,
) -> Result<(), Failure> {
    for repeat in 0..arguments.repeats {
        for broker in arguments.brokers() {
            let server = start(broker, &format!("start-{broker}"))?;
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

//! C1 and C2: an unmodified librdkafka, for realism. loadgen is faster than the clients that people
//! have; what is left of a difference between brokers when one of those is the bottleneck shows
//! here, and so does what its records cost the broker.
//!
//! kcat drives it, because it does nothing else: lines of a file to records, records to
//! `/dev/null`. Its time includes its start and its last acknowledgement.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::{Bench, Measured, alternate};
use crate::disk::settle;
use crate::failure::Failure;
use crate::figure::{Figure, Sample};
use crate::rows::{Row, Way};
use crate::server::{Server, expect_success, now, pinned};

const TOPIC: &str = "versus-kcat";
const PARTITIONS: u32 = 16;

/// Bytes of a line, without its end.
const LINE_BYTES: usize = 100;

/// Measures both brokers in turn, after one pass that does not count.
pub(crate) fn measure(
    bench: &Bench<'_>,
    servers: &[Server],
    row: &Row,
    way: Way,
) -> Result<Measured, Failure> {
    let lines: u32 = if bench.arguments.quick { 300_000 } else { 3_000_000 };
    let file = lines_file(&bench.folder, lines)?;
    for server in servers {
        fill(bench, (server, row), &file)?;
        if way == Way::Consume {
            expect_success(&mut command(bench, server, way, &file)?)?;
        }
    }
    let measured = alternate(bench, row, servers, |server| {
        if way == Way::Produce {
            bench.loadgen.delete_topic(server, TOPIC);
            create(bench, (server, row))?;
        }
        settle(server.data());
        let (begin, cpu) = (now(), server.cpu_seconds()?);
        expect_success(&mut command(bench, server, way, &file)?)?;
        let seconds = begin.elapsed().as_secs_f64();
        let cpu = server.cpu_seconds()? - cpu;
        Ok(Sample::of(Figure::RecordRate, f64::from(lines) / seconds)
            .with(Figure::CpuPerRecord, cpu * 1e6 / f64::from(lines)))
    });
    for server in servers {
        bench.loadgen.delete_topic(server, TOPIC);
    }
    Ok(measured?.remark(format!("{lines} records")))
}

/// Makes the topic and produces to it once.
fn fill(bench: &Bench<'_>, (server, row): (&Server, &Row), file: &Path) -> Result<(), Failure> {
    create(bench, (server, row))?;
    expect_success(&mut command(bench, server, Way::Produce, file)?).map(|_| ())
}

fn create(bench: &Bench<'_>, (server, row): (&Server, &Row)) -> Result<(), Failure> {
    let config: Vec<&str> = row.config_for(server.broker).collect();
    bench.loadgen.create_topic(server, (TOPIC, PARTITIONS), &config)?;
    bench.loadgen.wait_until_all_accept(server, TOPIC).map(|_| ())
}

fn command(bench: &Bench<'_>, server: &Server, way: Way, file: &Path) -> Result<Command, Failure> {
    let kcat =
        harness::kcat().map_err(|missing| Failure::Skipped { reason: missing.to_string() })?;
    let mut command = pinned(Path::new(kcat.get_program()), &[bench.loadgen.core]);
    command.envs(kcat.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-q", "-b", &server.address, "-t", TOPIC]);
    match way {
        Way::Produce => command.args(["-P", "-X", "acks=all", "-l"]).arg(file),
        Way::Consume => command.args(["-C", "-e", "-o", "beginning"]).stdout(Stdio::null()),
    };
    Ok(command)
}

/// Made once for each number of lines.
fn lines_file(folder: &Path, lines: u32) -> Result<PathBuf, Failure> {
    let path = folder.join(format!("lines-{lines}"));
    if path.exists() {
        return Ok(path);
    }
    let part = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&part)?);
    for line in 0..lines {
        let number = line.to_string();
        writeln!(file, "{number:x>LINE_BYTES$}")?;
    }
    file.flush()?;
    std::fs::rename(&part, &path)?;
    Ok(path)
}

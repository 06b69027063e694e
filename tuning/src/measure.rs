//! What a host's settings come to: pauses, wake-ups, syncs, loopback. Changes nothing.
//!
//! Run it before and after `apply`: a tuner that does not move these figures here is not worth its
//! risk here. Each measurement has a whole turn to itself, so that none disturbs another.
#![allow(clippy::disallowed_methods, reason = "this is the clock that measures the host")]

use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// A gap between two readings of the clock from which on it counts as a pause.
const PAUSE: Duration = Duration::from_micros(5);
const NAP: Duration = Duration::from_millis(1);
/// What one small commit writes.
const BLOCK_BYTES: usize = 4096;
/// Written over and over, so that no commit has to allocate.
const FILE_BLOCKS: u64 = 1024;
const FRAME_BYTES: usize = 64;
/// Samples kept of one measurement; the bound of its memory.
const SAMPLES_MAX: usize = 4 << 20;
const FILE: &str = ".tuning-measure";

pub(crate) struct Measured {
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) result: Result<Figures, String>,
}

/// In nanoseconds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) count: usize,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

pub(crate) fn measure(turn: Duration, data_dir: Option<&Path>) -> Vec<Measured> {
    let text = |outcome: io::Result<Vec<u64>>| match outcome {
        Ok(samples) => Ok(figures(samples)),
        Err(error) => Err(error.to_string()),
    };
    let sync = match data_dir {
        Some(folder) => text(syncs(turn, folder)),
        None => Err("name the disk with --data-dir".to_owned()),
    };
    let row = |id, what, result| Measured { id, what, result };
    vec![
        row(
            "pauses",
            "pauses over 5 us of a thread that only reads the clock",
            Ok(figures(pauses(turn))),
        ),
        row("wakeup", "how late a sleep of 1 ms ends", Ok(figures(wake_ups(turn)))),
        row("fdatasync", "write of 4 KiB into an allocated file, and fdatasync", sync),
        row("loopback", "64 bytes over TCP on 127.0.0.1 and back", text(round_trips(turn))),
    ]
}

fn figures(mut samples: Vec<u64>) -> Figures {
    samples.sort_unstable();
    let at = |permille: usize| {
        let rank = (samples.len() * permille).div_ceil(1000).max(1);
        samples.get(rank - 1).copied().unwrap_or(0)
    };
    Figures { count: samples.len(), p50: at(500), p99: at(990), p999: at(999), max: at(1000) }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn pauses(turn: Duration) -> Vec<u64> {
    let mut samples = Vec::new();
    let start = Instant::now();
    let mut before = start;
    while before - start < turn && samples.len() < SAMPLES_MAX {
        let now = Instant::now();
        let gap = now - before;
        if gap > PAUSE {
            samples.push(nanoseconds(gap));
        }
        before = now;
    }
    samples
}

fn wake_ups(turn: Duration) -> Vec<u64> {
    let mut samples = Vec::new();
    let start = Instant::now();
    while start.elapsed() < turn && samples.len() < SAMPLES_MAX {
        let asleep = Instant::now();
        thread::sleep(NAP);
        samples.push(nanoseconds(asleep.elapsed().saturating_sub(NAP)));
    }
    samples
}

fn syncs(turn: Duration, folder: &Path) -> io::Result<Vec<u64>> {
    let path = folder.join(format!("{FILE}-{}", std::process::id()));
    let outcome = File::create_new(&path).and_then(|file| sync_over_and_over(turn, &file));
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        outcome => {
            // The samples count; a file that stays is small and says by its name whose it is.
            let _ = fs::remove_file(&path);
            outcome
        }
    }
}

fn sync_over_and_over(turn: Duration, file: &File) -> io::Result<Vec<u64>> {
    let block = [0x5a_u8; BLOCK_BYTES];
    let position = |block: u64| block % FILE_BLOCKS * BLOCK_BYTES as u64;
    for number in 0..FILE_BLOCKS {
        file.write_all_at(&block, position(number))?;
    }
    file.sync_all()?;
    let mut samples = Vec::new();
    let start = Instant::now();
    for number in 0_u64.. {
        if start.elapsed() >= turn || samples.len() >= SAMPLES_MAX {
            break;
        }
        let begin = Instant::now();
        file.write_all_at(&block, position(number))?;
        file.sync_data()?;
        samples.push(nanoseconds(begin.elapsed()));
    }
    Ok(samples)
}

fn round_trips(turn: Duration) -> io::Result<Vec<u64>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut client = TcpStream::connect(address)?;
    let (mut server, _) = listener.accept()?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut frame = [0; FRAME_BYTES];
        loop {
            server.read_exact(&mut frame)?;
            server.write_all(&frame)?;
        }
    });
    let mut frame = [0; FRAME_BYTES];
    let mut samples = Vec::new();
    let start = Instant::now();
    while start.elapsed() < turn && samples.len() < SAMPLES_MAX {
        let begin = Instant::now();
        client.write_all(&frame)?;
        client.read_exact(&mut frame)?;
        samples.push(nanoseconds(begin.elapsed()));
    }
    drop(client);
    // It ends with the error that our end is closed.
    let _ = echo.join();
    Ok(samples)
}

/// With the result of a run before beside it, where there is one.
pub(crate) fn table(rows: &[Measured], before: Option<&Value>) -> String {
    let mut text = format!(
        "{:<10}  {:>9}  {:>10}  {:>10}  {:>10}  {:>10}\n",
        "us", "count", "p50", "p99", "p99.9", "max"
    );
    for Measured { id, what, result } in rows {
        match result {
            Ok(Figures { count, p50, p99, p999, max }) => {
                text.push_str(&line(id, *count as u64, [*p50, *p99, *p999, *max]));
            }
            Err(reason) => text.push_str(&format!("{id:<10}  n-a: {reason}\n")),
        }
        let known = before.and_then(|value| {
            let rows = value["rows"].as_array()?;
            let row = rows.iter().find(|row| row["id"] == **id)?;
            let number = |name: &str| row[name].as_u64();
            Some(line(
                "  before",
                number("count")?,
                [number("p50_ns")?, number("p99_ns")?, number("p999_ns")?, number("max_ns")?],
            ))
        });
        text.push_str(&known.unwrap_or_default());
        text.push_str(&format!("  {what}\n"));
    }
    text
}

fn line(title: &str, count: u64, figures: [u64; 4]) -> String {
    let cells = figures.map(|it| format!("  {:>10}", format!("{}.{}", it / 1000, it % 1000 / 100)));
    format!("{title:<10}  {count:>9}{}\n", cells.concat())
}

pub(crate) fn json(rows: &[Measured], turn: Duration, kernel: &str) -> Value {
    let row = |Measured { id, what, result }: &Measured| match result {
        Ok(Figures { count, p50, p99, p999, max }) => json!({
            "id": id, "what": what, "count": count,
            "p50_ns": p50, "p99_ns": p99, "p999_ns": p999, "max_ns": max,
        }),
        Err(reason) => json!({ "id": id, "what": what, "not_available": reason }),
    };
    json!({
        "version": 1,
        "turn_ms": u64::try_from(turn.as_millis()).unwrap_or(u64::MAX),
        "kernel": kernel,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_rank() {
        let found = figures((1..=1000).rev().collect());
        let wanted = Figures { count: 1000, p50: 500, p99: 990, p999: 999, max: 1000 };
        assert_eq!(found, wanted);
        let nothing = Figures { count: 0, p50: 0, p99: 0, p999: 0, max: 0 };
        assert_eq!(figures(Vec::new()), nothing);
    }
}

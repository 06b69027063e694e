//! Arrivals as they were recorded: a file of the times between them.
//!
//! Invariants
//! - The mean gap is 1: what is kept is the shape, and `--rate` decides how fast it passes.
//! - The file is read once, before the run, and has at most `GAPS_MAX` gaps.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

const GAPS_MAX: usize = 10_000_000;

/// Units that a gap may be given in, and their nanoseconds.
const UNITS: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];

/// Recorded gaps, played over and over; each of several threads takes its share of the arrivals.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trace {
    /// When each arrival is due, in mean gaps since the start of the trace.
    due: Arc<[f64]>,
    thread: usize,
    threads: usize,
}

impl Trace {
    /// Reads a file with one gap in each line: a number with `ns`, `us`, `ms` or `s`, microseconds
    /// without a unit. Empty lines and those from `#` on are left out.
    ///
    /// # Errors
    /// Names the file, the line, and what is expected there.
    pub(crate) fn read(path: &Path) -> Result<Trace, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Trace::parse(BufReader::new(file)).map_err(|text| format!("{}: {text}", path.display()))
    }

    fn parse(lines: impl BufRead) -> Result<Trace, String> {
        let mut due = Vec::new();
        let mut total_ns = 0.0;
        for (number, line) in (1..).zip(lines.lines()) {
            let line = line.map_err(|error| format!("line {number}: {error}"))?;
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            total_ns += gap_ns(text).ok_or_else(|| {
                format!(
                    "line {number}: {text}: a gap between arrivals is expected, as in 250us, \
                     1.5ms, or 250 for microseconds"
                )
            })?;
            due.push(total_ns);
            if due.len() > GAPS_MAX {
                return Err(format!("more than {GAPS_MAX} gaps"));
            }
        }
        if total_ns == 0.0 {
            return Err("no gap above 0: one gap between arrivals is expected in each line".into());
        }
        let mean_ns = total_ns / count(due.len());
        due.iter_mut().for_each(|at_ns| *at_ns /= mean_ns);
        Ok(Trace { due: due.into(), thread: 0, threads: 1 })
    }

    /// The arrivals of thread number `thread` of `threads`.
    pub(crate) fn share(&self, thread: u16, threads: u16) -> Trace {
        Trace {
            due: Arc::clone(&self.due),
            thread: usize::from(thread),
            threads: usize::from(threads.max(1)),
        }
    }

    /// When arrival `index` of this thread is due, in mean gaps of this thread.
    #[inline]
    pub(crate) fn due_gaps(&self, index: usize) -> f64 {
        let arrival = index * self.threads + self.thread;
        let (round, at) = (arrival / self.due.len(), arrival % self.due.len());
        (count(round) * count(self.due.len()) + self.due[at]) / count(self.threads)
    }
}

fn gap_ns(text: &str) -> Option<f64> {
    // The longer units first: each ends in s.
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (text.strip_suffix(unit)?, *factor),
        None => (text, 1e3),
    };
    let gap = number.trim_end().parse::<f64>().ok()?;
    (gap.is_finite() && gap >= 0.0).then_some(gap * factor)
}

#[expect(clippy::cast_precision_loss, reason = "2^53 arrivals are more than any run has")]
fn count(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_keep_their_shape_whatever_their_unit() {
        let trace = Trace::parse(&b"# recorded\n1ms\n\n3000\n  2000us # late\n"[..]).unwrap();
        let due: Vec<f64> = (0..6).map(|index| trace.due_gaps(index)).collect();
        assert_eq!(due, [0.5, 2.0, 3.0, 3.5, 5.0, 6.0]);
    }

    #[test]
    fn threads_share_the_arrivals_of_one_trace() {
        let whole = Trace::parse(&b"1ms\n3ms\n2ms\n"[..]).unwrap();
        let shares = [whole.share(0, 2), whole.share(1, 2)];
        let mut due: Vec<f64> = (0..3)
            .flat_map(|index| shares.iter().map(move |share| share.due_gaps(index)))
            .collect();
        due.sort_by(f64::total_cmp);
        // In gaps of a thread, which has half the rate.
        assert_eq!(due, [0.25, 1.0, 1.5, 1.75, 2.5, 3.0]);
    }

    #[test]
    fn a_line_that_is_no_gap_is_refused_by_its_number() {
        for text in ["1ms\nsoon\n", "1\n-2\n", "1\nms\n", "1\n2h\n"] {
            let refusal = Trace::parse(text.as_bytes()).unwrap_err();
            assert!(refusal.starts_with("line 2: ") && refusal.contains("250us"), "{refusal}");
        }
        assert!(Trace::parse(&b"0\n"[..]).unwrap_err().contains("no gap above 0"));
        let missing = Trace::read(Path::new("/nothing/here")).unwrap_err();
        assert!(missing.starts_with("/nothing/here: "), "{missing}");
    }
}

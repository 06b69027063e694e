//! One measured second in figures, and the files that grow by one entry per second.
//!
//! Why files grow while the run goes on: what was measured is kept when the run is cut short. A
//! file that cannot be written any more (a full disk) is said once and ends; the run goes on, and
//! says at its end that the files are not whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::failure::Failure;
use crate::interval::{Interval, Latencies, to_f64};

const CSV_HEADER: &str = "second,measured,records_per_second,megabytes_per_second,p50_us,p90_us,\
    p99_us,p99_9_us,max_us,end_to_end_p50_us,end_to_end_p99_us,delivered_per_second,errors,\
    busy_percent";

/// The figures of one second.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) record_rate: f64,
    pub(crate) megabyte_rate: f64,
    /// p50, p90, p99, p99.9 and longest response, in microseconds.
    pub(crate) response_us: [u64; 5],
    /// p50 and p99 from intended send time to consumer, in microseconds.
    pub(crate) end_to_end_us: [u64; 2],
    pub(crate) delivered_rate: f64,
    pub(crate) errors: u64,
    pub(crate) busy_percent: f64,
}

impl Second {
    /// Figures of `interval`.
    pub(crate) fn of(interval: &Interval) -> Second {
        let response = |percentile| interval.response.percentile_us(percentile);
        let end_to_end = |percentile| interval.end_to_end.percentile_us(percentile);
        Second {
            second: interval.second,
            record_rate: interval.record_rate(),
            megabyte_rate: interval.megabyte_rate(),
            response_us: [
                response(50.0),
                response(90.0),
                response(99.0),
                response(99.9),
                interval.response.max_us(),
            ],
            end_to_end_us: [end_to_end(50.0), end_to_end(99.0)],
            delivered_rate: interval.delivered_rate(),
            errors: interval.error_count(),
            busy_percent: interval.busy_percent(),
        }
    }

    fn csv_line(&self, is_measured: bool) -> String {
        let [p50, p90, p99, p99_9, max] = self.response_us;
        let [delivered_p50, delivered_p99] = self.end_to_end_us;
        format!(
            "{},{is_measured},{:.1},{:.3},{p50},{p90},{p99},{p99_9},{max},{delivered_p50},\
             {delivered_p99},{:.1},{},{:.1}",
            self.second,
            self.record_rate,
            self.megabyte_rate,
            self.delivered_rate,
            self.errors,
            self.busy_percent
        )
    }
}

/// `timeseries.csv` and `latency.hlog` of one run.
pub(crate) struct SecondFiles {
    csv: File,
    log: File,
    serializer: V2DeflateSerializer,
    directory: PathBuf,
    failure: Option<io::Error>,
}

impl SecondFiles {
    /// Makes the directory and both files, empty.
    ///
    /// # Errors
    /// The directory or a file cannot be made.
    pub(crate) fn create(directory: &Path) -> Result<SecondFiles, Failure> {
        let refusal = |source: io::Error| Failure::Output { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(refusal)?;
        let mut csv = File::create(directory.join("timeseries.csv")).map_err(refusal)?;
        writeln!(csv, "{CSV_HEADER}").map_err(refusal)?;
        let mut log = File::create(directory.join("latency.hlog")).map_err(refusal)?;
        let about = "#[Latencies in microseconds by tag; times since the start of the run]\n\
            #[Histogram log format version 1.3]\n\
            \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
            \"Interval_Compressed_Histogram\"\n";
        log.write_all(about.as_bytes()).map_err(refusal)?;
        let directory = directory.to_owned();
        Ok(SecondFiles {
            csv,
            log,
            serializer: V2DeflateSerializer::new(),
            directory,
            failure: None,
        })
    }

    /// Adds one second; the warm-up is in the CSV only.
    pub(crate) fn add(&mut self, second: &Interval, is_measured: bool) {
        if self.failure.is_some() {
            return;
        }
        if let Err(error) = self.write(second, is_measured) {
            eprintln!("loadgen: the files of --out end at second {}: {error}", second.second);
            self.failure = Some(error);
        }
    }

    /// Why the files are not whole; `None` when they are.
    pub(crate) fn into_failure(self) -> Option<Failure> {
        self.failure.map(|source| Failure::Output { path: self.directory, source })
    }

    fn write(&mut self, second: &Interval, is_measured: bool) -> io::Result<()> {
        writeln!(self.csv, "{}", Second::of(second).csv_line(is_measured))?;
        if !is_measured {
            return Ok(());
        }
        let mut log =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.log, &mut self.serializer)?;
        for (name, latencies) in second.latencies() {
            let tag = Tag::new(name);
            let (start, length) =
                (Duration::from_secs(second.second), Duration::from_nanos(second.wall_ns));
            log.write_histogram(latencies.histogram(), start, length, tag)
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(())
    }
}

/// The percentile distribution in the text form that HdrHistogram's plotter reads; milliseconds.
pub(crate) fn percentile_text(latencies: &Latencies) -> String {
    let histogram = latencies.histogram();
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(5) {
        count += step.count_since_last_iteration();
        let (value_ms, quantile) =
            (to_f64(step.value_iterated_to()) / 1e3, step.quantile_iterated_to());
        let line = format!("{value_ms:>12.3} {quantile:>14.12} {count:>10}");
        text.push_str(&line);
        match quantile {
            1.0.. => text.push('\n'),
            _ => text.push_str(&format!(" {:>14.2}\n", 1.0 / (1.0 - quantile))),
        }
    }
    text.push_str(&format!(
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n\
         #[Max     = {:>12.3}, Total count    = {:>12}]\n",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3,
        to_f64(histogram.max()) / 1e3,
        histogram.len()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn interval() -> Interval {
        let mut interval = Interval { wall_ns: 1_000_000_000, records: 7, ..Interval::new(3) };
        (1..=1000u64).for_each(|value| interval.response.record_ns(value * 1_000_000));
        interval
    }

    #[test]
    fn seconds_grow_the_csv_and_the_log_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = SecondFiles::create(directory.path()).unwrap();
        files.add(&interval(), false);
        files.add(&interval(), true);
        let csv = fs::read_to_string(directory.path().join("timeseries.csv")).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].starts_with("3,false,7.0,") && lines[2].starts_with("3,true,7.0,"));
        assert_eq!(lines[0].split(',').count(), lines[2].split(',').count());
        let log = fs::read(directory.path().join("latency.hlog")).unwrap();
        let entries: Vec<_> = IntervalLogIterator::new(&log).map(Result::unwrap).collect();
        let tags: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                LogEntry::Interval(line) => line.tag().map(|tag| tag.as_str().to_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(tags, ["response"]);
    }

    #[test]
    fn a_disk_that_fills_up_ends_the_files_and_not_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = SecondFiles::create(directory.path()).unwrap();
        files.add(&interval(), true);
        files.csv = File::options().write(true).open("/dev/full").unwrap();
        (0..3).for_each(|_| files.add(&interval(), true));
        let failure = files.into_failure().unwrap();
        assert!(failure.to_string().contains(&directory.path().display().to_string()));
        assert!(format!("{:?}", failure).contains("StorageFull"), "{failure:?}");
        let csv = fs::read_to_string(directory.path().join("timeseries.csv")).unwrap();
        assert_eq!(csv.lines().count(), 2);
    }

    #[test]
    fn the_percentile_text_ends_with_the_whole_count() {
        let text = percentile_text(&interval().response);
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields[1..], ["1.000000000000", "1000"]);
        assert!(text.contains("Total count    =         1000"), "{text}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Err(refusal) = SecondFiles::create(&file.path().join("run")) else {
            panic!("a file is no directory");
        };
        assert!(refusal.to_string().contains("run"), "{refusal}");
    }
}

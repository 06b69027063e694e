//! What a sample holds, and what a row is held against.

use std::collections::BTreeMap;
use std::fmt;

/// One measured quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    RequestRate,
    RecordRate,
    MegabyteRate,
    P50,
    P99,
    P999,
    /// Of the broker's process.
    CpuPerRequest,
    /// Of the broker's processes, per record that a client sent or got.
    CpuPerRecord,
    /// As [`Figure::CpuPerRequest`], of a broker that has two cores.
    CpuPerRequestOfTwo,
    /// The one as a part of the other.
    CpuGrowth,
    CpuPerGigabyte,
    Resident,
    /// The last third's rate as a part of the first third's.
    Held,
    /// A producer's p99 beside readers as a multiple of its p99 alone.
    TailGrowth,
    /// Start or restart, to the answer that the row waits for.
    Start,
    /// From the last acknowledgement of a leader that is killed to the next one of each of its
    /// partitions.
    Failover,
    /// From the kill until a survivor names another leader.
    Noticed,
    /// From then until each partition takes records.
    Handover,
    ClientBusy,
    /// Requests refused or not answered.
    Errors,
    /// Tasks that wanted to run, averaged over the last minute.
    Load,
}

impl Figure {
    /// Name and unit, as tables have them.
    pub(crate) fn label(self) -> (&'static str, &'static str) {
        match self {
            Figure::RequestRate => ("requests", "/s"),
            Figure::RecordRate => ("records", "/s"),
            Figure::MegabyteRate => ("bytes", "MB/s"),
            Figure::P50 => ("p50", "us"),
            Figure::P99 => ("p99", "us"),
            Figure::P999 => ("p99.9", "us"),
            Figure::CpuPerRequest => ("CPU of a request", "us"),
            Figure::CpuPerRecord => ("CPU of a record", "us"),
            Figure::CpuPerRequestOfTwo => ("CPU of a request, 2 cores", "us"),
            Figure::CpuGrowth => ("CPU of a request, 2 cores to 1", "x"),
            Figure::CpuPerGigabyte => ("CPU of a gigabyte", "s"),
            Figure::Resident => ("resident memory", "MB"),
            Figure::Held => ("rate, last third to first", "x"),
            Figure::TailGrowth => ("producer's p99, beside readers to alone", "x"),
            Figure::Start => ("time", "ms"),
            Figure::Failover => ("last acknowledgement to the next, all partitions", "ms"),
            Figure::Noticed => ("kill to another leader's name", "ms"),
            Figure::Handover => ("from there to records taken by all", "ms"),
            Figure::ClientBusy => ("client busy", "%"),
            Figure::Errors => ("errors", ""),
            Figure::Load => ("load", ""),
        }
    }

    /// Whether a larger value is the better one.
    pub(crate) fn is_more_better(self) -> bool {
        matches!(
            self,
            Figure::RequestRate | Figure::RecordRate | Figure::MegabyteRate | Figure::Held
        )
    }

    /// The value with three digits that count, and the unit.
    pub(crate) fn show(self, value: f64) -> String {
        let (_, unit) = self.label();
        let digits = match value.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        format!("{value:.digits$}{}{unit}", if unit == "/s" || unit == "x" { "" } else { " " })
    }
}

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// So many times Kafka's value, or less where less is better.
    Ratio(f64),
    /// This value of our own, whatever Kafka's is.
    Own(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Ratio(factor) => write!(f, "{factor}x Kafka's"),
            Bound::Own(value) => write!(f, "{value}"),
        }
    }
}

/// One line of a row's table: a figure, and what it is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) figure: Figure,
    pub(crate) bar: Option<Bound>,
    pub(crate) goal: Option<Bound>,
}

/// Held against Kafka's value.
pub(crate) const fn times(figure: Figure, bar: f64, goal: f64) -> Judged {
    Judged { figure, bar: Some(Bound::Ratio(bar)), goal: Some(Bound::Ratio(goal)) }
}

/// Held against Kafka's value; there is no goal beyond.
pub(crate) const fn bar(figure: Figure, bar: f64) -> Judged {
    Judged { figure, bar: Some(Bound::Ratio(bar)), goal: None }
}

/// Held against a value of its own.
pub(crate) const fn own(figure: Figure, bar: f64, goal: Option<f64>) -> Judged {
    let goal = match goal {
        Some(goal) => Some(Bound::Own(goal)),
        None => None,
    };
    Judged { figure, bar: Some(Bound::Own(bar)), goal }
}

/// Held against a value of its own, with a goal relative to Kafka.
pub(crate) const fn below(figure: Figure, bar: f64, goal: f64) -> Judged {
    Judged { figure, bar: Some(Bound::Own(bar)), goal: Some(Bound::Ratio(goal)) }
}

/// Shown, and held against nothing.
pub(crate) const fn shown(figure: Figure) -> Judged {
    Judged { figure, bar: None, goal: None }
}

/// One measurement of one broker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// Why the generator says that the figures are its own rather than the broker's.
    pub(crate) invalid: Option<String>,
    /// Errors that the broker answered with, by name, and requests without an answer.
    pub(crate) refused: Option<String>,
}

impl Sample {
    /// With one figure.
    pub(crate) fn of(figure: Figure, value: f64) -> Sample {
        Sample::default().with(figure, value)
    }

    /// With a further figure.
    pub(crate) fn with(mut self, figure: Figure, value: f64) -> Sample {
        self.figures.insert(figure, value);
        self
    }

    /// A figure; `None` when it was not measured.
    pub(crate) fn get(&self, figure: Figure) -> Option<f64> {
        self.figures.get(&figure).copied()
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.figures.iter().filter(|(figure, value)| {
            !matches!(figure, Figure::Load) && (**value > 0.0 || !matches!(figure, Figure::Errors))
        });
        let texts: Vec<String> = shown
            .map(|(figure, value)| format!("{} {}", figure.label().0, figure.show(*value)))
            .collect();
        f.write_str(&texts.join(", "))?;
        self.refused.as_ref().map_or(Ok(()), |refused| write!(f, ": {refused}"))?;
        self.invalid.as_ref().map_or(Ok(()), |reason| write!(f, ", INVALID: {reason}"))
    }
}

/// Median and extremes of a few values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` when there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, least, most })
    }

    /// Of one figure of many samples.
    pub(crate) fn of_figure(samples: &[Sample], figure: Figure) -> Option<Spread> {
        Spread::of(samples.iter().filter_map(|sample| sample.get(figure)).collect())
    }

    /// For a cell: the median, and the extremes where they differ.
    pub(crate) fn show(self, figure: Figure) -> String {
        let median = figure.show(self.median);
        let (least, most) = (figure.show(self.least), figure.show(self.most));
        if least == most { median } else { format!("{median} ({least} to {most})") }
    }
}

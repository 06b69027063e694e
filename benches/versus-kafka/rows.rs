//! What a row is, and which rows a command asks for. The rows themselves are in `rows_*.rs`.

use crate::Arguments;
use crate::failure::Failure;
use crate::figure::Judged;
use crate::server::{Broker, Purpose};
use crate::{rows_clients, rows_cluster, rows_groups, rows_lives, rows_produce, rows_rates};

/// What is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// This loadgen command, warmed and repeated. `produce` and `e2e` get a topic of their own.
    Load(&'static str),
    /// `open` at half of the rate that the slower broker takes of `closed`.
    Half { closed: &'static str, open: &'static str },
    /// As `Load`, with so many repetitions in place of a duration: a rebalance.
    Rebalance(&'static str),
    /// Read a log that both brokers have filled alike.
    Read(Read),
    /// From an empty directory to the first accepted record, and memory.
    Start,
    /// Memory after the rows before it.
    Memory,
    /// `kill -9` (or a clean stop) with many groups, to the last one's committed offsets.
    Groups(Down),
    /// `kill -9` under load, to a record accepted by each of so many partitions.
    Crash { partitions: u32 },
    /// This loadgen command on brokers with one core and with two.
    Cores(&'static str),
    /// Many idle connections and partitions, and P1 beside them.
    Crowd,
    /// `kill -9` of a node that leads so many partitions, to a record accepted by each.
    Failover { partitions: u32 },
    /// An unmodified client.
    Kcat(Way),
}

pub(crate) use crate::server::Down;

/// How a log is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub(crate) connections: u16,
    /// The page cache of the broker's files is dropped before each pass.
    pub(crate) is_cold: bool,
    pub(crate) beside: Beside,
}

/// Which way a client's records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Produce,
    Consume,
}

/// What goes on while a log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// A producer at half of the load that the slower broker can take, to another topic.
    OtherTopic,
    /// The same, to the topic that is read.
    SameTopic,
}

/// How long one measurement takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Usual,
    /// A gigabyte and more per second: the disk has to hold it.
    Short,
    /// A tail needs many requests.
    Tail,
    /// What changes over time has to show.
    Long,
}

/// One row of the tables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    pub(crate) purpose: Purpose,
    pub(crate) length: Length,
    pub(crate) judged: &'static [Judged],
    /// What an acknowledgement means in this row, on both sides.
    pub(crate) durability: &'static str,
    /// Topic config of both brokers, then of one alone.
    pub(crate) both: &'static [&'static str],
    pub(crate) kafka: &'static [&'static str],
    pub(crate) own: &'static [&'static str],
}

/// What most rows have: a load whose acknowledgements come from the page cache on both sides.
pub(crate) const ROW: Row = Row {
    id: "",
    title: "",
    work: Work::Memory,
    purpose: Purpose::Records,
    length: Length::Usual,
    judged: &[],
    durability: "page cache (Kafka's default, `kernel` here)",
    both: &[],
    kafka: &[],
    own: KERNEL,
};

pub(crate) const KERNEL: &[&str] = &["highwater.durability=kernel"];
pub(crate) const FLUSH: &[&str] = &["highwater.durability=flush"];

impl Row {
    /// Topic config for that broker.
    pub(crate) fn config_for(&self, broker: Broker) -> impl Iterator<Item = &'static str> {
        let one = match broker {
            Broker::Kafka => self.kafka,
            Broker::Highwater => self.own,
        };
        self.both.iter().chain(one).copied()
    }

    /// Seconds of one measurement that count.
    pub(crate) fn seconds(&self, arguments: &Arguments) -> u32 {
        match (self.length, arguments.quick) {
            (Length::Usual | Length::Short, true) => 3,
            (Length::Usual, false) => 8,
            (Length::Short, false) => 4,
            (Length::Tail, true) => 4,
            (Length::Tail, false) => 12,
            (Length::Long, true) => 18,
            (Length::Long, false) => 180,
        }
    }

    /// Gigabytes of disk that the row may need at once.
    pub(crate) fn room_gb(&self, arguments: &Arguments) -> u64 {
        match (self.work, self.length) {
            (Work::Load(_), Length::Short) => 12,
            (Work::Load(line) | Work::Half { closed: line, .. }, Length::Usual | Length::Tail)
                if line.contains("records-per-batch") =>
            {
                if arguments.quick {
                    6
                } else {
                    12
                }
            }
            (Work::Cores(_) | Work::Load(_) | Work::Crash { .. }, _) => 6,
            _ => 3,
        }
    }

    /// Whether the row starts brokers of its own.
    pub(crate) fn has_own_brokers(&self) -> bool {
        matches!(
            self.work,
            Work::Start
                | Work::Groups(_)
                | Work::Crash { .. }
                | Work::Cores(_)
                | Work::Crowd
                | Work::Failover { .. }
        )
    }

    /// Seconds that the row takes on a quiet machine, about.
    pub(crate) fn estimate(&self, arguments: &Arguments) -> u32 {
        let repeats = u32::try_from(arguments.repeats).unwrap_or(u32::MAX);
        let each = self.seconds(arguments) + crate::measure::warmup_seconds(arguments) + 1;
        let warm =
            arguments.warm_seconds(Broker::Kafka) + arguments.warm_seconds(Broker::Highwater);
        let pair = 2 * repeats * each;
        let size = if arguments.quick { 1 } else { 4 };
        match self.work {
            Work::Load(_) | Work::Rebalance(_) => warm + pair,
            Work::Half { .. } => 2 * warm + pair,
            Work::Kcat(_) => 2 * (repeats + 1) * 4 * size,
            Work::Read(read) if read.beside == Beside::Nothing => warm + pair,
            Work::Read(_) => warm + 2 * pair,
            Work::Memory => 1,
            Work::Start => repeats * 14,
            Work::Groups(_) => 30 + repeats * 20,
            Work::Crash { .. } => 30 * size + repeats * 26,
            Work::Cores(_) => 2 * (warm + pair) + 20,
            Work::Crowd => 60 * size + repeats * 25 * size,
            Work::Failover { partitions } => 90 + repeats * (60 + partitions / 10),
        }
    }
}

/// All rows, in the order of the tables.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(rows_produce::ROWS);
    rows.extend(rows_rates::ROWS);
    rows.extend(rows_lives::ROWS);
    rows.extend(rows_groups::ROWS);
    rows.extend(rows_cluster::ROWS);
    rows.extend(rows_clients::ROWS);
    let family = |id: &str| ["P", "G", "R", "C"].iter().position(|family| id.starts_with(family));
    rows.sort_by_key(|row| (family(row.id), number(row.id)));
    rows
}

/// The number in an id: 12 of `P12a`.
fn number(id: &str) -> u32 {
    id.chars().filter_map(|c| c.to_digit(10)).fold(0, |number, digit| number * 10 + digit)
}

/// The rows that `--rows` names: `P`, `G`, `R` and `C` name all of their kind, `P9` all parts of
/// P9.
///
/// # Errors
/// A name that names none; with all that there are.
pub(crate) fn select(asked: &[String]) -> Result<Vec<Row>, Failure> {
    let known = all();
    let is_asked = |row: &Row, asked: &str| {
        let family = row.id.trim_end_matches(|c: char| c.is_ascii_lowercase());
        asked == "all" || [row.id, family, &row.id[..1]].contains(&asked)
    };
    for asked in asked {
        if !known.iter().any(|row| is_asked(row, asked)) {
            let known = known.iter().map(|row| row.id).collect::<Vec<_>>().join(",");
            return Err(Failure::UnknownRow { asked: asked.clone(), known });
        }
    }
    Ok(known.into_iter().filter(|row| asked.iter().any(|asked| is_asked(row, asked))).collect())
}

//! What follows from the measured steps of a sweep: the knee, latencies below the maximum, cores
//! for another rate, and how long a disk lasts. Arithmetic only.
//!
//! Invariant: nothing is extended beyond what was measured; where too little was, the reason is
//! said instead of a figure.

use serde_json::{Map, Value};

use crate::interval::to_f64;

/// Fewer rates than this show no shape.
pub(crate) const KNEE_RATES_MIN: usize = 5;
/// A p99 that does not even grow by this factor over all rates has no knee: its shape is noise.
const KNEE_RISE_MIN: f64 = 2.0;

/// A core is planned to be at work for at most this part of the time: queues grow beyond it.
pub(crate) const CORE_BUSY_MAX: f64 = 0.7;

/// A rate counts as measured when a step was so near.
const MEASURED_WITHIN: f64 = 0.01;

const DAY_SECONDS: f64 = 86_400.0;

/// One rate and its response: p50, p99 and p99.9 in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) rate: f64,
    pub(crate) response_us: [f64; 3],
}

/// Whether figures at a rate were seen or lie between two that were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Measured,
    Interpolated,
}

impl Source {
    /// As the plan says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Source::Measured => "measured",
            Source::Interpolated => "interpolated",
        }
    }
}

/// Ascending by rate, each rate once: of steps that repeated a rate the longest latency counts, as
/// the lowest rate of them does.
pub(crate) fn curve(steps: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut steps: Vec<Point> = steps.collect();
    steps.sort_by(|left, right| left.rate.total_cmp(&right.rate));
    let mut points: Vec<Point> = Vec::new();
    for step in steps {
        match points.last_mut() {
            Some(last) if last.rate == step.rate => {
                for (longest, own) in last.response_us.iter_mut().zip(step.response_us) {
                    *longest = longest.max(own);
                }
            }
            _ => points.push(step),
        }
    }
    points
}

/// Where p99 begins to rise steeply: the measured rate that lies farthest below the straight line
/// from the first to the last point of (rate, p99), both scaled to 0..1.
///
/// This is Kneedle (Satopaa, Albrecht, Irwin and Raghavan, "Finding a Kneedle in a Haystack",
/// ICDCSW 2011) for a convex rising curve and one knee: the maximum of the difference curve. Its
/// smoothing is left out, because a sweep has few points and each is a percentile of many requests.
///
/// # Errors
/// Why there is none: fewer than `KNEE_RATES_MIN` rates, or a p99 that hardly grows or grows
/// evenly.
pub(crate) fn knee(points: &[Point]) -> Result<Point, String> {
    if points.len() < KNEE_RATES_MIN {
        return Err(format!("{} rates were measured, {KNEE_RATES_MIN} are needed", points.len()));
    }
    let p99 = |point: &Point| point.response_us[1];
    let (first, last) = (points[0], points[points.len() - 1]);
    let lowest = points.iter().map(p99).fold(f64::INFINITY, f64::min);
    let highest = points.iter().map(p99).fold(0.0, f64::max);
    if highest < lowest * KNEE_RISE_MIN {
        return Err(format!("p99 did not grow {KNEE_RISE_MIN:.0} times over the rates measured"));
    }
    let below_line = |point: &Point| {
        let along = (point.rate - first.rate) / (last.rate - first.rate);
        along - (p99(point) - lowest) / (highest - lowest)
    };
    let inner = points[1..points.len() - 1].iter();
    let farthest = inner.max_by(|left, right| below_line(left).total_cmp(&below_line(right)));
    match farthest {
        Some(point) if below_line(point) > 0.0 => Ok(*point),
        _ => Err("p99 grew evenly over the rates measured".to_owned()),
    }
}

/// Latencies at a rate between two that were measured, on the straight line between them; `None`
/// outside of what was measured.
pub(crate) fn response_at(points: &[Point], rate: f64) -> Option<(Point, Source)> {
    let distance = |point: &&Point| (point.rate - rate).abs();
    let nearest = points.iter().min_by(|left, right| distance(left).total_cmp(&distance(right)))?;
    if distance(&nearest) <= rate * MEASURED_WITHIN {
        return Some((*nearest, Source::Measured));
    }
    let above = points.iter().position(|point| point.rate > rate).filter(|above| *above > 0)?;
    let (low, high) = (points[above - 1], points[above]);
    let part = (rate - low.rate) / (high.rate - low.rate);
    let mut response_us = low.response_us;
    for (own, high) in response_us.iter_mut().zip(high.response_us) {
        *own += part * (high - *own);
    }
    Some((Point { rate, response_us }, Source::Interpolated))
}

/// Cores of this kind for `target` records per second, when `rate` of them kept `busy` cores at
/// work: in proportion, each at work for `CORE_BUSY_MAX` of the time at most. Also the cores that
/// would be at work.
pub(crate) fn cores_for(target: f64, rate: f64, busy: f64) -> (f64, f64) {
    let busy = busy * target / rate;
    // Rounding must not ask for one more.
    ((busy / CORE_BUSY_MAX - 1e-9).ceil().max(1.0), busy)
}

/// What keeping records for a while asks of a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Headroom {
    pub(crate) bytes_per_second: f64,
    pub(crate) retention_seconds: f64,
    pub(crate) free_bytes: f64,
}

impl Headroom {
    /// Bytes of all records that are not older than the retention.
    pub(crate) fn needed_bytes(&self) -> f64 {
        self.bytes_per_second * self.retention_seconds
    }

    /// Days until the free bytes are used up, if nothing were deleted meanwhile.
    pub(crate) fn days_until_full(&self) -> f64 {
        self.free_bytes / self.bytes_per_second / DAY_SECONDS
    }

    /// The oldest records go before the disk is full.
    pub(crate) fn is_enough(&self) -> bool {
        self.needed_bytes() <= self.free_bytes
    }
}

/// Free bytes of the disk that takes the topic, from what the brokers told of themselves.
///
/// # Errors
/// Why that is no one disk of this machine.
pub(crate) fn free_bytes(cluster: &Map<String, Value>) -> Result<f64, String> {
    let brokers = cluster.get("brokers").and_then(Value::as_array);
    let broker = match brokers.map(Vec::as_slice) {
        Some([broker]) => broker,
        Some(brokers) => {
            return Err(format!("the topic is spread over {} brokers", brokers.len()));
        }
        None => return Err(reason(cluster.get("brokers_absent"))),
    };
    let Some(dirs) = broker["log_dirs"].as_array() else {
        return Err(reason(broker.get("log_dirs_absent")));
    };
    match dirs.as_slice() {
        [dir] if dir["is_local"] == true => dir["free_bytes"]
            .as_u64()
            .map(to_f64)
            .ok_or_else(|| "the broker does not tell its free bytes".to_owned()),
        [_] => Err("the broker's log directory is not seen on this machine".to_owned()),
        dirs => Err(format!("the broker has {} log directories", dirs.len())),
    }
}

fn reason(told: Option<&Value>) -> String {
    told.and_then(Value::as_str).unwrap_or("the brokers were not asked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn points(pairs: &[(f64, f64)]) -> Vec<Point> {
        let point = |(rate, p99): &(f64, f64)| Point {
            rate: *rate,
            response_us: [p99 / 2.0, *p99, p99 * 2.0],
        };
        curve(pairs.iter().map(point))
    }

    #[test]
    fn a_rate_counts_once_with_its_longest_latency() {
        let points = points(&[(20.0, 5.0), (10.0, 3.0), (20.0, 9.0), (20.0, 7.0)]);
        let seen: Vec<(f64, f64)> =
            points.iter().map(|point| (point.rate, point.response_us[1])).collect();
        assert_eq!(seen, [(10.0, 3.0), (20.0, 9.0)]);
    }

    #[test]
    fn the_knee_of_a_queue_is_where_it_turns_up() {
        // The mean time in a queue: 1 / (1 - load), with the pole at 100.
        let queue: Vec<(f64, f64)> = (0..=38)
            .map(|step| f64::from(step) * 2.5)
            .map(|rate| (rate, 1000.0 / (1.0 - rate / 100.0)))
            .collect();
        let found = knee(&points(&queue)).unwrap();
        // Where its slope is the mean slope: at 1 - 1 / sqrt(20) of the pole, so 77.6.
        assert_eq!(found.rate, 77.5);
        let hockey_stick =
            [(10.0, 2.0), (15.0, 2.0), (22.0, 2.5), (33.0, 3.0), (50.0, 4.0), (57.0, 300.0)];
        assert_eq!(knee(&points(&hockey_stick)).unwrap().rate, 50.0);
    }

    #[test]
    fn too_few_rates_noise_and_a_straight_line_have_no_knee() {
        let few = [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 90.0)];
        assert_eq!(knee(&points(&few)).unwrap_err(), "4 rates were measured, 5 are needed");
        let flat = [(1.0, 90.0), (2.0, 50.0), (3.0, 60.0), (4.0, 51.0), (5.0, 80.0)];
        assert!(knee(&points(&flat)).unwrap_err().contains("did not grow 2 times"));
        let line: Vec<(f64, f64)> =
            (1..=8).map(|rate| (f64::from(rate), f64::from(rate))).collect();
        assert_eq!(knee(&points(&line)).unwrap_err(), "p99 grew evenly over the rates measured");
        assert!(knee(&[]).is_err());
    }

    #[test]
    fn latencies_lie_between_neighbours_and_are_not_extended() {
        let points = points(&[(10.0, 2.0), (20.0, 4.0), (40.0, 10.0)]);
        let (point, source) = response_at(&points, 30.0).unwrap();
        assert_eq!((point.response_us, source), ([3.5, 7.0, 14.0], Source::Interpolated));
        let (point, source) = response_at(&points, 20.1).unwrap();
        assert_eq!((point.rate, source), (20.0, Source::Measured));
        assert_eq!(response_at(&points, 9.0), None);
        assert_eq!(response_at(&points, 50.0), None);
        assert_eq!(response_at(&[], 5.0), None);
    }

    #[test]
    fn cores_grow_with_the_rate_and_keep_some_of_their_time() {
        assert_eq!(cores_for(300.0, 100.0, 0.9), (4.0, 2.7));
        assert_eq!(cores_for(10.0, 100.0, 0.5).0, 1.0);
        assert_eq!(cores_for(140.0, 100.0, 1.0).0, 2.0);
    }

    #[test]
    fn a_disk_holds_the_retention_or_is_full_before() {
        let room = |free_bytes| Headroom {
            bytes_per_second: 1e6,
            retention_seconds: 7.0 * 86_400.0,
            free_bytes,
        };
        assert_eq!(room(1e12).needed_bytes(), 604.8e9);
        assert!(room(1e12).is_enough() && !room(6e11).is_enough());
        assert_eq!(room(86.4e9).days_until_full(), 1.0);
    }

    #[test]
    fn only_the_one_disk_of_a_broker_of_this_machine_counts() {
        let of = |cluster: Value| free_bytes(cluster.as_object().unwrap());
        let dir = json!({ "is_local": true, "free_bytes": 500 });
        assert_eq!(of(json!({ "brokers": [{ "log_dirs": [dir] }] })), Ok(500.0));
        let far = json!({ "is_local": false, "free_bytes": 500 });
        for (cluster, reason) in [
            (json!({ "brokers": [{ "log_dirs": [far] }] }), "not seen on this machine"),
            (json!({ "brokers": [{ "log_dirs": [dir, dir] }] }), "2 log directories"),
            (json!({ "brokers": [{}, {}, {}] }), "spread over 3 brokers"),
            (json!({ "brokers": [{ "log_dirs_absent": "refused" }] }), "refused"),
            (json!({ "brokers_absent": "nobody answers" }), "nobody answers"),
            (json!({}), "were not asked"),
        ] {
            assert!(of(cluster).unwrap_err().contains(reason), "{reason}");
        }
    }
}

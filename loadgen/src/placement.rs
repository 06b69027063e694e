//! Which connection sends to which partitions.
//!
//! Connections are spread evenly over the brokers that lead partitions, partitions evenly over a
//! broker's connections. With fewer partitions than connections, several connections share one.

use std::collections::BTreeMap;

/// One connection: where it goes, and the partitions it takes turns with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) address: String,
    /// Each inner list is what one request carries; requests cycle through them.
    pub(crate) groups: Vec<Vec<i32>>,
}

/// Places `connections` (at least 1); each request carries `per_request` partitions (at least 1).
///
/// # Errors
/// The fewest partitions that a broker leads, when that is less than `per_request`.
pub(crate) fn place(
    leaders: &BTreeMap<String, Vec<i32>>,
    connections: usize,
    per_request: usize,
) -> Result<Vec<Placement>, usize> {
    let led_min = leaders.values().map(Vec::len).min().unwrap_or(0);
    if led_min < per_request {
        return Err(led_min);
    }
    let brokers: Vec<(&String, &Vec<i32>)> = leaders.iter().collect();
    let placements = (0..connections).map(|connection| {
        let (address, led) = brokers[connection % brokers.len()];
        let index = connection / brokers.len();
        let siblings = (connections - connection % brokers.len()).div_ceil(brokers.len());
        let own: Vec<i32> = if led.len() >= siblings * per_request {
            led.iter().skip(index).step_by(siblings).copied().collect()
        } else {
            let start = (index * per_request) % led.len();
            led.iter().cycle().skip(start).take(per_request).copied().collect()
        };
        Placement { address: address.clone(), groups: groups(&own, per_request) }
    });
    Ok(placements.collect())
}

/// Cuts `own` into lists of exactly `per_request`; the last one is filled up from the front.
fn groups(own: &[i32], per_request: usize) -> Vec<Vec<i32>> {
    let count = own.len().div_ceil(per_request);
    let mut partitions = own.iter().cycle().copied();
    (0..count).map(|_| partitions.by_ref().take(per_request).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaders(counts: &[i32]) -> BTreeMap<String, Vec<i32>> {
        let mut next = 0;
        let brokers = counts.iter().enumerate().map(|(broker, count)| {
            let partitions = (next..next + count).collect();
            next += count;
            (format!("b{broker}:9092"), partitions)
        });
        brokers.collect()
    }

    fn placed(counts: &[i32], connections: usize, per_request: usize) -> Vec<Vec<Vec<i32>>> {
        let placements = place(&leaders(counts), connections, per_request).unwrap();
        placements.into_iter().map(|placement| placement.groups).collect()
    }

    #[test]
    fn as_many_connections_as_partitions_gives_each_its_own() {
        let each: Vec<Vec<Vec<i32>>> = (0..64).map(|partition| vec![vec![partition]]).collect();
        assert_eq!(placed(&[64], 64, 1), each);
    }

    #[test]
    fn fewer_connections_take_turns_with_their_partitions() {
        assert_eq!(placed(&[5], 2, 1), [vec![vec![0], vec![2], vec![4]], vec![vec![1], vec![3]]]);
    }

    #[test]
    fn more_connections_than_partitions_share() {
        assert_eq!(placed(&[2], 3, 1), [vec![vec![0]], vec![vec![1]], vec![vec![0]]]);
    }

    #[test]
    fn a_request_for_every_partition_goes_over_every_connection() {
        let all: Vec<i32> = (0..4).collect();
        let expected: Vec<Vec<Vec<i32>>> = vec![vec![all.clone()], vec![all]];
        assert_eq!(placed(&[4], 2, 4), expected);
    }

    #[test]
    fn connections_are_spread_over_brokers() {
        let placements = place(&leaders(&[2, 2]), 4, 1).unwrap();
        let addresses: Vec<&str> =
            placements.iter().map(|placement| placement.address.as_str()).collect();
        assert_eq!(addresses, ["b0:9092", "b1:9092", "b0:9092", "b1:9092"]);
        let mut partitions: Vec<i32> =
            placements.iter().flat_map(|placement| placement.groups.concat()).collect();
        partitions.sort_unstable();
        assert_eq!(partitions, [0, 1, 2, 3]);
    }

    #[test]
    fn asking_for_more_partitions_than_a_broker_leads_is_refused() {
        assert_eq!(place(&leaders(&[4, 2]), 1, 3), Err(2));
        assert_eq!(place(&leaders(&[]), 1, 1), Err(0));
    }
}

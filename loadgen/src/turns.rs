//! Which batch goes to which partition, request by request: the cycle that a connection repeats.

use std::collections::BTreeMap;

/// A partition, and the number of the batch that it gets.
pub(crate) type Pick = (i32, usize);

/// Batches go to any partition: each group of partitions and each batch of `share` has its turn.
pub(crate) fn any_partition(groups: &[Vec<i32>], share: &[usize]) -> Vec<Vec<Pick>> {
    let per_request = groups.first().map_or(1, Vec::len).max(1);
    let rounds = share.len().div_ceil(per_request).div_ceil(groups.len().max(1)).max(1);
    let request = |index: usize| {
        let partitions = groups[index % groups.len()].iter();
        let batches =
            (0..per_request).map(|part| share[(index * per_request + part) % share.len()]);
        partitions.copied().zip(batches).collect()
    };
    (0..rounds * groups.len()).map(request).collect()
}

/// Batches go where their keys belong. `picks` are those that the connection's broker leads, in the
/// order in which they were drawn; connection `index` of `siblings` to this broker has its share.
///
/// With one partition per request the order is kept, so a partition has as many requests as its
/// keys have records. With more, partitions take turns.
///
/// # Errors
/// The number of partitions that keys reach, when that is less than `per_request`.
pub(crate) fn own_partition(
    picks: &[Pick],
    (index, siblings): (usize, usize),
    per_request: usize,
) -> Result<Vec<Vec<Pick>>, usize> {
    let mut of_partition: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (partition, batch) in picks {
        of_partition.entry(*partition).or_default().push(*batch);
    }
    if of_partition.len() < per_request {
        return Err(of_partition.len());
    }
    if per_request == 1 {
        // With fewer batches than connections each sends all, beginning with another one.
        let step = if picks.len() < siblings { 1 } else { siblings };
        let rotated = picks.iter().cycle().skip(index % picks.len()).step_by(step);
        return Ok(rotated.take(picks.len().div_ceil(step)).map(|pick| vec![*pick]).collect());
    }
    let partitions: Vec<i32> = of_partition.keys().copied().collect();
    let most = of_partition.values().map(Vec::len).max().unwrap_or(1);
    let requests = (most * partitions.len()).div_ceil(per_request).div_ceil(siblings).max(1);
    let mut next: BTreeMap<i32, usize> = partitions.iter().map(|one| (*one, index)).collect();
    let mut turn = partitions.iter().cycle().skip(index * per_request % partitions.len());
    let request = |_| {
        let picks = turn.by_ref().take(per_request).map(|partition| {
            let batches = &of_partition[partition];
            let at = next.get_mut(partition).expect("one for each partition");
            let batch = batches[*at % batches.len()];
            *at += siblings;
            (*partition, batch)
        });
        picks.collect()
    };
    Ok((0..requests).map(request).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_group_and_each_batch_has_its_turn() {
        let cycle = any_partition(&[vec![0, 1], vec![2, 3]], &[5, 6, 7]);
        assert_eq!(cycle, [[(0, 5), (1, 6)], [(2, 7), (3, 5)]]);
        assert_eq!(any_partition(&[vec![4]], &[0]), [[(4, 0)]]);
    }

    const PICKS: [Pick; 5] = [(0, 0), (1, 1), (0, 2), (0, 3), (2, 4)];

    #[test]
    fn batches_of_keys_keep_their_partition_and_their_order() {
        let first = own_partition(&PICKS, (0, 2), 1).unwrap();
        assert_eq!(first, [[(0, 0)], [(0, 2)], [(2, 4)]]);
        let second = own_partition(&PICKS, (1, 2), 1).unwrap();
        assert_eq!(second, [[(1, 1)], [(0, 3)], [(0, 0)]]);
        // More connections than batches: each has all.
        assert_eq!(own_partition(&PICKS, (7, 9), 1).unwrap().len(), 5);
    }

    #[test]
    fn a_request_for_several_partitions_has_each_once_and_all_batches_are_sent() {
        for siblings in [1, 2, 3] {
            let mut sent = BTreeSet::new();
            for index in 0..siblings {
                for request in own_partition(&PICKS, (index, siblings), 2).unwrap() {
                    assert_ne!(request[0].0, request[1].0, "{request:?}");
                    assert!(request.iter().all(|pick| PICKS.contains(pick)), "{request:?}");
                    sent.extend(request);
                }
            }
            assert_eq!(sent, PICKS.into_iter().collect(), "{siblings}");
        }
        assert_eq!(own_partition(&PICKS, (0, 1), 4), Err(3));
    }
}

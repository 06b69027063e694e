//! Which brokers take the replicas of one that leaves.
//!
//! Why not the controller's placement: it places new partitions, on brokers in turn. Here all but
//! one replica stay where they are, and who has little takes what comes. Both spread over racks by
//! the same rule: the rack with the fewest replicas of the partition first.
//!
//! Invariants
//! - A partition keeps its number of replicas and their order; only those that leave are replaced.
//! - What moves away already, to brokers that are live, is left alone.

use crate::cli::cluster::inventory::{Broker, Partition};
use crate::cli::error::CliError;
use std::collections::BTreeMap;

/// What is to be done, and what is being done already.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub moves: Vec<Move>,
    /// Moves that are under way, and that nobody has to ask for again.
    pub under_way: Vec<Move>,
}

/// Where a partition shall live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub topic: String,
    pub index: i32,
    pub from: Vec<i32>,
    pub to: Vec<i32>,
}

/// Finds other brokers for all that `leaving` holds of these, which are all partitions.
///
/// # Errors
/// A partition has no leader that its records could be copied from, or no broker is left for it.
pub(super) fn plan(
    leaving: i32,
    brokers: &[Broker],
    partitions: &[Partition],
) -> Result<Plan, CliError> {
    let mut choice = Choice::new(leaving, brokers, partitions);
    let mut plan = Plan::default();
    for partition in partitions.iter().filter(|one| one.replicas.contains(&leaving)) {
        if !partition.has_leader {
            let (topic, partition) = (partition.topic.clone(), partition.index);
            return Err(CliError::NoLeader { topic, partition });
        }
        let to = choice.replace(partition)?;
        let is_under_way = to == settled(partition).collect::<Vec<i32>>();
        let (topic, index) = (partition.topic.clone(), partition.index);
        let planned = Move { topic, index, from: partition.replicas.clone(), to };
        assert!(!planned.to.contains(&leaving));
        match is_under_way {
            true => plan.under_way.push(planned),
            false => plan.moves.push(planned),
        }
    }
    Ok(plan)
}

/// The replicas once the move that is under way is done.
fn settled(partition: &Partition) -> impl Iterator<Item = i32> + '_ {
    let goes = |id: &i32| partition.moving.removing.contains(id);
    partition.replicas.iter().copied().filter(move |id| !goes(id))
}

struct Choice<'a> {
    leaving: i32,
    brokers: &'a [Broker],
    /// Replicas by broker, those counted that this run gives it.
    load: BTreeMap<i32, usize>,
}

impl<'a> Choice<'a> {
    fn new(leaving: i32, brokers: &'a [Broker], partitions: &[Partition]) -> Choice<'a> {
        let mut load = BTreeMap::new();
        for id in partitions.iter().flat_map(settled) {
            *load.entry(id).or_default() += 1;
        }
        Choice { leaving, brokers, load }
    }

    /// The partition's replicas with others in the place of those that leave: the broker that is
    /// meant, and brokers that ended before they had what they were to get.
    fn replace(&mut self, partition: &Partition) -> Result<Vec<i32>, CliError> {
        let mut to: Vec<i32> = settled(partition).collect();
        let factor = to.len();
        for place in 0..factor {
            let id = to[place];
            let is_stuck = partition.moving.adding.contains(&id) && !self.is_live(id);
            if id != self.leaving && !is_stuck {
                continue;
            }
            match self.best(partition, &to, place) {
                Some(best) => {
                    to[place] = best;
                    *self.load.entry(best).or_default() += 1;
                }
                None if id == self.leaving => return Err(self.too_few(partition, factor)),
                None => {} // It may come back.
            }
        }
        assert!(to.len() == factor);
        Ok(to)
    }

    fn is_live(&self, id: i32) -> bool {
        self.brokers.iter().any(|broker| broker.id == id && broker.is_live)
    }

    /// Brokers that the one which leaves may be replaced by.
    fn others(&self) -> impl Iterator<Item = &'a Broker> {
        let leaving = self.leaving;
        self.brokers.iter().filter(move |broker| broker.is_live && broker.id != leaving)
    }

    fn best(&self, partition: &Partition, to: &[i32], place: usize) -> Option<i32> {
        let kept = || to.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, id)| *id);
        let rack = |id: i32| self.brokers.iter().find(|broker| broker.id == id).map(|b| &b.rack);
        let in_rack = |broker: &Broker| kept().filter(|id| rack(*id) == Some(&broker.rack)).count();
        let load = |id: i32| self.load.get(&id).copied().unwrap_or(0);
        // Somebody has it leave those: back to them only where there is nobody else.
        let goes = |id: i32| partition.moving.removing.contains(&id);
        let free = self.others().filter(|broker| !to.contains(&broker.id));
        let best = free
            .min_by_key(|broker| (goes(broker.id), in_rack(broker), load(broker.id), broker.id));
        best.map(|broker| broker.id)
    }

    fn too_few(&self, partition: &Partition, factor: usize) -> CliError {
        CliError::TooFewBrokers {
            topic: partition.topic.clone(),
            partition: partition.index,
            factor,
            leaving: self.leaving,
            live: self.others().map(|broker| broker.id).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::cluster::inventory::Moving;

    const LEAVING: i32 = 3;

    fn broker(id: i32, rack: Option<&str>) -> Broker {
        Broker { id, rack: rack.map(str::to_owned), is_live: true, replicas: 0 }
    }

    fn brokers(count: i32) -> Vec<Broker> {
        (1..=count).map(|id| broker(id, None)).collect()
    }

    fn partition(index: i32, replicas: &[i32]) -> Partition {
        Partition {
            topic: "t".to_owned(),
            index,
            has_leader: true,
            replicas: replicas.to_vec(),
            moving: Moving::default(),
        }
    }

    fn moving(replicas: &[i32], adding: &[i32], removing: &[i32]) -> Partition {
        let moving = Moving { adding: adding.to_vec(), removing: removing.to_vec() };
        Partition { moving, ..partition(0, replicas) }
    }

    fn targets(brokers: &[Broker], partitions: &[Partition]) -> Vec<Vec<i32>> {
        let plan = plan(LEAVING, brokers, partitions).unwrap();
        assert_eq!(plan.under_way, []);
        plan.moves.into_iter().map(|planned| planned.to).collect()
    }

    fn refusal(brokers: &[Broker], partitions: &[Partition]) -> String {
        plan(LEAVING, brokers, partitions).unwrap_err().to_string()
    }

    #[test]
    fn a_replacement_takes_the_place_of_the_one_that_leaves() {
        for (from, to) in [([3, 1], [2, 1]), ([1, 3], [1, 2]), ([3, 2], [1, 2])] {
            assert_eq!(targets(&brokers(3), &[partition(0, &from)]), [to]);
        }
        assert_eq!(targets(&brokers(3), &[partition(0, &[1, 2])]), [[0; 2]; 0], "it stays");
    }

    #[test]
    fn a_rack_without_a_replica_comes_before_a_broker_with_less() {
        let racks = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a")];
        let brokers: Vec<Broker> = racks.iter().map(|(id, rack)| broker(*id, Some(rack))).collect();
        let busy = [partition(1, &[4]), partition(2, &[4])];
        let all = [&[partition(0, &[1, 3])], &busy[..]].concat();
        assert_eq!(targets(&brokers, &all), [[1, 4]]);
        let full = [partition(0, &[1, 4, 3])];
        assert_eq!(targets(&brokers, &full), [[1, 4, 2]], "both racks have one: the lowest id");
        let full = [partition(0, &[1, 2, 4, 3])];
        assert_eq!(targets(&brokers, &full), [[1, 2, 4, 5]], "in whatever rack there is one");
    }

    #[test]
    fn of_equal_racks_the_one_with_the_fewest_replicas_takes_it_this_run_counted() {
        let busy = partition(9, &[1, 2]);
        let single = (0..5).map(|index| partition(index, &[3]));
        let all: Vec<Partition> = single.chain([busy]).collect();
        assert_eq!(targets(&brokers(4), &all), [[4], [1], [2], [4], [1]]);
    }

    #[test]
    fn a_partition_that_nobody_is_left_for_is_named() {
        let why = refusal(&brokers(3), &[partition(0, &[3]), partition(7, &[1, 2, 3])]);
        let named = "partition t/7 has replication factor 3, which the live brokers other than 3 \
                     cannot give: 1, 2";
        assert_eq!(why, named);
        let mut fenced = brokers(3);
        fenced[0].is_live = false;
        fenced[1].is_live = false;
        let why = refusal(&fenced, &[partition(0, &[3])]);
        assert!(why.ends_with("factor 1, which the live brokers other than 3 cannot give: none"));
        fenced[1].is_live = true;
        assert_eq!(targets(&fenced, &[partition(0, &[1, 3])]), [[1, 2]], "1 may come back");
    }

    #[test]
    fn a_partition_without_a_leader_has_nothing_to_copy_from() {
        let headless = Partition { has_leader: false, ..partition(4, &[3]) };
        assert_eq!(refusal(&brokers(3), &[headless]), "partition t/4 has no leader");
    }

    #[test]
    fn what_moves_already_is_counted_and_not_sent_again() {
        let all = [moving(&[1, 4, 3], &[4], &[3]), partition(1, &[3])];
        let found = plan(LEAVING, &brokers(4), &all).unwrap();
        assert_eq!(found.under_way.len(), 1);
        assert_eq!(found.under_way[0].to, [1, 4]);
        assert_eq!(found.moves.len(), 1);
        assert_eq!(found.moves[0].to, [2], "1 and 4 have one, or will");
    }

    #[test]
    fn a_move_to_a_broker_that_ended_is_given_to_another_one() {
        let mut brokers = brokers(4);
        brokers[3].is_live = false;
        let to_the_ended = [moving(&[1, 4, 3], &[4], &[3])];
        assert_eq!(targets(&brokers, &to_the_ended), [[1, 2]]);
        brokers.remove(1);
        let found = plan(LEAVING, &brokers, &to_the_ended).unwrap();
        assert_eq!(found.moves, [], "where there is nobody else it waits for that one");
    }

    #[test]
    fn a_move_of_others_goes_on_beside_it() {
        let all = [moving(&[3, 4, 1], &[4], &[1])];
        assert_eq!(targets(&brokers(4), &all), [[2, 4]], "not back to 1, which it leaves");
        let few = [broker(1, None), broker(3, None), broker(4, None)];
        assert_eq!(targets(&few, &all), [[1, 4]], "unless there is nobody else");
        let all = [moving(&[1, 3, 2], &[3], &[2])];
        assert_eq!(targets(&brokers(4), &all), [[1, 4]], "it was about to come to 3");
    }
}

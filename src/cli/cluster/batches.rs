//! How many moves `decommission` asks for at a time, when it looks again, and when it gives up.
//!
//! Invariants
//! - A batch holds at most [`MOVES_MAX`] moves, and adds none where so many are under way.
//! - A run ends after [`ROUNDS_MAX`] rounds, each of as many moves as its first look planned.

use crate::cli::cluster::replacements::Move;
use std::collections::BTreeSet;

/// Moves of one request, and under way at a time: a broker that copies all it will ever hold at
/// once has nothing in sync for long, and an interrupted run leaves no more than these.
pub(super) const MOVES_MAX: usize = 200;
/// Room for moves at which it is worth to look at all partitions again.
const WORTH_A_LOOK: usize = MOVES_MAX / 2;
/// Times that everything is moved; each but the first is for what came during the last one.
pub(super) const ROUNDS_MAX: usize = 10;

/// A partition: its topic and number.
pub(super) type Key = (String, i32);

/// The moves of a plan to ask for now, and the partitions that wait. Of those that are `leaving`
/// already another move is asked for where their broker has ended: that takes no more room.
pub(super) fn next(moves: Vec<Move>, leaving: &BTreeSet<Key>) -> (Vec<Move>, Vec<Key>) {
    let (mut batch, mut new): (Vec<Move>, Vec<Move>) =
        moves.into_iter().partition(|one| leaving.contains(&key(one)));
    let mut waiting = batch.split_off(batch.len().min(MOVES_MAX));
    let room = MOVES_MAX.saturating_sub(leaving.len());
    waiting.extend(new.split_off(new.len().min(room)));
    batch.extend(new);
    assert!(batch.len() <= MOVES_MAX);
    (batch, waiting.iter().map(key).collect())
}

fn key(one: &Move) -> Key {
    (one.topic.clone(), one.index)
}

/// Whether there is something to send, or to find: a look asks for all partitions.
pub(super) fn is_time_to_look(under_way: usize, waiting: usize) -> bool {
    under_way == 0 || waiting > 0 && under_way + WORTH_A_LOOK <= MOVES_MAX
}

/// Why not count looks: each batch has one, so a broker that holds much takes many. A round is as
/// many moves as its first look found to be asked for; what its later looks find besides, came
/// meanwhile.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    begun: usize,
    /// Moves of this round that were not asked for yet.
    left: usize,
}

impl Rounds {
    /// A look found this many moves to ask for. False when there were rounds enough.
    pub(super) fn on_look(&mut self, planned: usize) -> bool {
        if self.left == 0 {
            self.begun += 1;
            self.left = planned;
        }
        self.begun <= ROUNDS_MAX
    }

    /// So many moves were asked for, and so many are to be.
    pub(super) fn on_batch(&mut self, taken: usize, waiting: usize) {
        // Others may have moved or deleted what the round was to move: nothing waits, it is over.
        self.left = if waiting == 0 { 0 } else { self.left.saturating_sub(taken) };
    }

    pub(super) fn have_begun(&self) -> bool {
        self.begun > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(count: usize) -> Vec<Move> {
        let index = |at: usize| i32::try_from(at).unwrap();
        let planned =
            |at| Move { topic: "t".to_owned(), index: index(at), from: vec![3], to: vec![1] };
        (0..count).map(planned).collect()
    }

    fn keys(topic: &str, count: usize) -> BTreeSet<Key> {
        moves(count).iter().map(|one| (topic.to_owned(), one.index)).collect()
    }

    /// Moves of the batch, and partitions that wait; the order is the plan's.
    fn sizes(planned: usize, leaving: &BTreeSet<Key>) -> (usize, usize) {
        let all = moves(planned);
        let (batch, waiting) = next(all.clone(), leaving);
        let given: Vec<Key> = batch.iter().map(key).chain(waiting.iter().cloned()).collect();
        assert_eq!(given, all.iter().map(key).collect::<Vec<Key>>());
        (batch.len(), waiting.len())
    }

    #[test]
    fn the_first_moves_that_have_room_are_asked_for_and_the_others_wait() {
        let other = |count| keys("other", count);
        assert_eq!(sizes(3, &other(0)), (3, 0));
        assert_eq!(sizes(MOVES_MAX + 5, &other(0)), (MOVES_MAX, 5));
        assert_eq!(sizes(5, &other(MOVES_MAX - 2)), (2, 3));
        assert_eq!(sizes(5, &other(MOVES_MAX + 2)), (0, 5));
    }

    #[test]
    fn what_is_on_its_way_takes_no_more_room_when_it_is_sent_elsewhere() {
        assert_eq!(sizes(MOVES_MAX + 1, &keys("t", MOVES_MAX)), (MOVES_MAX, 1));
        assert_eq!(sizes(MOVES_MAX + 5, &keys("t", MOVES_MAX + 3)), (MOVES_MAX, 5));
        assert_eq!(sizes(MOVES_MAX + 5, &keys("t", 7)), (MOVES_MAX, 5));
    }

    #[test]
    fn a_look_is_taken_when_half_can_be_sent_or_nothing_is_on_its_way() {
        assert!(is_time_to_look(0, 0));
        assert!(!is_time_to_look(1, 0), "there is nothing to send");
        assert!(!is_time_to_look(MOVES_MAX - WORTH_A_LOOK + 1, 1));
        assert!(is_time_to_look(MOVES_MAX - WORTH_A_LOOK, 1));
        assert!(!is_time_to_look(MOVES_MAX + 1, 1), "others move some as well");
    }

    #[test]
    fn a_round_ends_with_as_many_moves_as_it_began_with_though_more_come() {
        let mut rounds = Rounds::default();
        assert!(!rounds.have_begun());
        for _ in 0..ROUNDS_MAX {
            for _ in 0..3 {
                assert!(rounds.on_look(3 * MOVES_MAX));
                rounds.on_batch(MOVES_MAX, 2 * MOVES_MAX);
            }
        }
        assert!(rounds.have_begun());
        assert!(!rounds.on_look(1));
    }

    #[test]
    fn a_round_is_over_when_nothing_waits_and_lasts_while_everything_is_refused() {
        let mut rounds = Rounds::default();
        for _ in 0..ROUNDS_MAX {
            assert!(rounds.on_look(2 * MOVES_MAX));
            for _ in 0..ROUNDS_MAX {
                rounds.on_batch(0, 2 * MOVES_MAX);
                assert!(rounds.on_look(2 * MOVES_MAX));
            }
            rounds.on_batch(1, 0);
        }
        assert!(!rounds.on_look(1));
    }
}

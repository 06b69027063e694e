//! Requests that wait for an event: a produce for its commits, a fetch for data or its deadline.
//!
//! Invariants
//! - An entry stays until every part that was sent out has come back, even when its connection is
//!   gone: keys are not reused under an answer still in flight.
//! - Each entry is answered once.

use crate::model::errors::KafkaCode;
use crate::protocol::produce_view::ProduceRequestView;
use crate::shard::connection::SlotId;
use crate::shard::mesh::{AppendOutcome, ParkedKey, ReadOutcome};
use crate::shard::stages::Stamp;
use slab::Slab;

/// Entries by dense index, with a generation that exposes stale keys. One per core and kind.
pub struct ParkedTable<T> {
    entries: Slab<(u32, T)>,
    generation: u32,
}

impl<T> Default for ParkedTable<T> {
    fn default() -> ParkedTable<T> {
        ParkedTable { entries: Slab::new(), generation: 0 }
    }
}

impl<T> ParkedTable<T> {
    /// Parks an entry.
    pub fn insert(&mut self, entry: T) -> ParkedKey {
        self.generation = self.generation.wrapping_add(1);
        let index = self.entries.insert((self.generation, entry));
        let index = u32::try_from(index).expect("bounded by connections and their slots");
        ParkedKey { index, generation: self.generation }
    }

    /// The entry, unless the key is stale.
    pub fn get_mut(&mut self, key: ParkedKey) -> Option<&mut T> {
        let (generation, entry) = self.entries.get_mut(key.index as usize)?;
        (*generation == key.generation).then_some(entry)
    }

    /// The entry at an index known to be in use, with its key.
    pub fn at(&mut self, index: usize) -> Option<(ParkedKey, &mut T)> {
        let (generation, entry) = self.entries.get_mut(index)?;
        let index = u32::try_from(index).expect("indexes come from insert");
        Some((ParkedKey { index, generation: *generation }, entry))
    }

    /// Takes the entry out.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        self.entries.try_remove(index).map(|(_, entry)| entry)
    }

    /// All entries with their indexes.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.entries.iter_mut().map(|(index, (_, entry))| (index, entry))
    }

    /// How many are parked.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing is parked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// How an answer names a topic: as the request did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicName {
    Name(bytes::Bytes),
    Id(uuid::Uuid),
}

/// A produce whose parts are on their way. Reused through a pool, with the room of its vectors.
#[derive(Debug, Default)]
pub struct ParkedProduce {
    /// Where the answer belongs; set when it is parked.
    pub slot: Option<SlotId>,
    pub correlation_id: i32,
    pub deadline_us: u64,
    /// When it was taken in, then when its last part was settled.
    pub stamp: Stamp,
    /// The request, read in place.
    pub request: ProduceRequestView,
    /// By the order of the request's partitions.
    pub outcomes: Vec<Option<AppendOutcome>>,
    /// Parts still out.
    pub outstanding: u32,
    /// True once the answer has left (a timeout answers before all parts are back).
    pub is_answered: bool,
}

impl ParkedProduce {
    /// Takes one part's outcome; true when it was the last.
    pub fn settle(&mut self, part: u32, outcome: AppendOutcome) -> bool {
        let place = &mut self.outcomes[part as usize];
        assert!(place.is_none(), "a part is settled once");
        *place = Some(outcome);
        assert!(self.outstanding > 0);
        self.outstanding -= 1;
        self.outstanding == 0
    }
}

/// Where a parked fetch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchPhase {
    /// Reads of the current pass are out.
    Reading,
    /// Watches are set; the next wake starts another pass.
    Watching,
}

/// A fetch that is being read or waits for data.
#[derive(Debug)]
pub struct ParkedFetch {
    pub slot: SlotId,
    pub phase: FetchPhase,
    pub pass: u32,
    pub outstanding: u32,
    pub deadline_us: u64,
    /// When it was taken in, then when it was woken.
    pub stamp: Stamp,
    /// When what the answer tells was found, or the fetch was woken for it.
    pub settled: Stamp,
    pub outcomes: Vec<Option<ReadOutcome>>,
    /// True when a wake came in while a pass was still reading: nothing may be missed.
    pub was_woken: bool,
    pub request: Box<crate::shard::fetch_plan::FetchPlan>,
}

impl ParkedFetch {
    /// True when the last pass found what the client waits for, or something to tell it at once.
    pub fn has_enough(&self) -> bool {
        let mut size = 0;
        for outcome in self.outcomes.iter().flatten() {
            let is_led_on = outcome.diverging.is_some() || outcome.preferred.is_some();
            if outcome.code != KafkaCode::None || is_led_on {
                return true;
            }
            size += outcome.size();
        }
        size >= self.request.min_bytes || self.outcomes.is_empty()
    }
}

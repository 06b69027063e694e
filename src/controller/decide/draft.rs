//! The records of one decision with the image that they lead to.
//!
//! Why: a decision about many partitions must see what it has decided so far (a broker is fenced,
//! then its partitions look for leaders), and still be one frame.

use crate::controller::decide::transition::Transition;
use crate::controller::image::MetadataImage;
use crate::controller::records::{Availability, MetadataRecord, PartitionState};
use crate::model::ids::{BrokerEpoch, BrokerId, TopicPartition};

/// A decision on its way.
pub(super) struct Draft {
    pub(super) image: MetadataImage,
    pub(super) records: Vec<MetadataRecord>,
}

impl Draft {
    pub(super) fn new(image: &MetadataImage) -> Draft {
        Draft { image: image.clone(), records: Vec::new() }
    }

    pub(super) fn push(&mut self, record: MetadataRecord) {
        self.image.apply(&record).expect("a decision's records follow from each other");
        self.records.push(record);
        assert!(self.image.end() >= self.records.len() as u64);
    }

    pub(super) fn set_availability(
        &mut self,
        id: BrokerId,
        epoch: BrokerEpoch,
        availability: Availability,
    ) {
        self.push(MetadataRecord::BrokerState { id, epoch, availability });
    }

    /// Identities of the partitions whose state is of interest.
    pub(super) fn partitions_where(
        &self,
        is_wanted: impl Fn(&PartitionState) -> bool,
    ) -> Vec<TopicPartition> {
        let partitions = self.image.topics().flat_map(|topic| topic.partitions());
        partitions.filter(|(_, one)| is_wanted(&one.state)).map(|(id, _)| id).collect()
    }

    /// Changes one partition; `None` where it stays as it is.
    pub(super) fn change(
        &mut self,
        id: TopicPartition,
        prepare: impl FnOnce(&mut Transition<'_>),
    ) -> Option<PartitionState> {
        let topic = self.image.topic_by_id(&id.topic)?;
        let before = &topic.partition(id.partition)?.state;
        let mut transition = Transition::new(&self.image, topic, before);
        prepare(&mut transition);
        let state = transition.finish()?;
        assert!(state.leader_epoch >= before.leader_epoch);
        assert!(state.partition_epoch > before.partition_epoch);
        self.push(MetadataRecord::Partition { id, state: state.clone() });
        Some(state)
    }
}

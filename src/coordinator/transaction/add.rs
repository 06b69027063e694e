//! AddPartitionsToTxn: partitions that a transaction spans, added or verified (KIP-98, KIP-890).

use super::calls::{AddMode, AddPartitions, PartitionResult, TopicPartitions, TransactionAnswer};
use super::coordinator::TransactionCoordinator;
use super::metadata::TransactionState;
use super::turn::Turn;
use crate::model::errors::KafkaCode;

impl TransactionCoordinator {
    pub(super) fn add_partitions(
        &mut self,
        add: AddPartitions,
        turn: &mut Turn<'_>,
    ) -> Result<TransactionAnswer, KafkaCode> {
        match add.mode {
            AddMode::Verify => self.verify(&add),
            AddMode::Add => self.add(add, turn),
        }
    }

    fn verify(&self, add: &AddPartitions) -> Result<TransactionAnswer, KafkaCode> {
        let entry = self.ids.get(&add.transactional_id);
        let metadata = &entry.ok_or(KafkaCode::InvalidProducerIdMapping)?.metadata;
        if metadata.producer_id != add.producer_id {
            return Err(KafkaCode::InvalidProducerIdMapping);
        }
        if metadata.epoch != add.producer_epoch {
            return Err(KafkaCode::ProducerFenced);
        }
        if metadata.state.is_prepared() {
            return Err(KafkaCode::ConcurrentTransactions);
        }
        let code = |topic: &str, partition: i32| match metadata.holds(topic, partition) {
            true => KafkaCode::None,
            false => KafkaCode::TransactionAbortable,
        };
        Ok(TransactionAnswer::AddPartitions(results(&add.topics, code)))
    }

    fn add(
        &mut self,
        add: AddPartitions,
        turn: &mut Turn<'_>,
    ) -> Result<TransactionAnswer, KafkaCode> {
        let id = &add.transactional_id;
        let entry = self.ids.get_mut(id).ok_or(KafkaCode::InvalidProducerIdMapping)?;
        let metadata = &mut entry.metadata;
        // Before identity: under KIP-890 a producer may already use the id that is to follow.
        if metadata.state.is_prepared() {
            return Err(KafkaCode::ConcurrentTransactions);
        }
        if metadata.producer_id != add.producer_id {
            return Err(KafkaCode::InvalidProducerIdMapping);
        }
        if metadata.epoch != add.producer_epoch {
            return Err(KafkaCode::ProducerFenced);
        }
        let answer = TransactionAnswer::AddPartitions(results(&add.topics, |_, _| KafkaCode::None));
        let is_open = metadata.state == TransactionState::Ongoing;
        let mut places = add.topics.iter().flat_map(|own| {
            own.partitions.iter().map(|partition| (own.topic.as_str(), *partition))
        });
        if is_open && places.all(|(topic, partition)| metadata.holds(topic, partition)) {
            return Ok(answer);
        }
        let mut partitions = metadata.partitions.clone();
        for TopicPartitions { topic, partitions: numbers } in add.topics {
            partitions.entry(topic).or_default().extend(numbers);
        }
        partitions.retain(|_, numbers| !numbers.is_empty());
        let before = std::mem::replace(&mut metadata.partitions, partitions);
        if metadata.partitions_size() > turn.config.record_bytes_max {
            metadata.partitions = before;
            return Err(KafkaCode::TransactionAbortable);
        }
        if !is_open {
            metadata.started_ms = turn.now.wall_ms;
        }
        metadata.state = TransactionState::Ongoing;
        metadata.touch(turn.now.wall_ms);
        turn.write(id, Some(metadata));
        self.wake_in_time(id, turn);
        Ok(answer)
    }
}

fn results(
    topics: &[TopicPartitions],
    code: impl Fn(&str, i32) -> KafkaCode,
) -> Vec<PartitionResult> {
    let mut results = Vec::new();
    for TopicPartitions { topic, partitions } in topics {
        results.extend(partitions.iter().map(|partition| PartitionResult {
            topic: topic.clone(),
            partition: *partition,
            code: code(topic, *partition),
        }));
    }
    results
}

//! How much all configurations together may take: a snapshot of the metadata has a largest size,
//! and what partitions take of it is bounded by their number.

use crate::controller::decide::{Decision, Refusal};
use crate::controller::image::{MetadataImage, config_bytes};
use crate::controller::records::MetadataRecord;
use crate::model::errors::KafkaCode;
use crate::model::limits::CONFIG_BYTES_MAX;

/// The decision, or its refusal where configurations would take more than there is. What a value
/// replaces counts until it is gone.
pub(super) fn within(image: &MetadataImage, decision: Decision) -> Decision {
    let set = decision.records.iter().filter_map(|record| match record {
        MetadataRecord::Config { resource, key, value: Some(value) } => {
            Some(config_bytes(resource, key, value))
        }
        _ => None,
    });
    let (has, more) = (image.config_bytes(), set.sum::<usize>());
    if more == 0 || has + more <= CONFIG_BYTES_MAX {
        return decision;
    }
    let message = format!(
        "The configurations of all topics, brokers and groups take {has} bytes, and this change \
         {more}; together they have at most {CONFIG_BYTES_MAX}. Delete some first."
    );
    let refusal = Refusal::new(KafkaCode::PolicyViolation, message);
    Decision { records: Vec::new(), reply: decision.reply.failed(refusal) }
}

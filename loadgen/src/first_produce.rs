//! From nothing to the first accepted record: how long a starting broker takes.

use std::time::Duration;

use highwater::protocol::compression::Compression;
use highwater::protocol::messages::produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use highwater::protocol::records::Records;

use crate::cli::FirstProduceArgs;
use crate::clock::now_ns;
use crate::control::Control;
use crate::failure::Failure;
use crate::load_args::Acks;
use crate::payload::{BatchSpec, build_batch};
use crate::topic::{NewTopic, Topic};

const TRY_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Tries until one record was accepted with acks=all; returns the nanoseconds that took.
///
/// # Errors
/// The last failure, when `--within` has passed.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
pub(crate) fn wait_for_first_produce(args: &FirstProduceArgs) -> Result<u64, Failure> {
    let start_ns = now_ns();
    loop {
        match produce_one(args) {
            Ok(()) => return Ok(now_ns() - start_ns),
            Err(failure) if now_ns() - start_ns >= args.within => return Err(failure),
            Err(_) => std::thread::sleep(TRY_AGAIN_AFTER),
        }
    }
}

/// One record for partition 0 of a topic that is made, or for each partition of one that is there.
fn produce_one(args: &FirstProduceArgs) -> Result<(), Failure> {
    let mut control = Control::connect(&args.bootstrap)?;
    let topic = if args.all_partitions {
        Topic::find(&mut control, &args.topic)?
    } else {
        let replication_factor = args.replication_factor;
        let new = NewTopic { partitions: Some(1), replication_factor, configs: Vec::new() };
        Topic::find_or_create(&mut control, &args.topic, &new)?
    };
    let batch = build_batch(&BatchSpec {
        records: 1,
        record_bytes: 100,
        random_percent: 50,
        compression: Compression::None,
        seed: 1,
    })?;
    for (address, led) in &topic.leaders {
        let partition_data = led.iter().map(|partition| PartitionProduceData {
            index: *partition,
            records: Records::from(batch.clone()),
        });
        let request = ProduceRequest {
            acks: Acks::All.to_wire(),
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name: topic.name.clone(),
                topic_id: topic.id,
                partition_data: partition_data.collect(),
            }],
            ..ProduceRequest::default()
        };
        let version_max = if topic.id.is_nil() { 12 } else { 13 };
        let answer = Control::connect(address)?.call_at_most(&request, version_max)?;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
        let mut codes = partitions.map(|partition| partition.error_code);
        if let Some(code) = codes.find(|code| *code != 0) {
            return Err(Failure::Refused { api: "Produce", topic: topic.name, code });
        }
    }
    Ok(())
}

//! A journal that is full while a partition goes around it.

use crate::model::ids::{PartitionId, TopicPartition};
use crate::sim::broker::SimClient;
use crate::sim::disk::Slow;
use crate::sim::setup::{Setup, make_topic, produce};
use futures::future::join;
use uuid::Uuid;

const SETUP: Setup<'_> =
    Setup { cores: 1, settings: &[("num.partitions", "2"), ("highwater.durability", "kernel")] };
/// A batch that is journaled, and one that goes straight to its segment, in bytes.
const JOURNALED: usize = 100 * 1024;
const DIRECT: usize = 600 * 1024;
/// Journaled batches that are more than a simulated journal has room for.
const BATCHES: usize = 12;
/// That of a hundred other writes.
const SLOW_WRITE_US: u64 = 20_000;
const SEEDS: u64 = 10;

async fn store(client: &mut SimClient, topic: Uuid, partition: i32, size: usize) {
    let answer = client.call(&produce(topic, partition, &vec![7; size])).await.unwrap();
    assert_eq!(
        answer.responses[0].partition_responses[0].error_code, 0,
        "of partition {partition}"
    );
}

/// Partition 0 has a batch in the oldest journal file, and a slow write to its segment is under way
/// when partition 1 fills the journal: nothing else happens that could have anybody look again.
#[test]
fn who_waits_for_room_in_the_journal_is_not_forgotten_when_a_direct_append_held_it() {
    for seed in 0..SEEDS {
        let (mut broker, disk) = SETUP.start(seed, None);
        make_topic(&mut broker, "t");
        let shard = broker.core(0);
        let id = shard.borrow().image.topic_by_name("t").unwrap().id;
        let slow = TopicPartition { topic: id, partition: PartitionId(0) };
        let dir = shard.borrow().partition_dir(&slow);
        disk.slow_down(Some(Slow { dir, write_us: SLOW_WRITE_US, sync_us: 0 }));
        let (mut slow_client, mut client) = (broker.connect(0), broker.connect(0));
        broker.executor.run_until(async move {
            store(&mut slow_client, id.0, 0, JOURNALED).await;
            let fill = async {
                for _ in 0..BATCHES {
                    store(&mut client, id.0, 1, JOURNALED).await;
                }
            };
            join(store(&mut slow_client, id.0, 0, DIRECT), fill).await;
        });
    }
}

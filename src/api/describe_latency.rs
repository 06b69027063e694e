//! DescribeLatency: the stages of every core. Ours: Kafka has no such request.

use crate::api::context::RequestContext;
use crate::model::errors::KafkaCode;
use crate::model::histogram::Histogram;
use crate::model::limits::STAGE_SAMPLE_EVERY;
use crate::protocol::messages::describe_latency::{
    CoreLatency, DescribeLatencyRequest, DescribeLatencyResponse, StageLatency,
};
use crate::shard::questions::stages_of_all;
use crate::shard::stages::{Stage, StageSnapshot};
use crate::storage::disk::Disk;

/// Answers DescribeLatency.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeLatencyRequest,
) -> DescribeLatencyResponse {
    let is_wanted = |told: &CoreLatency| request.core < 0 || told.core == request.core;
    let snapshots = stages_of_all(&context.shard).await;
    DescribeLatencyResponse {
        error_code: KafkaCode::None.number(),
        timed_every: i32::try_from(STAGE_SAMPLE_EVERY).unwrap_or(i32::MAX),
        cores: snapshots.iter().map(core).filter(is_wanted).collect(),
    }
}

fn core(snapshot: &StageSnapshot) -> CoreLatency {
    CoreLatency {
        core: i32::from(snapshot.core.0),
        requests: number(snapshot.requests),
        routed: number(snapshot.routed),
        stages: snapshot.stages.iter().map(stage).collect(),
    }
}

fn stage((stage, times): &(Stage, Histogram)) -> StageLatency {
    StageLatency {
        stage: stage.name().to_owned(),
        count: number(times.count()),
        sum_ns: number(times.sum_ns()),
        p50_ns: number(times.quantile_ns(5000)),
        p99_ns: number(times.quantile_ns(9900)),
        p999_ns: number(times.quantile_ns(9990)),
        max_ns: number(times.max_ns()),
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

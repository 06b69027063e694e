//! DescribeLatency, key 20000: where the time of requests went, stage by stage on each core.
//!
//! Ours, Kafka has nothing like it. Version 0, flexible. Times are in nanoseconds since the start
//! of the broker; quantiles are right to 1 in 32 upwards.

use crate::protocol::schema::schema;

schema! {
    api DescribeLatency: DescribeLatencyRequest => DescribeLatencyResponse, versions 0..=0;

    /// The request: all stages of one core, or of all where it is -1.
    struct DescribeLatencyRequest {
        core: i32 = -1, "0+";
    }

    /// The response; one Produce or Fetch in `timed_every` is timed.
    struct DescribeLatencyResponse {
        error_code: i16, "0+";
        timed_every: i32, "0+";
        cores: Vec<CoreLatency>, "0+";
    }

    /// One of `cores` of [`DescribeLatencyResponse`]: the produces and fetches that it took in, and
    /// the messages by which they, or parts of them, went to other cores.
    struct CoreLatency {
        core: i32, "0+";
        requests: i64, "0+";
        routed: i64, "0+";
        stages: Vec<StageLatency>, "0+";
    }

    /// One of `stages` of [`CoreLatency`].
    struct StageLatency {
        stage: String, "0+";
        count: i64, "0+";
        sum_ns: i64, "0+";
        p50_ns: i64, "0+";
        p99_ns: i64, "0+";
        p999_ns: i64, "0+";
        max_ns: i64, "0+";
    }
}

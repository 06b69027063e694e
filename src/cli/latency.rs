//! `highwater latency`: where the time of requests goes, stage by stage on each core.

use crate::cli::args::{LatencyOptions, OutputForm};
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::table::Table;
use crate::protocol::messages::describe_latency::{
    CoreLatency, DescribeLatencyRequest, DescribeLatencyResponse, StageLatency,
};
use serde_json::{Value, json};

/// Asks one broker and prints what it says.
pub(crate) fn run(options: &LatencyOptions) -> Result<(), CliError> {
    let mut client = Client::connect(&options.target.bootstrap)?;
    let answer = client.call(&DescribeLatencyRequest::default())?;
    check("latency", answer.error_code, None)?;
    match options.output {
        OutputForm::Table => print!("{}", table(&answer)),
        OutputForm::Json => println!("{}", document(&answer)),
    }
    Ok(())
}

fn table(answer: &DescribeLatencyResponse) -> String {
    let heading = ["CORE", "STAGE", "COUNT", "P50", "P99", "P99.9", "MAX"];
    let mut table = Table::new(&heading);
    for core in &answer.cores {
        for stage in &core.stages {
            let times = [stage.p50_ns, stage.p99_ns, stage.p999_ns, stage.max_ns];
            let mut cells =
                vec![core.core.to_string(), stage.stage.clone(), stage.count.to_string()];
            cells.extend(times.map(|ns| if stage.count == 0 { "-".to_owned() } else { shown(ns) }));
            table.row(cells);
        }
    }
    let mut text = table.render();
    for CoreLatency { core, requests, routed, .. } in &answer.cores {
        text.push_str(&format!(
            "core {core}: {requests} produces and fetches, {routed} messages for them to other \
             cores\n"
        ));
    }
    text.push_str(&format!("one request in {} is timed\n", answer.timed_every));
    text
}

/// Nanoseconds with three digits and a unit.
fn shown(ns: i64) -> String {
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| ns >= *size) else {
        return format!("{ns}ns");
    };
    let (whole, rest) = (ns / size, ns % size);
    match whole {
        0..10 => format!("{whole}.{:02}{unit}", rest * 100 / size),
        10..100 => format!("{whole}.{}{unit}", rest * 10 / size),
        _ => format!("{whole}{unit}"),
    }
}

fn document(answer: &DescribeLatencyResponse) -> Value {
    let stage = |stage: &StageLatency| {
        json!({
            "stage": stage.stage,
            "count": stage.count,
            "sum_ns": stage.sum_ns,
            "p50_ns": stage.p50_ns,
            "p99_ns": stage.p99_ns,
            "p999_ns": stage.p999_ns,
            "max_ns": stage.max_ns,
        })
    };
    let core = |core: &CoreLatency| {
        json!({
            "core": core.core,
            "requests": core.requests,
            "routed": core.routed,
            "stages": core.stages.iter().map(stage).collect::<Vec<_>>(),
        })
    };
    json!({
        "timed_every": answer.timed_every,
        "cores": answer.cores.iter().map(core).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1000, "1.00us"),
            (12_345, "12.3us"),
            (123_456, "123us"),
            (4_200_000, "4.20ms"),
            (61_000_000_000, "61.0s"),
        ] {
            assert_eq!(shown(ns), text);
        }
    }

    #[test]
    fn a_stage_without_times_shows_none() {
        let stage = |name: &str, count| StageLatency {
            stage: name.to_owned(),
            count,
            p50_ns: 1500,
            p99_ns: 2_500_000,
            p999_ns: 2_500_000,
            max_ns: 2_600_000,
            ..StageLatency::default()
        };
        let stages = vec![stage("parse", 12), stage("route", 0)];
        let cores = vec![CoreLatency { core: 0, requests: 192, routed: 0, stages }];
        let answer = DescribeLatencyResponse { timed_every: 16, cores, error_code: 0 };
        expect![[r#"
            CORE  STAGE  COUNT  P50     P99     P99.9   MAX
            0     parse  12     1.50us  2.50ms  2.50ms  2.60ms
            0     route  0      -       -       -       -
            core 0: 192 produces and fetches, 0 messages for them to other cores
            one request in 16 is timed
        "#]]
        .assert_eq(&table(&answer));
    }
}

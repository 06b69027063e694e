//! loadgen: load for any broker that speaks the Kafka protocol.
//!
//! Why an own client: stock clients saturate before the broker does. Requests are encoded once,
//! one thread serves many connections, and nothing is allocated per request.

mod batch_headers;
mod cli;
mod clock;
mod consume_lane;
mod consume_run;
mod consume_worker;
mod control;
mod failure;
mod fetch_answer;
mod first_produce;
mod inbox;
mod interval;
mod lane;
mod null_answers;
mod null_broker;
mod payload;
mod placement;
mod poller;
mod produce_answer;
mod produce_run;
mod produce_worker;
mod progress;
mod recorder;
mod request_ring;
mod run;
mod schedule;
mod server;
mod summary;
mod topic;
mod units;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, FirstProduceArgs, NullBrokerArgs};
use crate::failure::Failure;
use crate::null_broker::NullBroker;
use crate::summary::{Loop, Summary};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Produce(args) => produce_run::produce(&args).map(|outcome| {
            let pacing = args.rate.map_or(Loop::Closed, |rate| Loop::Open { rate });
            report("produce", pacing, outcome, args.run.json)
        }),
        Command::Consume(args) => consume_run::consume(&args)
            .map(|outcome| report("consume", Loop::Closed, outcome, args.run.json)),
        Command::FirstProduce(args) => first_produce(&args).map(|()| 0),
        Command::NullBroker(args) => serve_null(&args).map(|()| 0),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("loadgen: {failure}");
            let mut source = failure.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of the run goes to standard output")]
fn report(mode: &'static str, pacing: Loop, outcome: run::RunOutcome, as_json: bool) -> u8 {
    let summary = Summary { mode, pacing, outcome, command: std::env::args().collect() };
    if as_json {
        println!("{:#}", summary.to_json());
    } else {
        print!("{}", summary.to_text());
    }
    summary.exit_code()
}

#[expect(clippy::print_stdout, reason = "the result goes to standard output")]
fn first_produce(args: &FirstProduceArgs) -> Result<(), Failure> {
    let waited_ns = first_produce::wait_for_first_produce(args)?;
    println!("{:.1}", interval::to_f64(waited_ns) / 1e6);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "callers read the address from standard output")]
fn serve_null(args: &NullBrokerArgs) -> Result<(), Failure> {
    run::pin_to(args.core)?;
    let mut broker = NullBroker::bind(&args.listen, args.end_offset)?;
    let address =
        broker.address().map_err(|source| Failure::System { call: "getsockname", source })?;
    println!("{address}");
    broker.run(|| false)
}

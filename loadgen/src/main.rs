//! loadgen: load for any broker that speaks the Kafka protocol.
//!
//! Why an own client: stock clients saturate before the broker does. Requests are encoded once,
//! one thread serves many connections, and nothing is allocated per request.

#[macro_use]
mod output;

mod batch_headers;
mod broker_facts;
mod calibrate_run;
mod capacity;
mod capacity_plan;
mod capture_feed;
mod cli;
mod clock;
mod commit_run;
mod compare;
mod consume_lane;
mod consume_run;
mod consume_worker;
mod control;
mod coordinators;
mod datagram;
mod end_to_end_run;
mod environment;
mod exchange;
mod failover_args;
mod failover_run;
mod failure;
mod feed;
mod feed_time;
mod fetch_answer;
mod first_produce;
mod group_args;
mod host_disk;
mod html_report;
mod idle_run;
mod inbox;
mod interval;
mod job_file;
mod job_run;
mod job_set;
mod job_slo;
mod lane;
mod ledger;
mod load_args;
mod member;
mod null_answers;
mod null_broker;
mod objective;
mod payload;
mod placement;
mod poller;
mod produce_answer;
mod produce_run;
mod produce_worker;
mod progress;
mod record_pool;
mod rebalance_run;
mod recorder;
mod replay_args;
mod replay_run;
mod replay_source;
mod replay_worker;
mod request_ring;
mod resources;
mod run;
mod schedule;
mod second;
mod server;
mod stamp;
mod summary;
mod sweep_run;
mod tail_worker;
mod topic;
mod trace;
mod transact_run;
mod transaction;
mod tuning_check;
mod turns;
mod units;
mod variety;
mod verify_producer;
mod verify_reader;
mod verify_run;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};

use crate::cli::{Cli, Command, CompareArgs, NullBrokerArgs};
use crate::environment::environment;
use crate::failure::Failure;
use crate::load_args::RunArgs;
use crate::null_broker::NullBroker;
use crate::run::RunOutcome;
use crate::summary::{Loop, Summary};
use crate::tuning_check::tuning_check;

fn main() -> ExitCode {
    let outcome = run_command(Cli::parse().command);
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

fn run_command(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Produce(args) => {
            let outcome = produce_run::produce(&args.load, args.rate)?;
            let pacing = args.rate.map_or(Loop::Closed, |rate| Loop::Open { rate });
            report("produce", pacing, outcome, &args.load.run)
        }
        Command::EndToEnd(args) => {
            let outcome = end_to_end_run::end_to_end(&args)?;
            report("e2e", Loop::Open { rate: args.rate }, outcome, &args.load.run)
        }
        Command::Consume(args) => {
            report("consume", Loop::Closed, consume_run::consume(&args)?, &args.run)
        }
        Command::Commit(args) => {
            report("commit", Loop::Closed, commit_run::commit(&args)?, &args.run)
        }
        Command::Transact(args) => {
            report("transact", Loop::Closed, transact_run::transact(&args)?, &args.run)
        }
        Command::Rebalance(args) => {
            let run = rebalance_run::run_args(&args);
            report("rebalance", Loop::Closed, rebalance_run::rebalance(&args, &run)?, &run)
        }
        Command::Verify(args) => {
            let verdict = verify_run::verify(&args)?;
            show(args.json, || verdict.to_text(), || verdict.to_json());
            if let Some(directory) = &args.out {
                verdict.write_to(directory)?;
            }
            Ok(verdict.exit_code())
        }
        Command::Sweep(args) => {
            let capacity = sweep_run::sweep(&args)?;
            show(args.load.run.json, || capacity.to_text(), || capacity.to_json());
            capacity.failure.map_or(Ok(u8::from(capacity.max_rate.is_none())), Err)
        }
        Command::Replay(args) => {
            let (outcome, pacing) = replay_run::replay(&args)?;
            report("replay", pacing, outcome, &args.run())
        }
        Command::Run(args) => {
            let outcome = job_run::run_jobs(&args)?;
            show(args.json, || outcome.to_text(), || outcome.to_json());
            let code = outcome.exit_code();
            outcome.failure.map_or(Ok(code), Err)
        }
        Command::Calibrate(args) => {
            let calibration = calibrate_run::calibrate(&args)?;
            show(args.load.run.json, || calibration.to_text(), || calibration.to_json());
            Ok(0)
        }
        Command::Compare(args) => compare_runs(&args),
        Command::Report(args) => {
            html_report::write_report(&compare::read_run(&args.run)?, &args.output).map(|()| 0)
        }
        Command::Failover(args) => {
            let seen = failover_run::failover(&args)?;
            show(args.json, || seen.to_text(), || seen.to_json());
            Ok(0)
        }
        Command::FirstProduce(args) => {
            first_produce::wait_for_first_produce(&args).map(print_milliseconds)
        }
        Command::FirstOffsets(args) => commit_run::wait_for_offsets(&args).map(print_milliseconds),
        Command::Idle(args) => idle_run::idle(&args),
        Command::NullBroker(args) => serve_null(&args).map(|()| 0),
    }
}

fn report(
    mode: &'static str,
    pacing: Loop,
    outcome: RunOutcome,
    args: &RunArgs,
) -> Result<u8, Failure> {
    let command: Vec<String> = std::env::args().collect();
    let mut environment = environment(&command, &outcome.facts, args.out.as_deref());
    if args.is_kept() {
        environment["tuning_check"] = json!(tuning_check());
    }
    let summary = Summary { mode, pacing, outcome, command, environment };
    show(args.json, || summary.to_text(), || summary.to_json());
    let written = args.out.as_deref().map_or(Ok(()), |directory| summary.write_to(directory));
    let code = summary.exit_code();
    summary.outcome.whole()?;
    written.map(|()| code)
}

fn show(as_json: bool, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
    if as_json {
        println!("{:#}", json());
    } else {
        print!("{}", text());
    }
}

fn compare_runs(args: &CompareArgs) -> Result<u8, Failure> {
    let (before, after) = (compare::read_run(&args.before)?, compare::read_run(&args.after)?);
    let comparison = compare::compare(&before, &after, args.fail_if.as_ref());
    print!("{}", comparison.text);
    for note in &comparison.notes {
        println!("NOTE         {note}");
    }
    for fault in &comparison.faults {
        println!("FAIL         {fault}");
    }
    Ok(u8::from(!comparison.faults.is_empty()))
}

fn print_milliseconds(waited_ns: u64) -> u8 {
    println!("{:.1}", interval::to_f64(waited_ns) / 1e6);
    0
}

fn serve_null(args: &NullBrokerArgs) -> Result<(), Failure> {
    run::pin_to(args.core)?;
    let mut broker = NullBroker::bind(&args.listen, args.end_offset)?.stalling(args.stalling());
    let address =
        broker.address().map_err(|source| Failure::System { call: "getsockname", source })?;
    println!("{address}");
    broker.run(|| false)
}

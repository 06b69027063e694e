//! Runs the jobs of a file, at once or in turn, and keeps what each leaves.
//!
//! Why processes: a job that fails, or is killed, takes nothing from the others, and each has its
//! own threads, cores and files, as if it were started by hand.
//!
//! Invariants
//! - Every job that can be started is: one that fails stops no other.
//! - `jobs.json` is written anew after each job that ends.

use std::fmt::Write;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use serde_json::{Map, Value, json};

use crate::cli::RunJobsArgs;
use crate::failure::Failure;
use crate::job_file::{Job, JobFile, Order};
use crate::job_slo::Slo;
use crate::progress::duration;
use crate::summary::{pretty, write_whole};

const SCHEMA: &str = "highwater-loadgen-jobs/1";

/// Exit code of a job that was killed.
const EXIT_KILLED: u8 = 74;

/// What a job has left.
#[derive(Debug)]
struct JobEnd {
    code: u8,
    /// Its JSON, when it printed some.
    result: Option<Value>,
    /// What it said of its failure.
    error: Option<String>,
}

/// All jobs of a file.
#[derive(Debug)]
pub(crate) struct JobsOutcome {
    jobs: Vec<(Job, Option<JobEnd>)>,
    slos: Vec<Slo>,
    /// `jobs.json` could not be written.
    pub(crate) failure: Option<Failure>,
}

/// Runs them.
///
/// # Errors
/// The file is refused, or the directory for results cannot be made: nothing was started then.
pub(crate) fn run_jobs(args: &RunJobsArgs) -> Result<JobsOutcome, Failure> {
    let file = JobFile::read(&args.file, &args.overrides)?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out)
            .map_err(|source| Failure::Output { path: out.clone(), source })?;
    }
    let jobs = file.jobs.into_iter().map(|job| (job, None)).collect();
    let mut outcome = JobsOutcome { jobs, slos: file.slos, failure: None };
    let count = outcome.jobs.len();
    let batches: Vec<std::ops::Range<usize>> = match file.order {
        Order::Together => std::iter::once(0..count).collect(),
        Order::InTurn => (0..count).map(|index| index..index + 1).collect(),
    };
    for batch in batches {
        run_batch(&mut outcome, batch, args.out.as_deref())?;
    }
    Ok(outcome)
}

/// Runs some jobs at once.
fn run_batch(
    outcome: &mut JobsOutcome,
    batch: std::ops::Range<usize>,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let (ended, ends) = channel();
    let jobs: Vec<(usize, Job)> =
        batch.map(|index| (index, outcome.jobs[index].0.clone())).collect();
    thread::scope(|scope| {
        for (index, job) in jobs {
            let ended: Sender<(usize, JobEnd)> = ended.clone();
            let body = move || {
                // The receiver lives as long as this scope.
                let _ = ended.send((index, run_job(&job, out)));
            };
            thread::Builder::new()
                .spawn_scoped(scope, body)
                .map_err(|source| Failure::System { call: "clone", source })?;
        }
        drop(ended);
        for (index, end) in ends {
            outcome.jobs[index].1 = Some(end);
            if let Some(out) = out {
                let written = write_whole(&out.join("jobs.json"), &pretty(&outcome.to_json()));
                outcome.failure = written.err();
            }
        }
        Ok(())
    })
}

fn run_job(job: &Job, out: Option<&Path>) -> JobEnd {
    run_process(job, out).unwrap_or_else(|error| JobEnd {
        code: EXIT_KILLED,
        result: None,
        error: Some(format!("it could not be run: {error}")),
    })
}

fn run_process(job: &Job, out: Option<&Path>) -> std::io::Result<JobEnd> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(&job.mode).arg("--json").args(&job.words);
    if let Some(out) = out.filter(|_| job.takes_out) {
        command.arg("--out").arg(out.join(&job.name));
    }
    let mut process =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (errors, mut output) = (process.stderr.take(), process.stdout.take());
    let (text, error) = thread::scope(|scope| {
        let pump = || errors.map(|errors| pass_on(&job.name, errors)).unwrap_or_default();
        let pump = thread::Builder::new().spawn_scoped(scope, pump)?;
        let mut text = String::new();
        if let Some(output) = &mut output {
            output.read_to_string(&mut text)?;
        }
        let error = pump.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, std::io::Error>((text, error))
    })?;
    let status = process.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    let killed = code.is_none().then(|| format!("it was ended: {status}"));
    let error = Some(error).filter(|error| !error.is_empty()).or(killed);
    let result = serde_json::from_str(&text).ok();
    Ok(JobEnd { code: code.unwrap_or(EXIT_KILLED), result, error })
}

/// Shows each line under the job's name; returns what was said of a failure.
fn pass_on(name: &str, errors: ChildStderr) -> String {
    let mut said = String::new();
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        eprintln!("[{name}] {line}");
        if line.starts_with("loadgen: ") || !said.is_empty() {
            said.push_str(line.trim_start_matches("loadgen: "));
            said.push('\n');
        }
    }
    said.trim_end().to_owned()
}

impl JobsOutcome {
    /// The exit code of the first job, in the order of the file, that failed; 1 when all are good
    /// but an objective is broken.
    pub(crate) fn exit_code(&self) -> u8 {
        let ends = self.jobs.iter().filter_map(|(_, end)| end.as_ref());
        let is_broken = self.objectives().any(|(_, broken)| !broken.is_empty());
        ends.map(|end| end.code).find(|code| *code != 0).unwrap_or(u8::from(is_broken))
    }

    /// Each objective of a job that has ended, and what breaks it.
    fn objectives(&self) -> impl Iterator<Item = (&Slo, Vec<String>)> {
        self.slos.iter().filter_map(|slo| {
            let (job, end) = self.jobs.iter().find(|(job, _)| job.name == slo.job)?;
            Some((slo, slo.broken_by(&job.mode, end.as_ref()?.result.as_ref())))
        })
    }

    /// One line per job.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!(
            "{:<16} {:<10} {:>4} {:>14} {:>10} {:>10}\n",
            "job", "mode", "exit", "records/s", "p50", "p99"
        );
        for (job, end) in &self.jobs {
            let result = end.as_ref().and_then(|end| end.result.as_ref());
            let latency = |figure: &str| {
                let value = result.and_then(|result| result["response_us"][figure].as_u64());
                value.map_or("-".to_owned(), duration)
            };
            let rate = result.and_then(|result| result["records_per_second"].as_f64());
            writeln!(
                text,
                "{:<16} {:<10} {:>4} {:>14} {:>10} {:>10}",
                job.name,
                job.mode,
                end.as_ref().map_or("-".to_owned(), |end| end.code.to_string()),
                rate.map_or("-".to_owned(), |rate| format!("{rate:.0}")),
                latency("p50"),
                latency("p99"),
            )
            .expect("writing to a string");
        }
        for (slo, broken) in self.objectives() {
            let verdict = if broken.is_empty() {
                "holds".to_owned()
            } else {
                format!("BROKEN: {}", broken.join("; "))
            };
            writeln!(text, "slo {}: {verdict}", slo.job).expect("writing to a string");
        }
        let ends = self.jobs.iter().filter_map(|(job, end)| Some((job, end.as_ref()?)));
        for (job, end) in ends {
            if let Some(error) = &end.error {
                writeln!(text, "{}: {error}", job.name).expect("writing to a string");
            }
        }
        text
    }

    /// The versioned JSON.
    pub(crate) fn to_json(&self) -> Value {
        let jobs = self.jobs.iter().map(|(job, end)| {
            let value = json!({
                "mode": job.mode,
                "flags": job.words,
                "ended": end.is_some(),
                "exit_code": end.as_ref().map(|end| end.code),
                "error": end.as_ref().and_then(|end| end.error.clone()),
                "result": end.as_ref().and_then(|end| end.result.clone()),
            });
            (job.name.clone(), value)
        });
        json!({
            "schema": SCHEMA,
            "mode": "run",
            "good": self.exit_code() == 0,
            "slos": self
                .objectives()
                .map(|(slo, broken)| {
                    json!({ "job": slo.job, "holds": broken.is_empty(), "broken": broken })
                })
                .collect::<Vec<Value>>(),
            "jobs": jobs.collect::<Map<String, Value>>(),
        })
    }
}

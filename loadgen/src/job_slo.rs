//! `[[slo]]` of a job file: what a job has to hold.
//!
//! ```toml
//! [[slo]]
//! job = "ticks"
//! p99 = "2ms"          # p50, p90, p99, p99_9, p99_99, max: below
//! errors = 0           # errors, backlog: at most
//! rate = "19k/s"       # records per second: at least
//! of = "response"      # or service, end_to_end; by default end_to_end for e2e, else response
//! ```

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::job_file::{Fault, fault, scalars, unknown};
use crate::objective::rate_text;
use crate::progress::duration;
use crate::units::{parse_duration, parse_rate};

const KEYS: [&str; 11] =
    ["job", "of", "p50", "p90", "p99", "p99_9", "p99_99", "max", "errors", "backlog", "rate"];

/// One condition.
#[derive(Debug, Clone, PartialEq)]
enum Limit {
    /// A latency figure of the summary below so many microseconds.
    Below {
        figure: String,
        us: u64,
    },
    Errors(u64),
    /// Requests due and not answered, and records not consumed, at the end.
    Backlog(u64),
    RateAtLeast(f64),
}

/// What one job has to hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slo {
    pub(crate) job: String,
    /// Which latency of the summary.
    latency: Option<String>,
    limits: Vec<Limit>,
}

impl Slo {
    /// Reads one table; `jobs` are the names that there are.
    pub(crate) fn read(table: &Spanned<DeValue<'_>>, jobs: &[String]) -> Result<Slo, Fault> {
        let DeValue::Table(entries) = table.get_ref() else {
            return Err(fault(table, "an objective is a table, as in [[slo]]"));
        };
        let job = Slo::job(table, entries, jobs)?;
        let mut slo = Slo { job, latency: None, limits: Vec::new() };
        for (key, value) in entries.iter() {
            let name = key.get_ref().as_ref();
            let text = scalars(value.get_ref()).filter(|texts| texts.len() == 1);
            let text = text.map(|texts| texts.concat()).unwrap_or_default();
            match name {
                "job" => {}
                "of" if ["response", "service", "end_to_end"].contains(&&text[..]) => {
                    slo.latency = Some(format!("{text}_us"));
                }
                "of" => return Err(fault(value, "of is response, service or end_to_end")),
                "errors" | "backlog" => {
                    let count = text.parse();
                    let count = count.map_err(|_| fault(value, format!("{name} is a number")))?;
                    let limit = if name == "errors" { Limit::Errors } else { Limit::Backlog };
                    slo.limits.push(limit(count));
                }
                "rate" => {
                    let rate = parse_rate(&text).map_err(|reason| fault(value, reason))?;
                    slo.limits.push(Limit::RateAtLeast(rate));
                }
                figure if KEYS.contains(&figure) => {
                    let ns = parse_duration(&text).map_err(|reason| fault(value, reason))?;
                    slo.limits.push(Limit::Below { figure: figure.to_owned(), us: ns / 1000 });
                }
                other => return Err(unknown(key, other, KEYS.map(String::from))),
            }
        }
        if slo.limits.is_empty() {
            return Err(fault(table, "an objective without a limit, as in p99 = \"5ms\""));
        }
        Ok(slo)
    }

    fn job(
        table: &Spanned<DeValue<'_>>,
        entries: &DeTable<'_>,
        jobs: &[String],
    ) -> Result<String, Fault> {
        match entries.get("job").map(|value| (value, value.get_ref())) {
            Some((_, DeValue::String(job))) if jobs.iter().any(|known| known == job.as_ref()) => {
                Ok(job.clone().into_owned())
            }
            Some((place, DeValue::String(job))) => Err(unknown(place, job, jobs.to_vec())),
            Some((place, _)) => Err(fault(place, "job is the name of a job")),
            None => Err(fault(table, "an objective names its job, as in job = \"a\"")),
        }
    }

    /// What a job's summary breaks, with the value that it shows; empty when it holds all.
    pub(crate) fn broken_by(&self, mode: &str, result: Option<&Value>) -> Vec<String> {
        let Some(result) = result else {
            return vec!["the job has no figures".to_owned()];
        };
        let usual = if mode == "e2e" { "end_to_end_us" } else { "response_us" };
        let latency = &result[self.latency.as_deref().unwrap_or(usual)];
        let count = |name: &str| result[name].as_u64().unwrap_or(0);
        let broken = self.limits.iter().filter_map(|limit| match limit {
            Limit::Below { figure, us } => match latency[figure].as_u64() {
                Some(value) if latency["count"] != 0 => (value >= *us)
                    .then(|| format!("{figure} {} (< {})", duration(value), duration(*us))),
                _ => Some(format!("{figure} was not measured")),
            },
            Limit::Errors(most) => {
                let errors = result["errors"].as_object().into_iter().flat_map(|all| all.values());
                let errors: u64 = errors.filter_map(Value::as_u64).sum();
                (errors > *most).then(|| format!("errors {errors} (<= {most})"))
            }
            Limit::Backlog(most) => {
                let backlog = count("unanswered") + count("undelivered");
                (backlog > *most).then(|| format!("backlog {backlog} (<= {most})"))
            }
            Limit::RateAtLeast(least) => {
                let rate = result["records_per_second"].as_f64().unwrap_or(0.0);
                (rate < *least)
                    .then(|| format!("rate {} (>= {})", rate_text(rate), rate_text(*least)))
            }
        });
        broken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Slo, Fault> {
        let root = DeTable::parse(text).unwrap();
        let DeValue::Array(slos) = root.get_ref()["slo"].get_ref() else {
            panic!("no list: {text}");
        };
        Slo::read(&slos[0], &["ticks".to_owned()])
    }

    #[test]
    fn an_objective_names_what_breaks_it() {
        let text = "[[slo]]\njob = \"ticks\"\np99 = \"2ms\"\nmax = \"1s\"\nerrors = 0\n\
                    backlog = 1\nrate = \"1k/s\"\n";
        let slo = read(text).unwrap();
        let figures = |p99: u64, errors: u64, rate: f64| {
            json!({
                "response_us": { "count": 5, "p99": 9_000, "max": 9_000 },
                "end_to_end_us": { "count": 5, "p99": p99, "max": 2_500 },
                "errors": { "A": errors, "B": 0 },
                "unanswered": 1, "undelivered": errors, "records_per_second": rate,
            })
        };
        assert_eq!(slo.broken_by("e2e", Some(&figures(1_999, 0, 1000.0))), [""; 0]);
        let broken = slo.broken_by("e2e", Some(&figures(2_000, 3, 999.0)));
        assert_eq!(broken.len(), 4, "{broken:?}");
        assert_eq!(slo.broken_by("produce", Some(&figures(5, 0, 1000.0))).len(), 1);
        assert_eq!(slo.broken_by("e2e", None), ["the job has no figures"]);
        let empty = json!({ "response_us": { "count": 0, "p99": 0, "max": 0 } });
        assert!(slo.broken_by("produce", Some(&empty)).concat().contains("not measured"));
    }

    #[test]
    fn what_is_no_objective_is_refused() {
        let refusal = |rest: &str| read(&format!("[[slo]]\n{rest}\n")).unwrap_err().reason;
        assert!(refusal("p99 = \"2ms\"").contains("names its job"));
        assert!(refusal("job = \"tick\"\np99 = \"2ms\"").contains("the nearest is ticks"));
        assert!(refusal("job = \"ticks\"").contains("without a limit"));
        assert!(refusal("job = \"ticks\"\np98 = \"2ms\"").contains("there is no p98"));
        assert!(refusal("job = \"ticks\"\np99 = \"fast\"").contains("as in 500ms"));
        assert!(refusal("job = \"ticks\"\nerrors = \"few\"").contains("errors is a number"));
        assert!(refusal("job = \"ticks\"\nof = \"lag\"").contains("of is response"));
    }
}

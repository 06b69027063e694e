//! `highwater` without a sub-command: from configuration to a running broker, and its banner.

use crate::admin::http::MetricsListener;
use crate::cli::args::StartOptions;
use crate::cli::config_source::{self, SourceError};
use crate::cli::host_check;
use crate::model::broker_config::{BrokerConfig, BrokerConfigError, ConfigWarning, Spin};
use crate::model::listeners::Endpoint;
use crate::runtime::inspector::Inspector;
use crate::runtime::start::{self, EXIT_CONFIGURATION, EXIT_IO, Facts, StartError};
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// Environment variable that sets the log level, as in `HIGHWATER_LOG=debug`.
const LOG_VARIABLE: &str = "HIGHWATER_LOG";

/// Why no broker runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFailure {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n           "))]
    Config(Vec<BrokerConfigError>),
    #[error("listen on {address} for highwater.metrics.listener")]
    Metrics { address: String, source: io::Error },
    #[error(transparent)]
    Start(#[from] StartError),
}

impl StartFailure {
    /// 78 where the configuration must change, 74 where files or sockets failed.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            StartFailure::Source(SourceError::Read { .. }) => EXIT_IO,
            StartFailure::Source(_) | StartFailure::Config(_) | StartFailure::Metrics { .. } => {
                EXIT_CONFIGURATION
            }
            StartFailure::Start(error) => error.exit_code(),
        }
    }

    /// What the operator can do, where that can be said.
    pub(crate) fn way_out(&self) -> Option<String> {
        match self {
            StartFailure::Source(_) => None,
            StartFailure::Config(_) => {
                Some("docs/config.md lists every key; `highwater explain E0007` says more".into())
            }
            StartFailure::Metrics { .. } => Some(
                "stop what listens there, or name a free address of this machine in \
                 highwater.metrics.listener"
                    .into(),
            ),
            StartFailure::Start(error) => error.fix(),
        }
    }
}

/// Runs a broker until a signal stops it.
///
/// # Errors
/// Whatever keeps it from starting.
pub(crate) fn run(options: &StartOptions) -> Result<(), StartFailure> {
    log_to_stderr();
    let profile = options.profile.map(|profile| format!("highwater.profile={}", profile.name()));
    let overrides: Vec<String> = profile.into_iter().chain(options.overrides.clone()).collect();
    let settings =
        config_source::settings(options.config.as_deref(), std::env::vars(), &overrides)?;
    let (config, warnings) =
        BrokerConfig::from_settings(&settings).map_err(StartFailure::Config)?;
    warnings.iter().for_each(warn);
    let config = Arc::new(config);
    let metrics = config.metrics_listener.as_ref().map(listen_for_metrics).transpose()?;
    let is_up = |facts: &Facts| {
        announce!("{}", banner(facts, &config));
        if let Some(metrics) = metrics {
            serve_metrics(metrics, facts.inspector.clone());
        }
        host_check::start(tuning_profile(&config), &facts.data_dir);
    };
    start::run(Arc::clone(&config), is_up)?;
    Ok(())
}

/// Before a core starts: an address that is taken refuses the start.
fn listen_for_metrics(address: &Endpoint) -> Result<MetricsListener, StartFailure> {
    MetricsListener::bind(&address.host, address.port)
        .map_err(|source| StartFailure::Metrics { address: address.to_string(), source })
}

fn serve_metrics(metrics: MetricsListener, mut inspector: Inspector) {
    let serve = move || metrics.serve(|| inspector.overview());
    if let Err(error) = std::thread::Builder::new().name("metrics".into()).spawn(serve) {
        tracing::warn!(%error, "no thread for metrics: nobody answers at highwater.metrics.listener");
    }
}

pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr)
        // A standard error that is closed must not end the broker.
        .log_internal_errors(false)
        .init();
}

/// What this broker asks of its host, as `tuning` calls it.
fn tuning_profile(config: &BrokerConfig) -> &'static str {
    match config.spin {
        Spin::Never => "throughput",
        Spin::WhereKept | Spin::Forced => "latency",
    }
}

fn warn(warning: &ConfigWarning) {
    tracing::warn!("{warning}");
}

/// `PLAINTEXT on 127.0.0.1:9092, its cores on 9093 9094`.
fn listening(((name, address), core_ports): (&(String, SocketAddr), &Vec<u16>)) -> String {
    let ports: Vec<String> = core_ports.iter().map(u16::to_string).collect();
    match ports.is_empty() {
        true => format!("{name} on {address}"),
        false => format!("{name} on {address}, its cores on {}", ports.join(" ")),
    }
}

/// What a person wants to know once the broker is up.
fn banner(facts: &Facts, config: &BrokerConfig) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let addresses: Vec<String> =
        facts.addresses.iter().zip(&facts.core_ports).map(listening).collect();
    let connect = facts.addresses.first().map_or_else(String::new, |(_, address)| {
        let host = if address.ip().is_unspecified() {
            "127.0.0.1".into()
        } else {
            address.ip().to_string()
        };
        format!("{host}:{}", address.port())
    });
    let state = if facts.is_new { "new" } else { "recovered" };
    let durability = match config.values.get("highwater.durability").map(String::as_str) {
        Some("kernel") => "kernel: acks=all waits for the page cache, as Apache Kafka's default",
        _ => "flush: acks=all waits for stable storage, acks=1 for the page cache",
    };
    let cores = format!("{:?} of {:?}", facts.cores.cores, facts.cores.available);
    let spinning = if config.spin == Spin::Never { "" } else { ", spinning" };
    let chosen = if facts.cores.cores.len() < facts.cores.available.len() {
        " (highwater.cores chooses how many)".to_owned()
    } else {
        String::new()
    };
    let took_ms = facts.started_in.as_millis();
    let (role, uses) = match config.cluster.roles.broker {
        true => (
            "",
            format!(
                "durability  {durability}
  try         highwater topic create orders --bootstrap {connect}
              echo 'hello' | highwater produce orders --bootstrap {connect}
  clients     bootstrap.servers={connect}"
            ),
        ),
        false => (
            " as a controller",
            format!(
                "try         highwater cluster status --bootstrap {connect}
  brokers     controller.quorum.bootstrap.servers={connect}"
            ),
        ),
    };
    let metrics = config
        .metrics_listener
        .as_ref()
        .map_or_else(String::new, |address| format!("\n  metrics     http://{address}/metrics"));
    format!(
        "highwater {version} is up{role} after {took_ms} ms
  listening   {}{metrics}
  cores       {cores}{chosen}{spinning}
  data        {} ({state}), cluster {}, node {}
  {uses}",
        addresses.join(", "),
        facts.data_dir.display(),
        crate::model::base64url::encode_uuid(facts.cluster_id),
        facts.node_id.0,
    )
}

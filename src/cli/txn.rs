//! `highwater txn`: list and describe transactional ids, and abort what one has open.

use crate::cli::args::{Target, TxnCommand};
use crate::cli::client::Client;
use crate::cli::error::{CliError, check};
use crate::cli::table::Table;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_transactions::{
    DescribeTransactionsRequest, DescribedTransactionState,
};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::messages::list_transactions::{
    ListTransactionsRequest, ListedTransactionState,
};
use crate::protocol::messages::metadata::MetadataRequest;
use serde_json::json;
use std::time::{Duration, Instant};

/// `key_type` of transactional ids in FindCoordinator.
const TRANSACTION: i8 = 1;
/// How long an abort may take, and the topic of coordinators may take to be there.
const DONE_WITHIN: Duration = Duration::from_secs(30);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Of the identity that an abort takes and nobody uses.
const TIMEOUT_MS: i32 = 60_000;

/// Runs one of the transaction commands.
pub(crate) fn run(command: &TxnCommand) -> Result<(), CliError> {
    match command {
        TxnCommand::List { states, longer_than_ms, json, target } => {
            let request = ListTransactionsRequest {
                state_filters: states.clone(),
                duration_filter: longer_than_ms.unwrap_or(-1),
                ..Default::default()
            };
            list(&request, *json, target)
        }
        TxnCommand::Describe { id, json, target } => {
            let (_, described) = describe(id, target)?;
            show(&described, *json);
            Ok(())
        }
        TxnCommand::Abort { id, target } => abort(id, target),
    }
}

/// Asks every broker: each knows the ids that it coordinates.
fn list(request: &ListTransactionsRequest, is_json: bool, target: &Target) -> Result<(), CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let metadata = MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() };
    let mut found: Vec<ListedTransactionState> = Vec::new();
    for broker in client.call(&metadata)?.brokers {
        let mut client = Client::connect(&format!("{}:{}", broker.host, broker.port))?;
        let answer = retried(|| {
            let answer = client.call(request)?;
            check("transactions", answer.error_code, None)?;
            Ok(answer)
        })?;
        if let Some(value) = answer.unknown_state_filters.into_iter().next() {
            let expected = "must be Empty, Ongoing, PrepareCommit, PrepareAbort, CompleteCommit \
                            or CompleteAbort";
            return Err(CliError::Usage { flag: "--state", value, expected });
        }
        found.extend(answer.transaction_states);
    }
    found.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
    let mut table = Table::new(&["ID", "STATE", "PRODUCER"]);
    for ListedTransactionState { transactional_id, producer_id, transaction_state } in found {
        if is_json {
            let (id, state) = (transactional_id, transaction_state);
            println!("{}", json!({ "id": id, "state": state, "producer_id": producer_id }));
        } else {
            table.row(vec![transactional_id, transaction_state, producer_id.to_string()]);
        }
    }
    if !is_json {
        print!("{}", table.render());
    }
    Ok(())
}

/// One id, and the connection to its coordinator.
fn describe(id: &str, target: &Target) -> Result<(Client, DescribedTransactionState), CliError> {
    let mut client = coordinator_of(id, target)?;
    let request = DescribeTransactionsRequest { transactional_ids: vec![id.to_owned()] };
    let described = retried(|| {
        let mut states = client.call(&request)?.transaction_states;
        let described = states.pop().unwrap_or_default();
        check(&format!("transactional id {id}"), described.error_code, None)?;
        Ok(described)
    })?;
    Ok((client, described))
}

fn coordinator_of(id: &str, target: &Target) -> Result<Client, CliError> {
    let mut client = Client::connect(&target.bootstrap)?;
    let request = FindCoordinatorRequest {
        key_type: TRANSACTION,
        coordinator_keys: vec![id.to_owned()],
        ..Default::default()
    };
    let address = retried(|| {
        let found = client.call(&request)?.coordinators.pop().unwrap_or_default();
        let what = format!("coordinator of {id}");
        check(&what, found.error_code, found.error_message.as_deref())?;
        Ok(format!("{}:{}", found.host, found.port))
    })?;
    Client::connect(&address)
}

fn show(described: &DescribedTransactionState, is_json: bool) {
    let topics = || described.topics.iter();
    if is_json {
        let topics: Vec<_> = topics()
            .map(|own| json!({ "topic": own.topic, "partitions": own.partitions }))
            .collect();
        let text = json!({
            "id": described.transactional_id,
            "state": described.transaction_state,
            "producer_id": described.producer_id,
            "producer_epoch": described.producer_epoch,
            "timeout_ms": described.transaction_timeout_ms,
            "started_ms": described.transaction_start_time_ms,
            "topics": topics,
        });
        return println!("{text}");
    }
    println!("{}: {}", described.transactional_id, described.transaction_state);
    println!("producer {}, epoch {}", described.producer_id, described.producer_epoch);
    println!("timeout {} ms", described.transaction_timeout_ms);
    if described.transaction_start_time_ms >= 0 {
        println!("started {} ms after 1970", described.transaction_start_time_ms);
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS"]);
    for own in topics() {
        let numbers: Vec<String> = own.partitions.iter().map(i32::to_string).collect();
        table.row(vec![own.topic.clone(), numbers.join(" ")]);
    }
    print!("{}", table.render());
}

/// Takes the id away from its producer, as the next producer with the id would: whatever is open is
/// aborted, and who had it is fenced.
fn abort(id: &str, target: &Target) -> Result<(), CliError> {
    let (mut client, before) = describe(id, target)?;
    let request = InitProducerIdRequest {
        transactional_id: Some(id.to_owned()),
        transaction_timeout_ms: TIMEOUT_MS,
        ..Default::default()
    };
    let taken = retried(|| {
        let answer = client.call(&request)?;
        check(&format!("transactional id {id}"), answer.error_code, None)?;
        Ok(answer)
    })?;
    let verb = if before.transaction_state == "Ongoing" { "aborted" } else { "nothing open for" };
    println!(
        "{verb} {id}: its producer is fenced, producer {} has epoch {}",
        taken.producer_id, taken.producer_epoch
    );
    Ok(())
}

/// Tries until the answer is no retriable refusal, within [`DONE_WITHIN`].
#[allow(clippy::disallowed_methods, reason = "a command waits on the wall clock")]
fn retried<T>(mut attempt: impl FnMut() -> Result<T, CliError>) -> Result<T, CliError> {
    let give_up = Instant::now() + DONE_WITHIN;
    loop {
        match attempt() {
            Err(CliError::Refused { code, .. }) if is_passing(code) && Instant::now() < give_up => {
                std::thread::sleep(ASK_AGAIN_AFTER);
            }
            other => return other,
        }
    }
}

fn is_passing(code: KafkaCode) -> bool {
    code.is_retriable() || code == KafkaCode::ConcurrentTransactions
}

//! Which broker coordinates what, and what the cluster has finalised.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::model::errors::KafkaCode;
use highwater::protocol::messages::api_versions::ApiVersionsRequest;
use highwater::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest};

use crate::clock::{SECOND_NS, now_ns};
use crate::control::Control;
use crate::failure::Failure;

/// A broker makes its internal topics when they are first asked for, and loads them at a start.
const FOUND_WITHIN_NS: u64 = 60 * SECOND_NS;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Keys that one FindCoordinator asks for.
const KEYS_PER_REQUEST: usize = 1000;

/// What a coordinator coordinates; Kafka's `key_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoordinatorOf {
    Group = 0,
    Transaction = 1,
}

/// The address of each key's coordinator, in the order of `keys`.
///
/// # Errors
/// The broker cannot be asked, does not answer many keys at once (before version 4), or refuses.
pub(crate) fn find_coordinators(
    control: &mut Control,
    of: CoordinatorOf,
    keys: &[String],
) -> Result<Vec<String>, Failure> {
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(KEYS_PER_REQUEST) {
        find_chunk(control, of, chunk, &mut found)?;
    }
    let address = |key: &String| {
        found.get(key).cloned().ok_or_else(|| Failure::Unreadable {
            address: control.address().to_owned(),
            api: "FindCoordinator",
            reason: format!("no answer for {key}"),
        })
    };
    keys.iter().map(address).collect()
}

#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
fn find_chunk(
    control: &mut Control,
    of: CoordinatorOf,
    keys: &[String],
    found: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    let deadline_ns = now_ns() + FOUND_WITHIN_NS;
    let request = FindCoordinatorRequest {
        key_type: match of {
            CoordinatorOf::Group => 0,
            CoordinatorOf::Transaction => 1,
        },
        coordinator_keys: keys.to_vec(),
        ..FindCoordinatorRequest::default()
    };
    loop {
        let answer = control.call_at_least(&request, 4)?;
        let refused = answer.coordinators.iter().find(|one| one.error_code != 0);
        match refused.map(|one| one.error_code) {
            None => {
                found.extend(answer.coordinators.into_iter().map(named));
                return Ok(());
            }
            Some(code) if is_passing(code) && now_ns() < deadline_ns => {
                std::thread::sleep(ASK_AGAIN_AFTER);
            }
            Some(code) => return Err(Failure::Declined { api: "FindCoordinator", code }),
        }
    }
}

fn named(coordinator: Coordinator) -> (String, String) {
    let Coordinator { key, host, port, .. } = coordinator;
    (key, format!("{host}:{port}"))
}

/// Whether a refusal may be gone when the same is asked again.
pub(crate) fn is_passing(code: i16) -> bool {
    KafkaCode::from_number(code).is_some_and(KafkaCode::is_retriable)
}

/// Level of a feature that the cluster has finalised; 0 when it has not.
pub(crate) fn finalized_level(control: &mut Control, feature: &str) -> Result<i16, Failure> {
    let request = ApiVersionsRequest {
        client_software_name: "loadgen".to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let answer = control.call(&request)?;
    let found = answer.finalized_features.iter().find(|known| known.name == feature);
    Ok(found.map_or(0, |known| known.max_version_level))
}

/// The connections of one thread: `per_broker` to each address; actors take turns.
#[derive(Debug)]
pub(crate) struct Switchboard {
    addresses: Vec<String>,
    first_of: BTreeMap<String, usize>,
    per_broker: usize,
}

impl Switchboard {
    /// Lays out `per_broker` (at least 1) links to each distinct address.
    pub(crate) fn new<'a>(
        addresses: impl IntoIterator<Item = &'a String>,
        per_broker: usize,
    ) -> Switchboard {
        let mut board =
            Switchboard { addresses: Vec::new(), first_of: BTreeMap::new(), per_broker };
        for address in addresses {
            if !board.first_of.contains_key(address) {
                board.first_of.insert(address.clone(), board.addresses.len());
                board.addresses.extend(std::iter::repeat_n(address.clone(), per_broker));
            }
        }
        board
    }

    /// Address of each link.
    pub(crate) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The link of an actor to an address that was given to `new`.
    pub(crate) fn link(&self, address: &str, actor: usize) -> usize {
        self.first_of.get(address).copied().unwrap_or(0) + actor % self.per_broker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_take_turns_with_the_links_of_their_broker() {
        let brokers = ["a:1", "b:1", "a:1"].map(str::to_owned);
        let board = Switchboard::new(&brokers, 2);
        assert_eq!(board.addresses(), ["a:1", "a:1", "b:1", "b:1"]);
        let links: Vec<usize> = (0..3).map(|actor| board.link("b:1", actor)).collect();
        assert_eq!(links, [2, 3, 2]);
    }
}

//! How members reach the coordinator of their group, whichever broker that is at the moment.

use super::GROUP;
use crate::cluster::caller::{Caller, Net};
use crate::cluster::coordinated::{Coordinators, Kind};
use highwater::protocol::schema::Request;
pub(crate) use highwater::sim::network::{Ask, Patience, Sight, Witness};
use std::rc::Rc;

/// How long a client believes that a coordinator is one, in microseconds.
const BELIEF_US: u64 = 300_000;

/// The network to all brokers; clones are the same.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) net: Net,
}

impl Network {
    /// A client that has not connected yet.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            caller: Caller::new(&self.net),
            coordinators: Coordinators::default(),
            forget_us: 0,
        }
    }
}

/// A client of coordinators, with one request at a time.
pub(crate) struct Endpoint {
    caller: Caller,
    coordinators: Coordinators,
    forget_us: u64,
}

impl Endpoint {
    /// Sends a request until it is answered. `None` when no answer came and it is not to be sent
    /// again ([`Ask::is_resent`]).
    pub(crate) async fn call<R>(&mut self, ask: Ask<R>) -> Option<R::Response>
    where
        R: Request + Clone + 'static,
        R::Response: 'static,
    {
        self.call_seen(ask, Rc::new(|_, _| {})).await
    }

    /// The same; `witness` sees what reaches brokers and what leaves them.
    pub(crate) async fn call_seen<R>(
        &mut self,
        ask: Ask<R>,
        witness: Witness<R::Response>,
    ) -> Option<R::Response>
    where
        R: Request + Clone + 'static,
        R::Response: 'static,
    {
        for number in 0.. {
            let at = self.coordinator().await;
            let seen = (number, Rc::clone(&witness));
            self.caller.net.say(|| format!("{} to {at}", std::any::type_name::<R>()));
            if let Some(answer) = self.caller.call_seen(at, ask.clone(), seen).await {
                return Some(answer);
            }
            self.coordinators.forget(Kind::Group, GROUP);
            if !ask.is_resent {
                return None;
            }
        }
        None
    }

    async fn coordinator(&mut self) -> i32 {
        let now_us = self.caller.net.handle.now().monotonic_us;
        if now_us >= self.forget_us {
            self.coordinators.forget(Kind::Group, GROUP);
            self.forget_us = now_us + BELIEF_US;
        }
        loop {
            let found = self.coordinators.find(&mut self.caller, Kind::Group, GROUP).await;
            if let Some(found) = found {
                return found;
            }
        }
    }
}

//! The network between clients and a simulated broker: what TCP does to requests when connections
//! break, and what clients do about it.
//!
//! One connection delivers in order and once. What a broker sees late, twice or out of order comes
//! from several connections: a client that has waited long enough connects anew and sends its
//! request again, while the first one is still under way. So each attempt is a task of its own
//! here, and goes on when its client has given it up.

use crate::protocol::schema::Request;
use crate::sim::broker::{SimClient, SimDoor};
use crate::sim::executor::SimHandle;
use crate::sim::random::Random;
use futures::channel::oneshot;
use futures::future::{Either, select};
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

/// Share of the requests that are held up among those whose client gives up early, in percent: it
/// would not give up without reason.
const DESERTED_STALLS: u64 = 50;
/// How long a client waits before it connects anew after a connection broke, in microseconds.
const RECONNECT_US_MAX: u64 = 2000;

/// What goes wrong from now on. Shares are in percent of all requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetworkFaults {
    /// Longest time that a request or an answer is under way, in microseconds.
    pub delay_us_max: u64,
    /// Requests whose connection breaks before they are there.
    pub lost_requests: u64,
    /// Requests whose connection breaks before the answer is back.
    pub lost_answers: u64,
    /// Requests that are under way much longer than others.
    pub stalls: u64,
    /// Longest time that those are under way, in microseconds.
    pub stall_us_max: u64,
    /// Requests before which a client connects anew without need.
    pub reconnects: u64,
}

impl NetworkFaults {
    /// A selection of faults with shares of their own: a run in which everything goes wrong shows
    /// less than many runs in each of which something else does.
    pub fn swarm(random: &mut Random) -> NetworkFaults {
        let mut share = |most: u64| if random.chance(50) { 1 + random.below(most) } else { 0 };
        NetworkFaults {
            delay_us_max: 1 + share(3000),
            lost_requests: share(10),
            lost_answers: share(10),
            stalls: share(8),
            stall_us_max: 5_000 + share(100_000),
            reconnects: share(30),
        }
    }
}

/// How long a client waits for an answer before it connects anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// So many microseconds: what it sent before may still be under way.
    Us(u64),
    /// Until what it sent cannot take effect any more.
    UntilGone,
}

/// What somebody who watches the broker's side sees of one attempt.
#[derive(Debug)]
pub enum Sight<'a, T> {
    /// The broker begins to read it; attempts of one call are counted from 0.
    Delivered,
    /// The broker's answer leaves, whether or not it will arrive.
    Answered(&'a T),
}

/// Sees every attempt of a call.
pub type Witness<T> = Rc<dyn Fn(usize, Sight<'_, T>)>;

/// The network to one running broker; clones share its faults.
#[derive(Clone)]
pub struct Network {
    door: SimDoor,
    faults: Rc<Cell<NetworkFaults>>,
}

impl Network {
    pub fn new(door: SimDoor, faults: NetworkFaults) -> Network {
        Network { door, faults: Rc::new(Cell::new(faults)) }
    }

    /// Sets what goes wrong from the next request on.
    pub fn set_faults(&self, faults: NetworkFaults) {
        self.faults.set(faults);
    }

    pub fn handle(&self) -> SimHandle {
        self.door.handle()
    }

    /// A client that has not connected yet.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint { network: self.clone(), connection: None }
    }

    fn connect(&self) -> SimClient {
        let cores = self.door.cores();
        self.door.connect(self.handle().random(|random| random.index(cores)))
    }
}

/// A request in one of its versions, and what its client does when no answer comes.
#[derive(Debug, Clone, Copy)]
pub struct Ask<R> {
    pub request: R,
    pub version: i16,
    pub patience: Patience,
    /// Without an answer the same request is sent again; else the caller is told.
    pub is_resent: bool,
}

/// A client that outlives its connections, with one request at a time.
pub struct Endpoint {
    network: Network,
    connection: Option<SimClient>,
}

/// What becomes of one attempt.
struct Course {
    there_us: u64,
    back_us: u64,
    is_request_lost: bool,
    is_answer_lost: bool,
    /// How long after the request the broker sees the connection end, if before the answer leaves.
    ends_us: Option<u64>,
}

impl Course {
    fn draw<R>(faults: &NetworkFaults, ask: &Ask<R>, random: &mut Random) -> Course {
        let mut there_us = random.below(faults.delay_us_max + 1);
        // Whoever must know when an attempt is over must see its answer.
        let may_hide = ask.patience != Patience::UntilGone;
        let is_deserted = may_hide && !ask.is_resent && faults.stall_us_max > 0;
        let stalls = if is_deserted { DESERTED_STALLS } else { faults.stalls };
        if random.chance(stalls) {
            there_us += random.below(faults.stall_us_max + 1);
        }
        let is_answer_lost = random.chance(faults.lost_answers);
        let ends_early = is_answer_lost && may_hide && random.chance(50);
        Course {
            there_us,
            back_us: random.below(faults.delay_us_max + 1),
            is_request_lost: random.chance(faults.lost_requests),
            is_answer_lost,
            ends_us: ends_early.then(|| random.below(faults.delay_us_max + 1)),
        }
    }
}

impl Endpoint {
    /// Sends a request until it is answered. `None` when no answer came and it is not to be
    /// sent again ([`Ask::is_resent`]).
    pub async fn call<R>(&mut self, ask: Ask<R>) -> Option<R::Response>
    where
        R: Request + Clone + 'static,
        R::Response: 'static,
    {
        self.call_seen(ask, Rc::new(|_, _| {})).await
    }

    /// The same; `witness` sees what reaches the broker and what leaves it.
    pub async fn call_seen<R>(
        &mut self,
        ask: Ask<R>,
        witness: Witness<R::Response>,
    ) -> Option<R::Response>
    where
        R: Request + Clone + 'static,
        R::Response: 'static,
    {
        let handle = self.network.handle();
        for number in 0.. {
            let (sender, receiver) = oneshot::channel();
            let faults = self.network.faults.get();
            let (course, connects_anew) = handle.random(|random| {
                (Course::draw(&faults, &ask, random), random.chance(faults.reconnects))
            });
            let connection = self.connection.take().filter(|_| !connects_anew);
            let attempt = Attempt {
                client: connection.unwrap_or_else(|| self.network.connect()),
                course,
                number,
                handle: handle.clone(),
            };
            handle.spawn(attempt.run(ask.clone(), Rc::clone(&witness), sender));
            let answer = match ask.patience {
                Patience::UntilGone => receiver.await.ok(),
                Patience::Us(us) => match select(receiver, pin!(handle.sleep_us(us))).await {
                    Either::Left((answer, _)) => answer.ok(),
                    Either::Right(_) => None,
                },
            };
            if let Some((client, answer)) = answer {
                self.connection = Some(client);
                return Some(answer);
            }
            let pause_us = handle.random(|random| random.below(RECONNECT_US_MAX));
            handle.sleep_us(pause_us).await;
            if !ask.is_resent {
                return None;
            }
        }
        None
    }
}

struct Attempt {
    client: SimClient,
    course: Course,
    number: usize,
    handle: SimHandle,
}

impl Attempt {
    /// Gives connection and answer back; drops `sender` when the connection breaks.
    async fn run<R: Request>(
        mut self,
        ask: Ask<R>,
        witness: Witness<R::Response>,
        sender: oneshot::Sender<(SimClient, R::Response)>,
    ) {
        self.handle.sleep_us(self.course.there_us).await;
        if self.course.is_request_lost {
            return;
        }
        witness(self.number, Sight::Delivered);
        let answer = {
            let asked = pin!(self.client.call_version(&ask.request, ask.version));
            match self.course.ends_us {
                None => asked.await,
                Some(ends_us) => match select(asked, pin!(self.handle.sleep_us(ends_us))).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => None,
                },
            }
        };
        let Some(answer) = answer else { return };
        witness(self.number, Sight::Answered(&answer));
        self.handle.sleep_us(self.course.back_us).await;
        if !self.course.is_answer_lost {
            // A client that has given up is not there any more.
            drop(sender.send((self.client, answer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::api_versions::ApiVersionsRequest;
    use crate::sim::setup::Setup;
    use std::cell::RefCell;

    /// Attempts that reached the broker and answers that left it, for one call.
    fn sights(faults: NetworkFaults, ask: Ask<ApiVersionsRequest>) -> (Vec<(usize, bool)>, bool) {
        let (mut broker, _) = Setup { cores: 2, settings: &[] }.start(1, None);
        let network = Network::new(broker.door(), faults);
        let handle = network.handle();
        let seen: Rc<RefCell<Vec<(usize, bool)>>> = Rc::default();
        let log = Rc::clone(&seen);
        let is_answered = broker.executor.run_until(async move {
            let mut endpoint = network.endpoint();
            let witness = Rc::new(move |attempt, sight: Sight<'_, _>| {
                log.borrow_mut().push((attempt, matches!(sight, Sight::Answered(_))));
            });
            let answer = endpoint.call_seen(ask, witness).await;
            handle.sleep_us(2_000_000).await;
            answer.is_some()
        });
        (seen.take(), is_answered)
    }

    fn ask(patience: Patience, is_resent: bool) -> Ask<ApiVersionsRequest> {
        Ask { request: ApiVersionsRequest::default(), version: 0, patience, is_resent }
    }

    #[test]
    fn a_request_is_there_again_while_the_first_one_is_still_under_way() {
        let faults =
            NetworkFaults { stalls: 100, stall_us_max: 1_000_000, ..NetworkFaults::default() };
        let (seen, is_answered) = sights(faults, ask(Patience::Us(1000), true));
        let delivered = seen.iter().filter(|(_, is_answer)| !is_answer).map(|(attempt, _)| attempt);
        assert!(is_answered);
        assert!(delivered.clone().count() > 1);
        assert!(!delivered.is_sorted(), "they overtake each other");
    }

    #[test]
    fn who_waits_until_it_is_gone_has_one_request_under_way() {
        let faults =
            NetworkFaults { lost_answers: 50, lost_requests: 30, ..NetworkFaults::default() };
        let (seen, is_answered) = sights(faults, ask(Patience::UntilGone, true));
        assert!(is_answered);
        assert!(seen.is_sorted(), "each is answered before the next is sent: {seen:?}");
    }

    #[test]
    fn who_gives_up_is_told_that_there_is_no_answer() {
        let faults = NetworkFaults { lost_requests: 100, ..NetworkFaults::default() };
        assert_eq!(sights(faults, ask(Patience::UntilGone, false)), (Vec::new(), false));
    }
}

//! A client's way to the brokers: requests that are late, lost, sent again while the first is still
//! on its way, and answered by nobody.

use super::swarm::ClientFaults;
use futures::channel::oneshot;
use futures::future::{Either, select};
use highwater::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use highwater::protocol::schema::Request;
use highwater::sim::broker::SimClient;
use highwater::sim::cluster::{NodeId, SimDoors};
use highwater::sim::executor::{Group, SimHandle};
use highwater::sim::network::{Ask, Patience, Sight, Witness};
use highwater::sim::random::Random;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;

/// How long a client waits for an answer, in microseconds.
pub(crate) const PATIENCE_US: u64 = 300_000;
/// Pause before a client asks again, in microseconds.
pub(crate) const RETRY_US: u64 = 20_000;
/// Longest time that a request is held up, in microseconds: its client has given it up by then.
const STALL_US_MAX: u64 = 1_500_000;

/// What all clients share; clones are the same.
#[derive(Clone)]
pub(crate) struct Net {
    pub(crate) doors: SimDoors,
    pub(crate) handle: SimHandle,
    faults: Rc<Cell<ClientFaults>>,
    /// Brokers that hear no client, and those that no client hears.
    pub(crate) deaf: Rc<RefCell<BTreeSet<NodeId>>>,
    pub(crate) mute: Rc<RefCell<BTreeSet<NodeId>>>,
    /// Trouble is over.
    pub(crate) is_calm: Rc<Cell<bool>>,
    /// Nobody is to begin anything.
    pub(crate) is_over: Rc<Cell<bool>>,
    /// Clients that have not stopped.
    pub(crate) busy: Rc<Cell<usize>>,
}

impl Net {
    pub(crate) fn new(doors: SimDoors, handle: SimHandle, faults: ClientFaults) -> Net {
        Net {
            doors,
            handle,
            faults: Rc::new(Cell::new(faults)),
            deaf: Rc::default(),
            mute: Rc::default(),
            is_calm: Rc::default(),
            is_over: Rc::default(),
            busy: Rc::default(),
        }
    }

    /// Runs a client that stops when all is over.
    pub(crate) fn spawn(&self, client: impl Future<Output = ()> + 'static) {
        self.busy.set(self.busy.get() + 1);
        let busy = Rc::clone(&self.busy);
        self.handle.spawn(async move {
            client.await;
            busy.set(busy.get() - 1);
        });
    }

    /// Clients end what they have begun, and stop.
    pub(crate) fn end(&self) {
        self.is_over.set(true);
    }

    /// Trouble is over.
    pub(crate) fn calm(&self) {
        self.faults.set(ClientFaults { delay_us_max: 500, ..ClientFaults::default() });
        self.deaf.borrow_mut().clear();
        self.mute.borrow_mut().clear();
        self.is_calm.set(true);
    }

    pub(crate) fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        self.handle.random(draw)
    }

    /// Says what happens, where one seed is being looked at.
    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if std::env::var_os("HIGHWATER_SEED").is_some() {
            println!("{:>9} us {}", self.handle.now().monotonic_us, what());
        }
    }

    pub(crate) async fn pause(&self, us_max: u64) {
        let us = self.random(|random| 1 + random.below(us_max));
        self.handle.sleep_us(us).await;
    }

    pub(crate) fn any_broker(&self) -> NodeId {
        let ids = self.doors.ids();
        ids[self.random(|random| random.index(ids.len()))]
    }
}

/// What becomes of one request.
struct Course {
    there_us: u64,
    back_us: u64,
    is_request_lost: bool,
    is_answer_lost: bool,
}

impl Course {
    fn draw(faults: ClientFaults, random: &mut Random) -> Course {
        let stall_us = if random.chance(faults.stalls) { random.below(STALL_US_MAX) } else { 0 };
        Course {
            there_us: stall_us + random.below(faults.delay_us_max + 1),
            back_us: random.below(faults.delay_us_max + 1),
            is_request_lost: random.chance(faults.lost_requests),
            is_answer_lost: random.chance(faults.lost_answers),
        }
    }
}

/// One client's connections, and what it believes of leaders.
pub(crate) struct Caller {
    pub(crate) net: Net,
    connections: BTreeMap<NodeId, (Group, SimClient)>,
    /// Leader and its epoch, by partition.
    leaders: BTreeMap<(String, i32), (NodeId, i32)>,
    /// Requests that may still take effect, given up or not.
    under_way: Rc<Cell<usize>>,
}

/// Counts a request for as long as it may take effect: its task ends with it, or with the broker.
struct UnderWay(Rc<Cell<usize>>);

impl UnderWay {
    fn new(count: &Rc<Cell<usize>>) -> UnderWay {
        count.set(count.get() + 1);
        UnderWay(Rc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Caller {
    pub(crate) fn new(net: &Net) -> Caller {
        Caller {
            net: net.clone(),
            connections: BTreeMap::new(),
            leaders: BTreeMap::new(),
            under_way: Rc::default(),
        }
    }

    /// Waits until nothing that was sent can take effect any more: for requests that carry no
    /// number by which a broker could tell a late one from its successor.
    pub(crate) async fn until_gone(&self) {
        while self.under_way.get() > 0 {
            self.net.handle.sleep_us(RETRY_US).await;
        }
    }

    /// Sends a request in its newest version; `None` when no answer came in time.
    pub(crate) async fn call<R>(&mut self, to: NodeId, request: R) -> Option<R::Response>
    where
        R: Request + 'static,
        R::Response: 'static,
    {
        self.call_version(to, request, *R::VERSIONS.end()).await
    }

    pub(crate) async fn call_version<R>(
        &mut self,
        to: NodeId,
        request: R,
        version: i16,
    ) -> Option<R::Response>
    where
        R: Request + 'static,
        R::Response: 'static,
    {
        let ask = Ask { request, version, patience: Patience::Us(PATIENCE_US), is_resent: false };
        self.call_seen(to, ask, (0, Rc::new(|_, _| {}))).await
    }

    /// The same once, as patient as `ask` says; the witness sees the attempt of this number.
    pub(crate) async fn call_seen<R>(
        &mut self,
        to: NodeId,
        ask: Ask<R>,
        (number, witness): (usize, Witness<R::Response>),
    ) -> Option<R::Response>
    where
        R: Request + 'static,
        R::Response: 'static,
    {
        let net = self.net.clone();
        let course = net.random(|random| Course::draw(net.faults.get(), random));
        let Some((client, life)) = self.connection(to) else {
            net.pause(RETRY_US).await;
            return None;
        };
        let (sender, receiver) = oneshot::channel();
        // Of the broker's own life: what it has not answered ends with it.
        let handle = net.handle.of(life);
        let under_way = UnderWay::new(&self.under_way);
        let patience = ask.patience;
        let witness = move |sight: Sight<'_, R::Response>| witness(number, sight);
        let attempt = attempt(client, (net.clone(), to), course, ask, witness);
        handle.spawn(async move {
            let answer = attempt.await;
            drop(under_way);
            if let Some(answer) = answer {
                // A client that has given up is not there any more.
                drop(sender.send(answer));
            }
        });
        let answer = match patience {
            Patience::UntilGone => receiver.await.ok(),
            Patience::Us(us) => match select(receiver, pin!(net.handle.sleep_us(us))).await {
                Either::Left((answer, _)) => answer.ok(),
                Either::Right(_) => None,
            },
        };
        let Some((client, answer)) = answer else {
            net.pause(RETRY_US).await;
            return None;
        };
        self.connections.insert(to, (life, client));
        Some(answer)
    }

    fn connection(&mut self, to: NodeId) -> Option<(SimClient, Group)> {
        let known = self.connections.remove(&to);
        let (door, life) = self.net.doors.door(to)?;
        let reconnects = self.net.faults.get().reconnects;
        let connects_anew = self.net.random(|random| random.chance(reconnects));
        let known = known.filter(|(of, _)| *of == life && !connects_anew);
        let core = self.net.random(|random| random.index(door.cores()));
        Some((known.map_or_else(|| door.connect(core), |(_, client)| client), life))
    }

    /// The leader of a partition and its epoch, as some broker has it.
    pub(crate) async fn leader(&mut self, topic: &str, partition: i32) -> Option<(NodeId, i32)> {
        let key = (topic.to_owned(), partition);
        if let Some(known) = self.leaders.get(&key) {
            return Some(*known);
        }
        let asked = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![asked]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let at = self.net.any_broker();
        let answer = self.call(at, request).await?;
        for known in answer.topics.first()?.partitions.iter().filter(|one| one.leader_id >= 0) {
            let leader = (known.leader_id, known.leader_epoch);
            self.leaders.insert((topic.to_owned(), known.partition_index), leader);
        }
        let found = self.leaders.get(&key).copied();
        if found.is_none() {
            self.net.pause(RETRY_US).await;
        }
        found
    }

    /// Whoever was believed to lead does not, or does not answer.
    pub(crate) fn forget_leader(&mut self, topic: &str, partition: i32) {
        self.leaders.remove(&(topic.to_owned(), partition));
    }
}

/// Gives connection and answer back, unless one of them is lost.
async fn attempt<R: Request>(
    mut client: SimClient,
    (net, to): (Net, NodeId),
    course: Course,
    ask: Ask<R>,
    witness: impl Fn(Sight<'_, R::Response>),
) -> Option<(SimClient, R::Response)> {
    net.handle.sleep_us(course.there_us).await;
    if course.is_request_lost || net.deaf.borrow().contains(&to) {
        return None;
    }
    witness(Sight::Delivered);
    let answer = client.call_version(&ask.request, ask.version).await?;
    witness(Sight::Answered(&answer));
    net.handle.sleep_us(course.back_us).await;
    let is_lost = course.is_answer_lost || net.mute.borrow().contains(&to);
    (!is_lost).then_some((client, answer))
}

//! Other brokers at the door of one: who is welcome, and what becomes of strangers.

use crate::model::ids::{BrokerId, CoreId};
use crate::protocol::messages::api_versions::ApiVersionsRequest;
use crate::protocol::peer::{FrameHead, Hello, PEER_VERSION_MAX, PEER_VERSION_MIN, PeerKind};
use crate::shard::peers::{self, PeerError};
use crate::sim::broker::SimBroker;
use crate::sim::setup::Setup;
use bytes::Bytes;
use uuid::Uuid;

fn broker() -> SimBroker {
    Setup { cores: 2, settings: &[] }.start(1, None).0
}

/// An introduction that the broker has nothing against.
fn hello(broker: &SimBroker) -> Hello {
    let core = broker.core(0);
    let shard = core.borrow();
    Hello {
        version_min: PEER_VERSION_MIN,
        version_max: PEER_VERSION_MAX,
        cluster: shard.image.cluster_id().unwrap(),
        from: BrokerId(77),
        core: CoreId(0),
        broker_epoch: -1,
        directory: Uuid::from_u128(77),
        to: shard.image.local(),
    }
}

fn frame(to: u16) -> Bytes {
    let head = FrameHead { kind: PeerKind::Raft, from: CoreId(0), to: CoreId(to) };
    head.encode(&[Bytes::from_static(b"what").into()]).unwrap().into_bytes()
}

/// Whether the broker still reads from a caller with this introduction.
fn is_welcome(change: impl FnOnce(&mut Hello)) -> bool {
    let broker = broker();
    let mut caller = hello(&broker);
    change(&mut caller);
    let mut client = broker.connect(0);
    client.feed(&caller.encode().into_bytes());
    client.feed(&[])
}

#[test]
fn a_broker_of_the_same_cluster_is_welcome_and_others_are_not() {
    assert!(is_welcome(|_| {}));
    assert!(!is_welcome(|hello| hello.cluster = Uuid::from_u128(9)), "of another cluster");
    assert!(!is_welcome(|hello| hello.to = BrokerId(9)), "wrong address");
    assert!(!is_welcome(|hello| hello.from = hello.to), "our own id");
    assert!(!is_welcome(|hello| hello.from = BrokerId(-2)), "an id that cannot be");
    assert!(!is_welcome(|hello| hello.directory = Uuid::from_u128(1)), "a copied directory");
    assert!(!is_welcome(|hello| hello.version_min = PEER_VERSION_MAX + 1), "too new");
    assert!(!is_welcome(|hello| hello.version_max = PEER_VERSION_MIN - 1), "too old");
}

#[test]
fn frames_reach_the_core_that_they_are_for_and_a_stranger_gets_no_word_in() {
    let mut broker = broker();
    let mut client = broker.connect(0);
    assert!(client.feed(&hello(&broker).encode().into_bytes()));
    for core in [0, 1, 1, 9] {
        assert!(client.feed(&frame(core)), "a core that is not there is no reason to hang up");
    }
    let handle = broker.door().handle();
    broker.executor.run_until(async move { handle.sleep_us(10_000).await });
    let arrived = |core: usize| broker.core(core).borrow().stats.peer_frames;
    assert_eq!((arrived(0), arrived(1)), (1, 2));
    assert!(!broker.connect(0).feed(&frame(0)));
}

#[test]
fn a_call_to_a_broker_that_cannot_be_reached_says_so() {
    let voters = ("controller.quorum.voters", "1@broker-1:9092,3@broker-3:9092");
    let mut broker = Setup { cores: 2, settings: &[voters] }.start(1, None).0;
    let core = broker.core(0);
    let (other, voter) = (BrokerId(2), BrokerId(3));
    let errors = broker.executor.run_until(async move {
        let request = ApiVersionsRequest::default();
        let nowhere = peers::call(&core, other, &request, 1000).await;
        let lost = peers::call(&core, voter, &request, 1000).await;
        (nowhere.unwrap_err(), lost.unwrap_err())
    });
    assert_eq!(errors, (PeerError::NoAddress(other), PeerError::Lost(voter)));
}

//! What a handler knows of the request it answers.

use crate::controller::decide::Refusal;
use crate::model::errors::KafkaCode;
use crate::model::ids::{CoreId, TopicPartition};
use crate::shard::connection::ConnectionId;
use crate::shard::shard::ShardRef;
use crate::storage::disk::Disk;
use std::net::SocketAddr;

/// One request's surroundings. Handlers take what they need from the shard in short borrows.
pub struct RequestContext<D: Disk> {
    pub shard: ShardRef<D>,
    pub connection: ConnectionId,
    /// Our end of the connection: what is advertised unless the configuration says otherwise.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Asked at a listener of the controller.
    pub is_controllers: bool,
    /// As the client calls itself; empty when it does not.
    pub client_id: String,
    pub version: i16,
}

impl<D: Disk> RequestContext<D> {
    /// Core that owns a partition, in the image of this moment.
    pub fn owner_of(&self, partition: &TopicPartition) -> Option<CoreId> {
        self.shard.borrow().image.owner_of(partition)
    }

    /// Whether another broker asks for itself.
    pub fn is_peer(&self) -> bool {
        let mut shard = self.shard.borrow_mut();
        shard.connection(self.connection).is_some_and(|connection| connection.broker.is_some())
    }

    /// The code of a refusal for `broker`. That its registration is not the current one is logged
    /// once: another process runs with its id, or ran.
    pub fn refusal(&self, broker: i32, refusal: &Refusal) -> KafkaCode {
        if refusal.code == KafkaCode::StaleBrokerEpoch {
            let message = format!("broker {broker} is refused: {}", refusal.message);
            self.shard.borrow_mut().complain_of(broker, refusal.code, &message);
        }
        refusal.code
    }

    /// Refuses requests between brokers of whom has not introduced itself as `broker`.
    pub fn check_peer(&self, broker: i32) -> Result<(), KafkaCode> {
        let mut shard = self.shard.borrow_mut();
        let peer = shard.connection(self.connection).and_then(|connection| connection.broker);
        match peer.is_some_and(|peer| peer.broker.0 == broker) {
            true => Ok(()),
            false => Err(KafkaCode::ClusterAuthorizationFailed),
        }
    }
}

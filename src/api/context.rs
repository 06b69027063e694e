//! What a handler knows of the request it answers.

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
    /// As the client calls itself; empty when it does not.
    pub client_id: String,
    pub version: i16,
}

impl<D: Disk> RequestContext<D> {
    /// Core that owns a partition, in the image of this moment.
    pub fn owner_of(&self, partition: &TopicPartition) -> Option<CoreId> {
        self.shard.borrow().image.owner_of(partition)
    }
}

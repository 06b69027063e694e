//! What leaves a shard: the driver drains it after each event and whenever it is signalled.

use crate::model::ids::CoreId;
use crate::shard::connection::ConnectionId;
use crate::shard::mesh::{AppendOutcome, PartToken, ShardMessage};
use crate::shard::peers::LinkCommand;
use crate::shard::signal::Signal;
use futures::future::LocalBoxFuture;

/// Everything that waits for the driver. The signal is raised when something is added.
#[derive(Default)]
pub struct Outbox {
    /// Connections with output: try to write at once, hand the rest to their writer.
    pub ready: Vec<ConnectionId>,
    /// Connections to close once their output has left.
    pub close: Vec<ConnectionId>,
    /// Messages to other cores, in order per core.
    pub mesh: Vec<(CoreId, ShardMessage)>,
    /// What connections to other brokers should do, in order.
    pub links: Vec<LinkCommand>,
    /// Work to run as tasks of this core.
    pub tasks: Vec<LocalBoxFuture<'static, ()>>,
    signal: Signal,
}

impl Outbox {
    /// Tells the driver that there is something to drain.
    pub fn raise(&self) {
        self.signal.raise();
    }

    /// What the driver's drain task waits on.
    pub fn signal(&self) -> Signal {
        self.signal.clone()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.close.is_empty()
            && self.mesh.is_empty()
            && self.links.is_empty()
            && self.tasks.is_empty()
    }

    /// Adds a task for the driver to run.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) {
        self.tasks.push(Box::pin(task));
        self.raise();
    }

    /// Sends an append's outcome to the core that asked, folded into one message per drain.
    pub fn appended(&mut self, to: CoreId, token: PartToken, outcome: AppendOutcome) {
        let last = self.mesh.iter_mut().rev().find(|(other, _)| *other == to);
        if let Some((_, ShardMessage::Appended { outcomes })) = last {
            outcomes.push((token, outcome));
        } else {
            let message = ShardMessage::Appended { outcomes: vec![(token, outcome)] };
            self.mesh.push((to, message));
        }
        self.raise();
    }
}

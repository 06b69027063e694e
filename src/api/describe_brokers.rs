//! DescribeBrokers: every registered broker and what it is taken for. Ours: Kafka's DescribeCluster
//! does not tell brokers that stop, nor data directories.

use crate::api::answers::image;
use crate::api::context::RequestContext;
use crate::controller::image::{BrokerImage, MetadataImage};
use crate::controller::records::Availability;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_brokers::{
    DescribeBrokersRequest, DescribeBrokersResponse, DescribedBroker,
};
use crate::storage::disk::Disk;
use std::collections::BTreeMap;

/// Partitions that a broker holds, and those of them that it leads.
type Shares = BTreeMap<i32, (i32, i32)>;

/// Answers DescribeBrokers.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DescribeBrokersRequest,
) -> DescribeBrokersResponse {
    let image = image(&context);
    let (listener, cluster) = {
        let shard = context.shard.borrow();
        // Brokers are shown by what their clients use, also to whoever asks a controller.
        let name = match context.is_controllers {
            true => String::new(),
            false => shard.config.listener_name(context.local).to_owned(),
        };
        (name, shard.cluster_id)
    };
    let mut response = DescribeBrokersResponse {
        error_code: KafkaCode::None.number(),
        cluster_id: image.cluster_id().unwrap_or(cluster),
        ..DescribeBrokersResponse::default()
    };
    let shares = count(&image, &mut response);
    let is_wanted =
        |broker: &&DescribedBroker| request.broker_id < 0 || broker.broker_id == request.broker_id;
    let described = image.brokers().map(|broker| described(broker, &listener, &shares));
    response.brokers = described.filter(|broker| is_wanted(&broker)).collect();
    response
}

fn count(image: &MetadataImage, response: &mut DescribeBrokersResponse) -> Shares {
    let mut shares = Shares::new();
    for (_, partition) in image.topics().flat_map(|topic| topic.partitions()) {
        let state = &partition.state;
        response.partitions += 1;
        response.under_replicated += i32::from(state.isr.len() < state.replicas.len());
        response.leaderless += i32::from(state.leader.is_none());
        for replica in &state.replicas {
            shares.entry(replica.broker.0).or_default().0 += 1;
        }
        if let Some(leader) = state.leader {
            shares.entry(leader.0).or_default().1 += 1;
        }
    }
    shares
}

fn described(broker: &BrokerImage, listener: &str, shares: &Shares) -> DescribedBroker {
    let registration = &broker.registration;
    let endpoint = broker.endpoint(listener).or_else(|| {
        let first = registration.endpoints.first();
        first.map(|first| &first.endpoint)
    });
    let (replicas, leaders) = shares.get(&broker.id().0).copied().unwrap_or_default();
    DescribedBroker {
        broker_id: broker.id().0,
        broker_epoch: broker.epoch().0,
        directory_id: registration.directory,
        state: match broker.availability {
            Availability::Fenced => 0,
            Availability::Active => 1,
            Availability::ControlledShutdown => 2,
        },
        is_controller: registration.roles.controller,
        cores: i16::try_from(registration.cores).unwrap_or(i16::MAX),
        host: endpoint.map_or_else(String::new, |endpoint| endpoint.host.clone()),
        port: endpoint.map_or(0, |endpoint| endpoint.port),
        rack: registration.rack.clone(),
        replicas,
        leaders,
    }
}

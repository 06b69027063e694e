//! BrokerRegistration: a process joins the cluster (KIP-631). Between brokers only.
//!
//! What Kafka's request has no field for travels among the features: how many cores a broker has,
//! and which versions of the protocol between brokers it speaks. A controller by itself registers
//! by the same request, and says so there.

use crate::api::context::RequestContext;
use crate::controller::decide::{Change, ChangeReply, NewBroker};
use crate::controller::records::{BrokerEndpoint, FeatureRange};
use crate::model::base64url::encode_uuid;
use crate::model::cluster_config::Roles;
use crate::model::errors::KafkaCode;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::listeners::Endpoint;
use crate::protocol::messages::broker_registration::{
    BrokerRegistrationRequest, BrokerRegistrationResponse,
};
use crate::shard::membership::{BROKER_FEATURE, CONTROLLER_FEATURE, CORES_FEATURE};
use crate::shard::metadata;
use crate::storage::disk::Disk;

/// Answers BrokerRegistration.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: BrokerRegistrationRequest,
) -> BrokerRegistrationResponse {
    let registered = register(&context, request).await;
    let error_code = registered.map_or_else(KafkaCode::number, |_| KafkaCode::None.number());
    BrokerRegistrationResponse {
        error_code,
        broker_epoch: registered.map_or(-1, |epoch| epoch.0),
        ..BrokerRegistrationResponse::default()
    }
}

async fn register<D: Disk>(
    context: &RequestContext<D>,
    request: BrokerRegistrationRequest,
) -> Result<BrokerEpoch, KafkaCode> {
    let id = request.broker_id;
    context.check_peer(id)?;
    let cluster = context.shard.borrow().image.cluster_id();
    if cluster.is_some_and(|cluster| encode_uuid(cluster) != request.cluster_id) {
        return Err(KafkaCode::InconsistentClusterId);
    }
    let broker = Box::new(new_broker(request)?);
    let change = Change::RegisterBroker { broker, has_session: false };
    match metadata::change(&context.shard, change).await {
        ChangeReply::Registered(result) => result.map_err(|refusal| {
            context.shard.borrow_mut().on_registration_refused(BrokerId(id), &refusal);
            refusal.code
        }),
        other => unreachable!("a registration is answered by an epoch, not by {other:?}"),
    }
}

fn new_broker(request: BrokerRegistrationRequest) -> Result<NewBroker, KafkaCode> {
    let invalid = KafkaCode::InvalidRegistration;
    let [directory] = request.log_dirs[..] else { return Err(invalid) };
    let endpoints = request.listeners.into_iter().map(|listener| BrokerEndpoint {
        listener: listener.name,
        endpoint: Endpoint { host: listener.host, port: listener.port },
    });
    let features: Vec<FeatureRange> = request
        .features
        .into_iter()
        .map(|feature| FeatureRange {
            name: feature.name,
            min: feature.min_supported_version,
            max: feature.max_supported_version,
        })
        .collect();
    let level = |name: &str| features.iter().find(|range| range.name == name).map(|one| one.max);
    let cores = level(CORES_FEATURE).and_then(|cores| u16::try_from(cores).ok()).ok_or(invalid)?;
    let controller = level(CONTROLLER_FEATURE).is_some_and(|level| level > 0);
    let roles = Roles { broker: level(BROKER_FEATURE).is_none_or(|level| level > 0), controller };
    if !roles.broker && !roles.controller {
        return Err(invalid);
    }
    Ok(NewBroker {
        id: BrokerId(request.broker_id),
        incarnation: request.incarnation_id,
        directory,
        endpoints: endpoints.collect(),
        rack: request.rack,
        cores,
        roles,
        features,
        previous_epoch: Some(request.previous_broker_epoch)
            .filter(|epoch| *epoch >= 0)
            .map(BrokerEpoch),
    })
}

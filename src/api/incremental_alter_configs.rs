//! IncrementalAlterConfigs: single keys are set, deleted, appended to or subtracted from (KIP-339).

use crate::api::answers::{alter, mode, outcome, warn_without_effect};
use crate::api::brokers::{self, BrokerNames};
use crate::api::context::RequestContext;
use crate::controller::decide::{
    AlterResource, Change, ConfigChange, ConfigOp, Refusal, ResourceName,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use crate::storage::disk::Disk;

/// Answers IncrementalAlterConfigs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mode = mode(request.validate_only);
    let brokers = brokers::names(&context);
    let resources = request
        .resources
        .into_iter()
        .map(|resource| {
            let (kind, name) = (resource.resource_type, resource.resource_name.clone());
            (kind, name, wanted(resource, brokers))
        })
        .collect();
    let change = |resources| Change::IncrementalAlterConfigs { resources, mode };
    let answers = alter(&context, resources, change).await.into_iter();
    let responses = answers.map(|(resource_type, resource_name, result)| {
        let (error_code, error_message) = outcome(&result);
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    let responses = responses.collect();
    IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
}

fn wanted(
    resource: AlterConfigsResource,
    brokers: BrokerNames,
) -> Result<AlterResource<ConfigChange>, Refusal> {
    let name = ResourceName::from_wire(resource.resource_type, &resource.resource_name)?;
    let name = brokers.resource(name);
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in resource.configs {
        let op = ConfigOp::from_wire(config.config_operation)?;
        changes.push(ConfigChange { key: config.name, op, value: config.value });
    }
    let set = changes.iter().filter(|change| change.op == ConfigOp::Set);
    let set = set.filter_map(|change| Some((&*change.key, change.value.as_deref()?)));
    warn_without_effect(&name, set);
    Ok(AlterResource { name, changes })
}

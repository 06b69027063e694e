//! AlterConfigs, the old form: what a request does not name loses its override. Old clients and
//! tools only; IncrementalAlterConfigs took its place (KIP-339).

use crate::api::answers::{alter, mode, outcome, warn_without_effect};
use crate::api::brokers;
use crate::api::context::RequestContext;
use crate::controller::decide::{AlterResource, Change, ResourceName};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::storage::disk::Disk;

/// Answers AlterConfigs.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mode = mode(request.validate_only);
    let brokers = brokers::names(&context);
    let resources = request
        .resources
        .into_iter()
        .map(|resource| {
            let name = ResourceName::from_wire(resource.resource_type, &resource.resource_name)
                .map(|name| brokers.resource(name));
            let changes: Vec<(String, Option<String>)> =
                resource.configs.into_iter().map(|config| (config.name, config.value)).collect();
            if let Ok(name) = &name {
                let set = changes.iter().filter_map(|(k, v)| Some((&**k, v.as_deref()?)));
                warn_without_effect(name, set);
            }
            let resource_name = resource.resource_name;
            let wanted = name.map(|name| AlterResource { name, changes });
            (resource.resource_type, resource_name, wanted)
        })
        .collect();
    let change = |resources| Change::AlterConfigs { resources, mode };
    let answers = alter(&context, resources, change).await.into_iter();
    let responses = answers.map(|(resource_type, resource_name, result)| {
        let (error_code, error_message) = outcome(&result);
        AlterConfigsResourceResponse { error_code, error_message, resource_type, resource_name }
    });
    AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() }
}

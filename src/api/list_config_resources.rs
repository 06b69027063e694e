//! ListConfigResources: what has a configuration (KIP-1142).

use crate::api::answers::image;
use crate::api::context::RequestContext;
use crate::controller::decide::ResourceName;
use crate::controller::image::MetadataImage;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::list_config_resources::{
    ListConfigResourcesRequest, ListConfigResourcesResponse, ListedResource,
};
use crate::storage::disk::Disk;

/// Topics, brokers, loggers of brokers, client metrics, groups. There are no loggers to set here
/// and no client metrics (KIP-714): nothing is listed for these two.
const TYPES: [i8; 5] = [2, 4, 8, CLIENT_METRICS, 32];
const CLIENT_METRICS: i8 = 16;
/// Before it, only client metrics could be asked for.
const FIRST_WITH_TYPES: i16 = 1;

/// Answers ListConfigResources.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    let types: &[i8] = match request.resource_types.as_slice() {
        _ if context.version < FIRST_WITH_TYPES => &[CLIENT_METRICS],
        [] => &TYPES,
        some => some,
    };
    if types.iter().any(|kind| !TYPES.contains(kind)) {
        let error_code = KafkaCode::UnsupportedVersion.number();
        return ListConfigResourcesResponse { error_code, ..Default::default() };
    }
    let config_resources = resources(&image(&context))
        .map(|resource| resource.to_wire())
        .filter(|(kind, _)| types.contains(kind))
        .map(|(resource_type, resource_name)| ListedResource { resource_name, resource_type })
        .collect();
    ListConfigResourcesResponse { config_resources, ..Default::default() }
}

fn resources(image: &MetadataImage) -> impl Iterator<Item = ResourceName> {
    let groups = image.group_configs().map(|(name, _)| ResourceName::Group(name.to_owned()));
    let topics = image.topics().map(|topic| ResourceName::Topic(topic.name.to_string()));
    groups.chain([ResourceName::Broker(image.local())]).chain(topics)
}

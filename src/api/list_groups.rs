//! ListGroups: all groups of this broker, from every coordinator partition, optionally by state
//! (KIP-518) and type (KIP-848).

use crate::api::brokers::tells_of;
use crate::api::context::RequestContext;
use crate::coordinator::group::{GroupAnswer, GroupCoordinator, GroupFilter, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::shard::coordinator_host::coordinators;
use crate::shard::group_host::ask_coordinator;
use crate::storage::disk::Disk;

/// Answers ListGroups. A coordinator that is still being loaded makes the whole list incomplete,
/// which is said with its code.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: ListGroupsRequest,
) -> ListGroupsResponse {
    let filter = GroupFilter { states: request.states_filter, types: request.types_filter };
    let owners = coordinators::<GroupCoordinator>(&context.shard.borrow().image);
    let mut groups = Vec::new();
    for owner in owners.into_iter().filter(|(_, core)| tells_of(&context, *core)) {
        let request = GroupRequest::List(filter.clone());
        match ask_coordinator(&context.shard, owner, request).await {
            GroupAnswer::List(listed) => groups.extend(listed.into_iter().map(|own| ListedGroup {
                group_id: own.group,
                protocol_type: own.protocol_type,
                group_state: own.state.to_owned(),
                group_type: own.kind.to_owned(),
            })),
            other => {
                let error_code = other.refusal().number();
                return ListGroupsResponse { error_code, ..Default::default() };
            }
        }
    }
    ListGroupsResponse { throttle_time_ms: 0, error_code: KafkaCode::None.number(), groups }
}

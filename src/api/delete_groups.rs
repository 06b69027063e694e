//! DeleteGroups: empty groups go, with their offsets.

use crate::api::context::RequestContext;
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use crate::shard::group_host::ask_group;
use crate::storage::disk::Disk;

/// Answers DeleteGroups.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let delete = GroupRequest::Delete(vec![group_id.clone()]);
        let code = match ask_group(&context.shard, &group_id, delete).await {
            GroupAnswer::Delete(deleted) => deleted.first().expect("one group was asked for").1,
            other => other.refusal(),
        };
        results.push(DeletableGroupResult { group_id, error_code: code.number() });
    }
    DeleteGroupsResponse { throttle_time_ms: 0, results }
}

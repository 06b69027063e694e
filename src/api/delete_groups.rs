//! DeleteGroups: empty groups go, with their offsets or, of share groups, what the share
//! coordinator keeps of them.

use crate::api::context::RequestContext;
use crate::coordinator::group::share::calls::{BeginForget, ShareGroupAnswer, ShareGroupRequest};
use crate::coordinator::group::{GroupAnswer, GroupRequest};
use crate::model::errors::KafkaCode;
use crate::protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use crate::shard::group_host::ask_group;
use crate::shard::share_groups::{self, ask_share_group};
use crate::storage::disk::Disk;

/// Answers DeleteGroups.
pub async fn handle<D: Disk>(
    context: RequestContext<D>,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let code = match forget_shared(&context, &group_id).await {
            Ok(()) => delete(&context, &group_id).await,
            Err(code) => code,
        };
        results.push(DeletableGroupResult { group_id, error_code: code.number() });
    }
    DeleteGroupsResponse { throttle_time_ms: 0, results }
}

async fn delete<D: Disk>(context: &RequestContext<D>, group: &str) -> KafkaCode {
    let delete = GroupRequest::Delete(vec![group.to_owned()]);
    match ask_group(&context.shard, group, delete).await {
        GroupAnswer::Delete(deleted) => deleted.first().expect("one group was asked for").1,
        other => other.refusal(),
    }
}

/// First the share coordinator forgets the partitions of a share group, so that nothing is left
/// that no group names. A group of another kind has none.
async fn forget_shared<D: Disk>(context: &RequestContext<D>, group: &str) -> Result<(), KafkaCode> {
    let begin = BeginForget { group: group.to_owned(), topics: None };
    let begin = ShareGroupRequest::BeginForget(begin);
    let forgetting = match ask_share_group(&context.shard, group, begin).await? {
        ShareGroupAnswer::BeginForget(Ok(forgetting)) => forgetting,
        ShareGroupAnswer::BeginForget(Err(refusal)) => {
            return match refusal.code {
                KafkaCode::GroupIdNotFound => Ok(()),
                code => Err(code),
            };
        }
        other => unreachable!("a forgetting is not answered by {other:?}"),
    };
    for topic in forgetting.topics {
        let partitions = (topic.id, &topic.partitions[..]);
        share_groups::forget(&context.shard, group, partitions).await?;
    }
    Ok(())
}

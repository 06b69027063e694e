//! DeleteAcls: ACLs are deleted by filters (KIP-140).
//!
//! Without an authorizer there are none, and Kafka says so.

use crate::api::answers::NO_AUTHORIZER_TO_CHANGE;
use crate::api::context::RequestContext;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};
use crate::storage::disk::Disk;

/// Answers DeleteAcls.
pub async fn handle<D: Disk>(
    _: RequestContext<D>,
    request: DeleteAclsRequest,
) -> DeleteAclsResponse {
    let refused = DeleteAclsFilterResult {
        error_code: KafkaCode::SecurityDisabled.number(),
        error_message: Some(NO_AUTHORIZER_TO_CHANGE.to_owned()),
        ..DeleteAclsFilterResult::default()
    };
    let filter_results = vec![refused; request.filters.len()];
    DeleteAclsResponse { filter_results, ..DeleteAclsResponse::default() }
}

//! CreateAcls: new ACLs (KIP-140).
//!
//! Without an authorizer there are none, and Kafka says so.

use crate::api::answers::NO_AUTHORIZER_TO_CHANGE;
use crate::api::context::RequestContext;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::create_acls::{
    AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};
use crate::storage::disk::Disk;

/// Answers CreateAcls.
pub async fn handle<D: Disk>(
    _: RequestContext<D>,
    request: CreateAclsRequest,
) -> CreateAclsResponse {
    let refused = AclCreationResult {
        error_code: KafkaCode::SecurityDisabled.number(),
        error_message: Some(NO_AUTHORIZER_TO_CHANGE.to_owned()),
    };
    let results = vec![refused; request.creations.len()];
    CreateAclsResponse { results, ..CreateAclsResponse::default() }
}

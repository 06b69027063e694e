//! DescribeAcls: the ACLs that match a filter (KIP-140).
//!
//! Without an authorizer there are none, and Kafka says so.

use crate::api::answers::NO_AUTHORIZER;
use crate::api::context::RequestContext;
use crate::model::errors::KafkaCode;
use crate::protocol::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use crate::storage::disk::Disk;

/// Answers DescribeAcls.
pub async fn handle<D: Disk>(_: RequestContext<D>, _: DescribeAclsRequest) -> DescribeAclsResponse {
    DescribeAclsResponse {
        error_code: KafkaCode::SecurityDisabled.number(),
        error_message: Some(NO_AUTHORIZER.to_owned()),
        ..DescribeAclsResponse::default()
    }
}

//! CreateAcls, key 30: new ACLs (KIP-140).
//!
//! Versions 1 to 3:
//! - v1 pattern types (KIP-290).
//! - v2 flexible.
//! - v3 resource type USER_PRINCIPAL (KIP-373).
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api CreateAcls: CreateAclsRequest => CreateAclsResponse, versions 1..=3;

    /// The request.
    struct CreateAclsRequest {
        creations: Vec<AclCreation>, "0+";
    }

    /// One of `creations` of [`CreateAclsRequest`].
    struct AclCreation {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        resource_pattern_type: i8 = 3, "1+";
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// The response.
    struct CreateAclsResponse {
        throttle_time_ms: i32, "0+";
        results: Vec<AclCreationResult>, "0+";
    }

    /// One of `results` of [`CreateAclsResponse`].
    struct AclCreationResult {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
    }
}

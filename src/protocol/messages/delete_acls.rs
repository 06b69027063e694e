//! DeleteAcls, key 31: ACLs are deleted by filters (KIP-140).
//!
//! Versions 1 to 3:
//! - v1 pattern types (KIP-290).
//! - v2 flexible.
//! - v3 resource type USER_PRINCIPAL (KIP-373).
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api DeleteAcls: DeleteAclsRequest => DeleteAclsResponse, versions 1..=3;

    /// The request.
    struct DeleteAclsRequest {
        filters: Vec<DeleteAclsFilter>, "0+";
    }

    /// One of `filters` of [`DeleteAclsRequest`].
    struct DeleteAclsFilter {
        resource_type_filter: i8, "0+";
        resource_name_filter: Option<String>, "0+", null("0+");
        pattern_type_filter: i8 = 3, "1+";
        principal_filter: Option<String>, "0+", null("0+");
        host_filter: Option<String>, "0+", null("0+");
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// The response.
    struct DeleteAclsResponse {
        throttle_time_ms: i32, "0+";
        filter_results: Vec<DeleteAclsFilterResult>, "0+";
    }

    /// One of `filter_results` of [`DeleteAclsResponse`].
    struct DeleteAclsFilterResult {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        matching_acls: Vec<DeleteAclsMatchingAcl>, "0+";
    }

    /// One of `matching_acls` of [`DeleteAclsFilterResult`].
    struct DeleteAclsMatchingAcl {
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        resource_type: i8, "0+";
        resource_name: String, "0+";
        pattern_type: i8 = 3, "1+";
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }
}

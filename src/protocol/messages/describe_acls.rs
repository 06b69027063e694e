//! DescribeAcls, key 29: the ACLs that match a filter (KIP-140).
//!
//! Versions 1 to 3:
//! - v1 pattern types (KIP-290).
//! - v2 flexible.
//! - v3 resource type USER_PRINCIPAL (KIP-373).
//!
//! Left out: v0 (KIP-896).

use crate::protocol::schema::schema;

schema! {
    api DescribeAcls: DescribeAclsRequest => DescribeAclsResponse, versions 1..=3;

    /// The request.
    struct DescribeAclsRequest {
        resource_type_filter: i8, "0+";
        resource_name_filter: Option<String>, "0+", null("0+");
        pattern_type_filter: i8 = 3, "1+";
        principal_filter: Option<String>, "0+", null("0+");
        host_filter: Option<String>, "0+", null("0+");
        operation: i8, "0+";
        permission_type: i8, "0+";
    }

    /// The response.
    struct DescribeAclsResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+");
        resources: Vec<DescribeAclsResource>, "0+";
    }

    /// One of `resources` of [`DescribeAclsResponse`].
    struct DescribeAclsResource {
        resource_type: i8, "0+";
        resource_name: String, "0+";
        pattern_type: i8 = 3, "1+";
        acls: Vec<AclDescription>, "0+";
    }

    /// One of `acls` of [`DescribeAclsResource`].
    struct AclDescription {
        principal: String, "0+";
        host: String, "0+";
        operation: i8, "0+";
        permission_type: i8, "0+";
    }
}

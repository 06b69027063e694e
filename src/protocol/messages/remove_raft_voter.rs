//! RemoveRaftVoter, key 81: a voter of the metadata quorum loses its vote (KIP-853).

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api RemoveRaftVoter: RemoveRaftVoterRequest => RemoveRaftVoterResponse, versions 0..=0;

    /// The request.
    struct RemoveRaftVoterRequest {
        cluster_id: Option<String>, "0+", null("0+");
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "0+";
    }

    /// The response.
    struct RemoveRaftVoterResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+"), ignorable();
    }
}

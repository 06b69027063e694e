//! AddRaftVoter, key 80: an observer of the metadata quorum gets a vote (KIP-853).

use crate::protocol::schema::schema;
use uuid::Uuid;

schema! {
    api AddRaftVoter: AddRaftVoterRequest => AddRaftVoterResponse, versions 0..=0;

    /// The request.
    struct AddRaftVoterRequest {
        cluster_id: Option<String>, "0+", null("0+");
        timeout_ms: i32, "0+";
        voter_id: i32, "0+";
        voter_directory_id: Uuid, "0+";
        listeners: Vec<VoterListener>, "0+";
    }

    /// One of `listeners` of [`AddRaftVoterRequest`].
    struct VoterListener {
        name: String, "0+";
        host: String, "0+";
        port: u16, "0+";
    }

    /// The response.
    struct AddRaftVoterResponse {
        throttle_time_ms: i32, "0+";
        error_code: i16, "0+";
        error_message: Option<String>, "0+", null("0+"), ignorable();
    }
}

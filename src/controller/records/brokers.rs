//! What the metadata says of one broker process: where it is reached, and what it is made of.

use super::{
    RecordError, put_count, put_text, read_count, read_i16, read_i64, read_not_negative, read_text,
    read_u8, read_u16, read_uuid,
};
use crate::model::cluster_config::Roles;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::listeners::Endpoint;
use bytes::BufMut;
use uuid::Uuid;

/// One start of one broker, as it told the controller (BrokerRegistration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: BrokerId,
    /// Larger than that of any registration before.
    pub epoch: BrokerEpoch,
    /// Of this process: another one is another start.
    pub incarnation: Uuid,
    /// Identity of its data directory; another one is an empty disk.
    pub directory: Uuid,
    /// Never empty.
    pub endpoints: Vec<BrokerEndpoint>,
    pub rack: Option<String>,
    /// Shards it runs, at least 1; core numbers of its replicas are below.
    pub cores: u16,
    pub roles: Roles,
    /// What it can do, by name.
    /// Names are unique.
    pub features: Vec<FeatureRange>,
    /// The process before it ended in order: nothing that it had written was lost.
    pub was_clean: bool,
}

/// One listener of a broker, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// Name of the listener, upper case.
    pub listener: String,
    pub endpoint: Endpoint,
}

/// Levels of one feature that a broker supports, both inclusive (KIP-584).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureRange {
    pub name: String,
    pub min: i16,
    pub max: i16,
}

/// What a registered broker may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Taken for dead: leads nothing, is in no in-sync set but as the last member.
    Fenced,
    Active,
    /// Stopping in order: what it leads moves away, and nothing comes to it (KIP-841).
    ControlledShutdown,
}

const BROKER_ROLE: u8 = 1;
const CONTROLLER_ROLE: u8 = 2;
const WAS_CLEAN: u8 = 1;
/// An empty name, an empty host, a port.
const ENDPOINT_BYTES_MIN: usize = 4 + 4 + 2;
/// An empty name and two levels.
const FEATURE_BYTES_MIN: usize = 4 + 2 + 2;

impl Availability {
    pub(super) fn number(self) -> u8 {
        match self {
            Availability::Fenced => 0,
            Availability::Active => 1,
            Availability::ControlledShutdown => 2,
        }
    }

    pub(super) fn decode(body: &mut &[u8]) -> Result<Availability, RecordError> {
        match read_u8(body)? {
            0 => Ok(Availability::Fenced),
            1 => Ok(Availability::Active),
            2 => Ok(Availability::ControlledShutdown),
            other => Err(RecordError::BadValue { field: "state of a broker", value: other.into() }),
        }
    }
}

impl BrokerRegistration {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.cores > 0, "a broker has at least one core");
        assert!(self.id.0 >= 0, "a broker's id is not negative");
        out.put_i32(self.id.0);
        out.put_i64(self.epoch.0);
        out.put_slice(self.incarnation.as_bytes());
        out.put_slice(self.directory.as_bytes());
        put_count(out, self.endpoints.len());
        for known in &self.endpoints {
            put_text(out, &known.listener);
            put_text(out, &known.endpoint.host);
            out.put_u16(known.endpoint.port);
        }
        out.put_u8(u8::from(self.rack.is_some()));
        put_text(out, self.rack.as_deref().unwrap_or_default());
        out.put_u16(self.cores);
        let broker = if self.roles.broker { BROKER_ROLE } else { 0 };
        let controller = if self.roles.controller { CONTROLLER_ROLE } else { 0 };
        out.put_u8(broker | controller);
        put_count(out, self.features.len());
        for feature in &self.features {
            put_text(out, &feature.name);
            out.put_i16(feature.min);
            out.put_i16(feature.max);
        }
        out.put_u8(if self.was_clean { WAS_CLEAN } else { 0 });
    }

    pub(super) fn decode(body: &mut &[u8]) -> Result<BrokerRegistration, RecordError> {
        Ok(BrokerRegistration {
            id: BrokerId(read_not_negative(body, "broker")?),
            epoch: BrokerEpoch(read_i64(body)?),
            incarnation: read_uuid(body)?,
            directory: read_uuid(body)?,
            endpoints: {
                let count = read_count(body, ENDPOINT_BYTES_MIN)?;
                (0..count).map(|_| read_endpoint(body)).collect::<Result<_, _>>()?
            },
            rack: {
                let is_set = read_u8(body)? != 0;
                Some(read_text(body)?).filter(|_| is_set)
            },
            cores: match read_u16(body)? {
                0 => {
                    return Err(RecordError::BadValue { field: "cores of a broker", value: 0 });
                }
                cores => cores,
            },
            roles: {
                let bits = read_u8(body)?;
                let (broker, controller) = (bits & BROKER_ROLE != 0, bits & CONTROLLER_ROLE != 0);
                Roles { broker, controller }
            },
            features: {
                let count = read_count(body, FEATURE_BYTES_MIN)?;
                (0..count).map(|_| read_feature(body)).collect::<Result<_, _>>()?
            },
            was_clean: read_u8(body)? & WAS_CLEAN != 0,
        })
    }
}

fn read_endpoint(body: &mut &[u8]) -> Result<BrokerEndpoint, RecordError> {
    let listener = read_text(body)?;
    let endpoint = Endpoint { host: read_text(body)?, port: read_u16(body)? };
    Ok(BrokerEndpoint { listener, endpoint })
}

fn read_feature(body: &mut &[u8]) -> Result<FeatureRange, RecordError> {
    Ok(FeatureRange { name: read_text(body)?, min: read_i16(body)?, max: read_i16(body)? })
}

//! The cold conversation before a run: versions, topic, leaders, offsets.
//!
//! Blocking and with the codec's structs: it happens once, and clarity of errors matters more
//! than speed.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use highwater::protocol::frame::{ResponseHeader, encode_request};
use highwater::protocol::messages::api_versions::{ApiVersion, ApiVersionsRequest};
use highwater::protocol::primitive::Reader;
use highwater::protocol::schema::{Message, Request};

use crate::failure::Failure;

/// How loadgen names itself to brokers.
pub(crate) const CLIENT_ID: &str = "loadgen";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Above what any request here may ask a broker to take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(65);
const CORRELATION_ID: i32 = 1;

/// A blocking connection to one broker.
#[derive(Debug)]
pub(crate) struct Control {
    address: String,
    socket: TcpStream,
    versions: Vec<ApiVersion>,
    answer_timeout: Duration,
}

impl Control {
    /// Connects to the first of `addresses` (host:port, comma-separated) that answers, and asks
    /// which versions it speaks.
    pub(crate) fn connect(addresses: &str) -> Result<Control, Failure> {
        Control::connect_within(addresses, ANSWER_TIMEOUT)
    }

    /// As [`Control::connect`], for brokers that may have stopped answering.
    pub(crate) fn connect_within(
        addresses: &str,
        answer_timeout: Duration,
    ) -> Result<Control, Failure> {
        let mut outcomes =
            addresses.split(',').map(|one| Control::connect_one(one, answer_timeout));
        let first = outcomes.next().expect("a split has a first part");
        first.or_else(|failure| outcomes.find_map(Result::ok).ok_or(failure))
    }

    fn connect_one(address: &str, answer_timeout: Duration) -> Result<Control, Failure> {
        let socket = connect(address)?;
        socket
            .set_read_timeout(Some(answer_timeout))
            .map_err(|source| Failure::System { call: "setsockopt", source })?;
        let (address, versions) = (address.to_owned(), Vec::new());
        let mut control = Control { address, socket, versions, answer_timeout };
        // Version 0 is understood by every broker, of whatever age.
        let answer = control.call_version(&ApiVersionsRequest::default(), 0)?;
        control.versions = answer.api_keys;
        Ok(control)
    }

    /// The connection itself.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Connects to another broker, which may take as long as this one.
    pub(crate) fn connect_to(&self, address: &str) -> Result<Control, Failure> {
        Control::connect_within(address, self.answer_timeout)
    }

    /// host:port as given.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The newest version of `M` that both sides speak, at most `version_max`.
    pub(crate) fn version_of<M: Message>(&self, version_max: i16) -> Result<i16, Failure> {
        let (own_min, own_max) = (*M::VERSIONS.start(), (*M::VERSIONS.end()).min(version_max));
        let api = M::KEY.name();
        let Some(offered) = self.versions.iter().find(|offer| offer.api_key == M::KEY.number())
        else {
            return Err(Failure::ApiMissing { address: self.address.clone(), api });
        };
        let version = offered.max_version.min(own_max);
        if version < offered.min_version || version < own_min {
            return Err(Failure::NoCommonVersion {
                address: self.address.clone(),
                api,
                broker_min: offered.min_version,
                broker_max: offered.max_version,
                own_min,
                own_max,
            });
        }
        Ok(version)
    }

    /// The newest of `versions` that both sides speak.
    pub(crate) fn version_within<M: Message>(
        &self,
        versions: RangeInclusive<i16>,
    ) -> Result<i16, Failure> {
        let version = self.version_of::<M>(*versions.end())?;
        if version < *versions.start() {
            return Err(Failure::TooOld {
                address: self.address.clone(),
                api: M::KEY.name(),
                version,
                needed: *versions.start(),
            });
        }
        Ok(version)
    }

    /// Sends a request in the newest common version and waits for its answer.
    pub(crate) fn call<M: Request>(&mut self, request: &M) -> Result<M::Response, Failure> {
        self.call_at_most(request, i16::MAX)
    }

    /// As [`Control::call`], in a version of at most `version_max`.
    pub(crate) fn call_at_most<M: Request>(
        &mut self,
        request: &M,
        version_max: i16,
    ) -> Result<M::Response, Failure> {
        let version = self.version_of::<M>(version_max)?;
        self.call_version(request, version)
    }

    /// As [`Control::call`], in a version of at least `version_min`.
    pub(crate) fn call_at_least<M: Request>(
        &mut self,
        request: &M,
        version_min: i16,
    ) -> Result<M::Response, Failure> {
        self.call_between(request, version_min..=i16::MAX)
    }

    /// As [`Control::call`], in one of `versions`.
    pub(crate) fn call_between<M: Request>(
        &mut self,
        request: &M,
        versions: RangeInclusive<i16>,
    ) -> Result<M::Response, Failure> {
        let version = self.version_within::<M>(versions)?;
        self.call_version(request, version)
    }

    fn call_version<M: Request>(
        &mut self,
        request: &M,
        version: i16,
    ) -> Result<M::Response, Failure> {
        let api = M::KEY.name();
        let frame = encode_request(request, version, CORRELATION_ID, Some(CLIENT_ID))
            .map_err(|error| self.unreadable(api, error.to_string()))?;
        self.socket
            .write_all(&frame.into_bytes())
            .map_err(|source| self.lost("was asked", source))?;
        let answer = self.read_frame()?;
        let mut reader = Reader::new(&answer);
        ResponseHeader::decode(&mut reader, M::KEY, version)
            .and_then(|_| M::Response::decode(&mut reader, version))
            .map_err(|error| self.unreadable(api, error.to_string()))
    }

    fn read_frame(&mut self) -> Result<Bytes, Failure> {
        let mut prefix = [0; 4];
        self.read_exact(&mut prefix)?;
        let length = i32::from_be_bytes(prefix);
        let mut frame = match usize::try_from(length) {
            Ok(length) if length <= CONTROL_FRAME_BYTES_MAX => vec![0; length],
            _ => return Err(self.unreadable("a request", format!("frame length {length}"))),
        };
        self.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        self.socket.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                Failure::ConnectionClosed { address: self.address.clone(), during: "was asked" }
            }
            _ => self.lost("was asked", source),
        })
    }

    fn lost(&self, during: &'static str, source: io::Error) -> Failure {
        Failure::ConnectionLost { address: self.address.clone(), during, source }
    }

    fn unreadable(&self, api: &'static str, reason: String) -> Failure {
        Failure::Unreadable { address: self.address.clone(), api, reason }
    }
}

/// Largest answer of the cold conversation, in bytes: metadata of a hundred thousand partitions.
const CONTROL_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Connects to host:port without Nagle's delay.
pub(crate) fn connect(address: &str) -> Result<TcpStream, Failure> {
    let bad_address = || Failure::BadAddress { address: address.to_owned() };
    if address
        .rsplit_once(':')
        .is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    {
        return Err(bad_address());
    }
    let unreachable =
        |source: io::Error| Failure::Unreachable { address: address.to_owned(), source };
    let targets = address.to_socket_addrs().map_err(unreachable)?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for target in targets {
        match TcpStream::connect_timeout(&target, CONNECT_TIMEOUT) {
            Ok(socket) => {
                socket.set_nodelay(true).map_err(unreachable)?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}

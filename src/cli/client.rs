//! One blocking connection to a broker: negotiates versions, sends a request, waits for its answer.

use crate::cli::error::CliError;
use crate::model::limits::FRAME_BYTES_MAX;
use crate::protocol::frame::{self, ResponseHeader};
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::primitive::{Frame, Reader};
use crate::protocol::schema::{Message, Request};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const CLIENT_ID: &str = "highwater-cli";

/// A connection whose broker has told us its versions.
pub(crate) struct Client {
    pub address: String,
    stream: TcpStream,
    versions: BTreeMap<i16, (i16, i16)>,
    correlation_id: i32,
}

impl Client {
    /// Connects and asks for the broker's versions.
    ///
    /// # Errors
    /// Nothing listens there, or what listens does not speak the protocol.
    pub(crate) fn connect(address: &str) -> Result<Client, CliError> {
        let stream = open(address)
            .map_err(|source| CliError::Unreachable { address: address.to_owned(), source })?;
        let mut client = Client {
            address: address.to_owned(),
            stream,
            versions: BTreeMap::new(),
            correlation_id: 0,
        };
        let request = ApiVersionsRequest {
            client_software_name: CLIENT_ID.to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let answer: ApiVersionsResponse = client.call_version(&request, 3)?;
        for api in answer.api_keys {
            client.versions.insert(api.api_key, (api.min_version, api.max_version));
        }
        Ok(client)
    }

    /// Sends a request in the newest version that both sides know, and waits for the answer.
    pub(crate) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, CliError> {
        let version = self.version_of::<R>()?;
        self.call_version(request, version)
    }

    /// Newest version that both sides know.
    pub(crate) fn version_of<R: Request>(&self) -> Result<i16, CliError> {
        let ours = R::VERSIONS;
        let not_served =
            || CliError::NotServed { address: self.address.clone(), api: R::KEY.name() };
        let (min, max) = *self.versions.get(&R::KEY.number()).ok_or_else(not_served)?;
        let version = max.min(*ours.end());
        if version < min || version < *ours.start() { Err(not_served()) } else { Ok(version) }
    }

    /// Sends a request that gets no answer (Produce with acks=0).
    pub(crate) fn send_only<R: Request>(&mut self, request: &R) -> Result<(), CliError> {
        let version = self.version_of::<R>()?;
        self.send(request, version)
    }

    fn call_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, CliError> {
        self.send(request, version)?;
        let frame = self.receive().map_err(|source| self.broken(source))?;
        let mut reader = Reader::new(&frame);
        let decoded = ResponseHeader::decode(&mut reader, R::KEY, version)
            .and_then(|_| R::Response::decode(&mut reader, version));
        decoded.map_err(|source| CliError::Answer { address: self.address.clone(), source })
    }

    fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<(), CliError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame: Frame =
            frame::encode_request(request, version, self.correlation_id, Some(CLIENT_ID))
                .map_err(|source| CliError::Request { source })?;
        let written = self.stream.write_all(&frame.into_bytes());
        written.map_err(|source| self.broken(source))
    }

    fn receive(&mut self) -> io::Result<Bytes> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let size = usize::try_from(i32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        if size > FRAME_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "answer's length is absurd"));
        }
        let mut frame = vec![0; size];
        self.stream.read_exact(&mut frame)?;
        Ok(Bytes::from(frame))
    }

    fn broken(&self, source: io::Error) -> CliError {
        CliError::Broken { address: self.address.clone(), source }
    }
}

fn open(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

//! A proxy between a client and a broker that keeps the frames of both directions.
//!
//! The broker must advertise the proxy's address, or clients go round it. Frames are kept without
//! their length prefix, header included. For each (API, version) one exchange is kept as the golden
//! pair: the largest that is still small, since the smallest is often an empty one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use highwater::protocol::api_key::ApiKey;

const FRAME_SIZE_MAX: u32 = 100 << 20;
/// Request and response of a golden pair are this small together, where there is such a pair.
const SMALL: usize = 1500;
/// Larger pairs are not kept at all.
const LARGEST: usize = 16_000;
/// Exchanges of one API and version come from this many clients.
const CLIENTS_PER_VERSION: usize = 2;
const HEX_BYTES_PER_LINE: usize = 40;

/// One request and its answer.
struct Exchange {
    api: i16,
    version: i16,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// What waits for its answer on one connection.
struct Asked {
    correlation: [u8; 4],
    request: Vec<u8>,
}

/// The proxy; it ends with the test's process.
pub struct Recorder {
    port: u16,
    listener: TcpListener,
    sender: Sender<Exchange>,
    receiver: Receiver<Exchange>,
}

impl Recorder {
    /// Takes a port; clients that connect wait until `forward_to`.
    pub fn bind() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("bound above").port();
        let (sender, receiver) = channel();
        Recorder { port, listener, sender, receiver }
    }

    /// `host:port` for a client, and for the broker's `advertised.listeners`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Forwards each connection to the broker at `upstream`, `host:port`.
    pub fn forward_to(&self, upstream: &str) {
        let listener = self.listener.try_clone().expect("a second handle");
        let (upstream, sender) = (upstream.to_owned(), self.sender.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A broker that is gone ends the client's connection, as without the proxy.
                if let Ok(broker) = TcpStream::connect(&upstream) {
                    forward(client, broker, sender.clone());
                }
            }
        });
    }

    /// Writes the golden pairs of `client` into `directory` and returns their number.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn save(&self, client: &str, directory: &Path) -> io::Result<usize> {
        let mut chosen: BTreeMap<(i16, i16), Exchange> = BTreeMap::new();
        for exchange in self.receiver.try_iter() {
            let key = (exchange.api, exchange.version);
            let is_better = chosen.get(&key).is_none_or(|kept| exchange.is_better_than(kept));
            if is_better {
                chosen.insert(key, exchange);
            }
        }
        fs::create_dir_all(directory)?;
        let mut saved = 0;
        for exchange in chosen.values().filter(|exchange| exchange.size() <= LARGEST) {
            let about = format!("{}-v{}", api_name(exchange.api), exchange.version);
            if other_clients(directory, client, &about)? < CLIENTS_PER_VERSION {
                let path = |kind: &str| directory.join(format!("{client}-{about}-{kind}.hex"));
                fs::write(path("request"), hex(&exchange.request))?;
                fs::write(path("response"), hex(&exchange.response))?;
                saved += 1;
            }
        }
        Ok(saved)
    }
}

impl Exchange {
    fn size(&self) -> usize {
        self.request.len() + self.response.len()
    }

    fn is_better_than(&self, kept: &Exchange) -> bool {
        match (self.size() <= SMALL, kept.size() <= SMALL) {
            (true, true) => self.size() > kept.size(),
            (true, false) => true,
            (false, true) => false,
            (false, false) => self.size() < kept.size(),
        }
    }
}

/// How many clients but this one have a pair for an API and version.
fn other_clients(directory: &Path, client: &str, about: &str) -> io::Result<usize> {
    let suffix = format!("-{about}-request.hex");
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().into_string().expect("our own names are UTF-8");
        count += usize::from(name.strip_suffix(&suffix).is_some_and(|other| other != client));
    }
    Ok(count)
}

fn forward(client: TcpStream, broker: TcpStream, exchanges: Sender<Exchange>) {
    let (asked, waiting) = channel();
    let clone = |socket: &TcpStream| socket.try_clone().expect("a second handle");
    let (client_out, broker_out) = (clone(&client), clone(&broker));
    thread::spawn(move || {
        drop(forward_requests(client, &broker_out, &asked));
        drop(broker_out.shutdown(std::net::Shutdown::Both));
    });
    thread::spawn(move || {
        drop(forward_responses(broker, &client_out, &waiting, &exchanges));
        drop(client_out.shutdown(std::net::Shutdown::Both));
    });
}

fn forward_requests(
    mut from: TcpStream,
    mut to: &TcpStream,
    asked: &Sender<Asked>,
) -> io::Result<()> {
    loop {
        let request = read_frame(&mut from)?;
        if let Some(correlation) = request.get(4..8) {
            let correlation = correlation.try_into().expect("four bytes");
            // The other direction has ended when nobody listens; the write below ends this one.
            drop(asked.send(Asked { correlation, request: request.clone() }));
        }
        write_frame(&mut to, &request)?;
    }
}

fn forward_responses(
    mut from: TcpStream,
    mut to: &TcpStream,
    waiting: &Receiver<Asked>,
    exchanges: &Sender<Exchange>,
) -> io::Result<()> {
    loop {
        let response = read_frame(&mut from)?;
        write_frame(&mut to, &response)?;
        // Answers come in order; what is passed over was a Produce with acks=0.
        let question = waiting.try_iter().find(|asked| response.starts_with(&asked.correlation));
        let Some(Asked { request, .. }) = question else { continue };
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let (api, version) = (number(0), number(2));
        drop(exchanges.send(Exchange { api, version, request, response }));
    }
}

fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size);
    assert!(size <= FRAME_SIZE_MAX, "a frame of {size} bytes");
    let mut frame = Vec::new();
    let got = from.take(u64::from(size)).read_to_end(&mut frame)?;
    if u32::try_from(got).is_ok_and(|got| got == size) {
        return Ok(frame);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn write_frame(to: &mut &TcpStream, frame: &[u8]) -> io::Result<()> {
    let size = u32::try_from(frame.len()).expect("checked when it was read");
    to.write_all(&[&size.to_be_bytes(), frame].concat())
}

fn hex(frame: &[u8]) -> String {
    let line = |bytes: &[u8]| -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).chain([String::from("\n")]).collect()
    };
    frame.chunks(HEX_BYTES_PER_LINE).map(line).collect()
}

/// The name that Kafka's message definitions give to an API key.
fn api_name(number: i16) -> String {
    ApiKey::from_number(number).map_or(format!("Api{number}"), |key| format!("{key:?}"))
}

//! `GET /metrics` on an address of its own (`highwater.metrics.listener`).
//!
//! One thread, one connection at a time, one request on each: a scrape every few seconds needs no
//! more, and nobody can make the broker's cores do HTTP. That is also why this is no framework: all
//! it reads of a request is the first line. No read or write of a client takes longer than
//! `CLIENT_MAX`.

use crate::admin::metrics;
use crate::shard::overview::Overview;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// How long one read or write of a client's socket may take.
const CLIENT_MAX: Duration = Duration::from_secs(2);

/// Reads of a head: a client that sends it byte by byte is not waited for.
const HEAD_READS_MAX: usize = 16;

/// What Prometheus' text format calls itself.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A bound address that nobody is served at yet.
#[derive(Debug)]
pub struct MetricsListener {
    listener: TcpListener,
}

impl MetricsListener {
    /// Takes an address.
    ///
    /// # Errors
    /// It does not resolve, or is not ours, or taken.
    pub fn bind(host: &str, port: u16) -> io::Result<MetricsListener> {
        let mut found = (host, port).to_socket_addrs()?;
        let address = found.next().ok_or(io::ErrorKind::NotFound)?;
        Ok(MetricsListener { listener: TcpListener::bind(address)? })
    }

    /// Answers one client after the other until the process ends; `look` asks the broker.
    pub fn serve(self, mut look: impl FnMut() -> Option<Overview>) {
        for client in self.listener.incoming() {
            let served = client.and_then(|client| answer(client, &mut look));
            if let Err(error) = served {
                tracing::debug!(%error, "metrics");
            }
        }
    }
}

fn answer(mut client: TcpStream, look: &mut impl FnMut() -> Option<Overview>) -> io::Result<()> {
    client.set_read_timeout(Some(CLIENT_MAX))?;
    client.set_write_timeout(Some(CLIENT_MAX))?;
    let head = read_head(&mut client)?;
    let (status, body) = match requested(&head) {
        Requested::Metrics => match look() {
            Some(overview) => ("200 OK", metrics::text(&overview)),
            None => ("503 Service Unavailable", "the broker does not answer\n".to_owned()),
        },
        Requested::OtherMethod => ("405 Method Not Allowed", "GET /metrics\n".to_owned()),
        Requested::OtherPath => ("404 Not Found", "there is /metrics\n".to_owned()),
        Requested::Nonsense => ("400 Bad Request", "GET /metrics HTTP/1.1\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {TEXT_FORMAT}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

/// Everything up to the empty line; what there is where the bounds come first.
fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES_MAX];
    let mut len = 0;
    for _ in 0..HEAD_READS_MAX {
        let received = client.read(&mut head[len..])?;
        len += received;
        let is_whole = head[..len].windows(4).any(|end| end == b"\r\n\r\n");
        if received == 0 || is_whole {
            break;
        }
    }
    head.truncate(len);
    Ok(head)
}

#[derive(Debug, PartialEq, Eq)]
enum Requested {
    Metrics,
    OtherPath,
    OtherMethod,
    Nonsense,
}

fn requested(head: &[u8]) -> Requested {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Requested::Nonsense };
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        _ if !version.starts_with(b"HTTP/1.") => Requested::Nonsense,
        (b"GET", b"/metrics") => Requested::Metrics,
        (b"GET", _) => Requested::OtherPath,
        _ => Requested::OtherMethod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_says_what_is_wanted() {
        for (line, wanted) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Requested::Metrics),
            ("GET /metrics?name=up HTTP/1.0\r\n\r\n", Requested::Metrics),
            ("GET / HTTP/1.1\r\n\r\n", Requested::OtherPath),
            ("POST /metrics HTTP/1.1\r\n\r\n", Requested::OtherMethod),
            ("GET /metrics\r\n\r\n", Requested::Nonsense),
            ("GET /metrics SMTP\r\n\r\n", Requested::Nonsense),
            ("", Requested::Nonsense),
            ("\0\0\0\x21\0\x12\0\x04", Requested::Nonsense),
        ] {
            assert_eq!(requested(line.as_bytes()), wanted, "{line:?}");
        }
    }
}

//! Connections that do nothing: what they cost a broker, and those that do something.

use std::io::Read;
use std::net::TcpStream;

use crate::clock::now_ns;
use crate::control::Control;
use crate::failure::Failure;
use crate::group_args::IdleArgs;
use crate::interval::to_f64;

/// Opens the connections, each of which asks for the broker's versions, says so, and holds them
/// until standard input ends. Returns 1 when the broker has closed some meanwhile.
///
/// # Errors
/// A connection cannot be made; those before it are closed.
pub(crate) fn idle(args: &IdleArgs) -> Result<u8, Failure> {
    let begin_ns = now_ns();
    let connections = (0..args.connections).map(|_| Control::connect(&args.bootstrap));
    let connections = connections.collect::<Result<Vec<Control>, Failure>>()?;
    let seconds = to_f64(now_ns() - begin_ns) / 1e9;
    println!("ready        {} connections in {seconds:.2} s", connections.len());
    let mut input = std::io::stdin().lock();
    let mut ignored = [0; 256];
    while input.read(&mut ignored).is_ok_and(|length| length > 0) {}
    let open = connections.iter().filter(|connection| is_open(connection.socket())).count();
    println!("still open   {open}");
    Ok(u8::from(open < connections.len()))
}

/// A peer that has closed shows as the end of what can be read.
fn is_open(socket: &TcpStream) -> bool {
    if socket.set_nonblocking(true).is_err() {
        return false;
    }
    match socket.peek(&mut [0]) {
        Ok(length) => length > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

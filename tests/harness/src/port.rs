//! Ports that stay a test's own, also while its broker is down between a kill and a restart.
//!
//! Taken from below the range that Linux gives to outgoing connections, since one of those may
//! otherwise sit on the port when the broker comes back. A lock file keeps other tests off.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::process;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Neighbouring process ids begin far apart.
const STRIDE: u32 = 37;

/// A port on loopback; given back when dropped, or when the process ends.
pub struct Port {
    pub number: u16,
    _lock: File,
}

impl Port {
    /// A port that nobody listens on and no other test has taken.
    pub fn take() -> Port {
        let directory = env::temp_dir().join("highwater-test-ports");
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let begin = process::id().wrapping_mul(STRIDE) % u32::from(COUNT);
        let begin = u16::try_from(begin).expect("below COUNT");
        for step in 0..COUNT {
            let number = FIRST + (begin + step) % COUNT;
            let lock = File::create(directory.join(number.to_string())).expect("a writable file");
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port from {FIRST} on")
    }
}

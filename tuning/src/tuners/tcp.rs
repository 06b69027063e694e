//! TCP and sockets: queues of new connections, buffers, behaviour after idle.

use super::{always, context, files, latency, servers};
use crate::host::setting;
use crate::report::Finding;
use crate::tuner::{Kind, Scene, Tuner, Verdict, Want};

/// A connection's window of a fast network over a few milliseconds.
const SOCKET_BYTES: u64 = 16 * 1024 * 1024;
/// A few packets of the largest size that a device takes at once (64 KiB).
const UNSENT_BYTES_MAX: u64 = 128 * 1024;

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "net.somaxconn",
        what: "connections that wait to be accepted",
        why: "clients that reconnect all at once wait here; those that do not fit time out",
        gain: "a restart does not turn into a storm of retries",
        risk: "low",
        kind: files(&["proc/sys/net/core/somaxconn"], always(Want::AtLeast(4096))),
    },
    Tuner {
        id: "net.syn_backlog",
        what: "connections that are half open",
        why: "as net.somaxconn, one step earlier",
        gain: "as net.somaxconn",
        risk: "low",
        kind: files(&["proc/sys/net/ipv4/tcp_max_syn_backlog"], servers(Want::AtLeast(8192))),
    },
    Tuner {
        id: "net.rmem_max",
        what: "the largest receive buffer that a socket may ask for",
        why: "a buffer smaller than rate times delay stops the sender",
        gain: "full rate over longer distances; none on one host",
        risk: "low; memory per busy connection",
        kind: files(&["proc/sys/net/core/rmem_max"], servers(Want::AtLeast(SOCKET_BYTES))),
    },
    Tuner {
        id: "net.wmem_max",
        what: "the largest send buffer that a socket may ask for",
        why: "a buffer smaller than rate times delay stops the sender",
        gain: "full rate over longer distances; none on one host",
        risk: "low; memory per busy connection",
        kind: files(&["proc/sys/net/core/wmem_max"], servers(Want::AtLeast(SOCKET_BYTES))),
    },
    Tuner {
        id: "net.tcp_rmem",
        what: "smallest, first and largest receive buffer that TCP chooses by itself",
        why: "the largest bounds what one connection can receive per round trip",
        gain: "as net.rmem_max",
        risk: "low; memory per busy connection",
        kind: files(
            &["proc/sys/net/ipv4/tcp_rmem"],
            servers(Want::Rule("third >= 16777216", largest_buffer)),
        ),
    },
    Tuner {
        id: "net.tcp_wmem",
        what: "smallest, first and largest send buffer that TCP chooses by itself",
        why: "the largest bounds what one connection can send per round trip",
        gain: "as net.wmem_max",
        risk: "low; memory per busy connection",
        kind: files(
            &["proc/sys/net/ipv4/tcp_wmem"],
            servers(Want::Rule("third >= 16777216", largest_buffer)),
        ),
    },
    Tuner {
        id: "net.slow_start_after_idle",
        what: "whether a connection starts slowly again after a pause",
        why: "a feed that pauses between bursts begins each burst with a small window",
        gain: "the first batches after a pause go out at once",
        risk: "low inside a data centre",
        kind: files(&["proc/sys/net/ipv4/tcp_slow_start_after_idle"], servers(Want::Exactly("0"))),
    },
    Tuner {
        id: "net.autocorking",
        what: "whether the kernel joins small writes while others wait in the device",
        why: "a small answer waits for the packet before it to leave",
        gain: "small answers go out at once",
        risk: "low; more packets",
        kind: files(&["proc/sys/net/ipv4/tcp_autocorking"], latency(Want::Exactly("0"))),
    },
    Tuner {
        id: "net.notsent_lowat",
        what: "bytes of a connection that the kernel takes while they cannot be sent yet",
        why: "what a slow reader has not fetched yet fills kernel memory, and the newest of it waits behind the rest",
        gain: "less memory per slow reader, and shorter queues in front of it",
        risk: "medium: more wake-ups for each large answer, so large fetches may lose rate",
        kind: files(
            &["proc/sys/net/ipv4/tcp_notsent_lowat"],
            latency(Want::AtMost(UNSENT_BYTES_MAX)),
        ),
    },
    Tuner {
        id: "net.congestion_control",
        what: "the rule by which TCP finds its rate",
        why: "it decides the rate on lossy or long paths; figures across hosts depend on it",
        gain: "context for results",
        risk: "none: it is shown, not set",
        kind: Kind::Report {
            look: congestion_control,
            by_hand: "sysctl -w net.ipv4.tcp_congestion_control=NAME (offered: tcp_available_congestion_control)",
            undo: "the same with the name before",
        },
    },
];

/// `4096 131072 6291456`: only the third number is ours to raise.
fn largest_buffer(_scene: &Scene, _path: &str, current: &str) -> Verdict {
    let text = setting(current);
    let [smallest, first, largest] = text.split(' ').collect::<Vec<_>>()[..] else {
        return Verdict::Leave("not three numbers");
    };
    match largest.parse::<u64>() {
        Ok(largest) if largest >= SOCKET_BYTES => Verdict::Met,
        Ok(_) => Verdict::Set(format!("{smallest} {first} {SOCKET_BYTES}")),
        Err(_) => Verdict::Leave("not three numbers"),
    }
}

fn congestion_control(scene: &Scene) -> Finding {
    match scene.host.text("proc/sys/net/ipv4/tcp_congestion_control") {
        Some(name) => context(name),
        None => Finding::absent("not readable here"),
    }
}

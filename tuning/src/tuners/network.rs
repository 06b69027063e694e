//! Network devices: which core serves which queue, and how long packets wait there.

use super::{context, files, latency, servers, throughput};
use crate::cores::{is_same_mask, mask};
use crate::report::{Finding, Severity};
use crate::tuner::{Kind, Profile, Scene, Tuner, Verdict, Want};

const FLOWS: u64 = 32_768;

pub(super) const TUNERS: &[Tuner] = &[
    Tuner {
        id: "net.irqbalance",
        what: "the daemon irqbalance, which moves interrupts between cores",
        why: "it moves interrupts onto the broker's cores again, and undoes net.irq_affinity",
        gain: "interrupts stay where they were put",
        risk: "interrupts of other devices are no longer spread",
        kind: Kind::Report {
            look: irqbalance,
            by_hand: "systemctl disable --now irqbalance, or IRQBALANCE_BANNED_CPULIST=LIST in its configuration",
            undo: "systemctl enable --now irqbalance",
        },
    },
    Tuner {
        id: "net.rings",
        what: "ring sizes and interrupt coalescing of the network device",
        why: "full rings drop packets; coalescing holds packets back to interrupt less often",
        gain: "fewer drops in bursts; with short coalescing earlier packets for more CPU time",
        risk: "medium: some drivers reset the link on a change, so it is shown, not set",
        kind: Kind::Report {
            look: dropped,
            by_hand: "ethtool -g NIC, ethtool -G NIC rx N; ethtool -c NIC, ethtool -C NIC adaptive-rx off rx-usecs 8",
            undo: "the same commands with the values that -g and -c showed before",
        },
    },
    Tuner {
        id: "net.queues",
        what: "receive and send queues of the network device (channels)",
        why: "each queue is one core's work; net.rps and net.xps are set by their number",
        gain: "context for results",
        risk: "medium: some drivers reset the link on a change, so it is shown, not set",
        kind: Kind::Report {
            look: queue_counts,
            by_hand: "ethtool -l NIC, ethtool -L NIC combined N",
            undo: "ethtool -L NIC with the number that -l showed before",
        },
    },
    Tuner {
        id: "net.napi_threads",
        what: "whether a kernel thread takes packets from the device, in place of the interrupted core",
        why: "a thread can be kept off the broker's cores; but each batch of packets then waits for it to run",
        gain: "context for results; whether it helps depends on the load: measure",
        risk: "low; on busy hosts packets wait longer",
        kind: Kind::Report {
            look: napi_threads,
            by_hand: "echo 1 > /sys/class/net/NIC/threaded; taskset -pc CORES on the threads napi/NIC-N",
            undo: "echo 0 > /sys/class/net/NIC/threaded",
        },
    },
    Tuner {
        id: "net.irq_affinity",
        what: "the core that handles each interrupt of the network device",
        why: "with all of them on one core that core is the limit; on a broker's core they are pauses",
        gain: "interrupts spread over the cores, or kept off those named with --cores",
        risk: "medium: irqbalance must be stopped, and numbers change at a reboot",
        kind: files(
            &["{irq}/smp_affinity_list"],
            servers(Want::Rule("one core each, in turn", interrupt_core)),
        ),
    },
    Tuner {
        id: "net.rps",
        what: "cores to which a device with one queue hands its packets (RPS)",
        why: "one queue is one core's work, however many cores there are",
        gain: "packets of one queue are handled by all cores",
        risk: "low; more interrupts between cores",
        kind: files(
            &["{nic}/queues/rx-*/rps_cpus"],
            throughput(Want::Rule("all cores, with one queue", packet_cores)),
        ),
    },
    Tuner {
        id: "net.rfs",
        what: "entries of the table that sends a flow's packets to its reader's core (RFS)",
        why: "without it RPS hands packets to cores that do not own the connection",
        gain: "packets arrive at the core that reads them",
        risk: "low; some memory",
        kind: files(&["proc/sys/net/core/rps_sock_flow_entries"], throughput(Want::AtLeast(FLOWS))),
    },
    Tuner {
        id: "net.rfs_queues",
        what: "each queue's share of that table",
        why: "as net.rfs: the table works only where the queues have entries too",
        gain: "as net.rfs",
        risk: "low; some memory",
        kind: files(
            &["{nic}/queues/rx-*/rps_flow_cnt"],
            throughput(Want::Rule("32768 over all queues", queue_flows)),
        ),
    },
    Tuner {
        id: "net.xps",
        what: "cores that send through each transmit queue (XPS)",
        why: "cores that share a transmit queue wait for its lock",
        gain: "each core sends without waiting for others",
        risk: "low",
        kind: files(
            &["{nic}/queues/tx-*/xps_cpus"],
            throughput(Want::Rule("cores in turn, with several queues", sending_cores)),
        ),
    },
    Tuner {
        id: "net.busy_poll",
        what: "us for which poll() asks the device before it sleeps",
        why: "waiting for the interrupt costs a wake-up",
        gain: "no wake-up for packets that come soon; none on loopback",
        risk: "CPU time is spent on waiting",
        kind: files(&["proc/sys/net/core/busy_poll"], latency(Want::AtLeast(50))),
    },
    Tuner {
        id: "net.busy_read",
        what: "us for which a read asks the device before it sleeps",
        why: "as net.busy_poll, for new sockets",
        gain: "as net.busy_poll",
        risk: "CPU time is spent on waiting",
        kind: files(&["proc/sys/net/core/busy_read"], latency(Want::AtLeast(50))),
    },
    Tuner {
        id: "net.napi_defer",
        what: "empty polls of the device before its interrupt is switched on again",
        why: "interrupts break into busy polling",
        gain: "fewer interruptions while busy polling works",
        risk: "low together with net.gro_flush, which bounds the wait",
        kind: files(&["{nic}/napi_defer_hard_irqs"], latency(Want::AtLeast(2))),
    },
    Tuner {
        id: "net.gro_flush",
        what: "ns after which packets that wait to be joined are handed on",
        why: "net.napi_defer needs this timer to look at the device again",
        gain: "as net.napi_defer",
        risk: "low",
        kind: files(&["{nic}/gro_flush_timeout"], latency(Want::Rule("1 to 20000", flush))),
    },
];

fn irqbalance(scene: &Scene) -> Finding {
    let names = scene.host.matching("proc/*/comm");
    if names.is_empty() {
        return Finding::absent("no processes are shown");
    }
    let runs = names.iter().any(|path| scene.host.text(path).as_deref() == Some("irqbalance"));
    let current = if runs { "runs" } else { "does not run" };
    match scene.profile {
        Profile::Dev => context(current),
        Profile::Throughput | Profile::Latency => Finding::new(Severity::Advised, current, !runs)
            .wanted("does not run")
            .fix("systemctl disable --now irqbalance"),
    }
}

/// Ring sizes are not files; what they are for is: packets that found no room.
fn dropped(scene: &Scene) -> Finding {
    let found = of_each_device(scene, |nic| {
        let count = scene.host.number(&format!("{nic}/statistics/rx_missed_errors"))?;
        Some(format!("{count} packets missed"))
    });
    if found.is_empty() {
        return Finding::absent("no network device");
    }
    let is_met = found.iter().all(|text| text.contains(": 0 "));
    Finding::new(Severity::Context, found.join(", "), is_met)
        .wanted("0 packets missed")
        .fix("ethtool -g NIC shows the largest ring, ethtool -G NIC rx N sets it")
}

fn queue_counts(scene: &Scene) -> Finding {
    let found = of_each_device(scene, |nic| {
        let count = |kind| scene.host.matching(&format!("{nic}/queues/{kind}-*")).len();
        match (count("rx"), count("tx")) {
            (0, 0) => None,
            (receive, send) => Some(format!("{receive} to receive, {send} to send")),
        }
    });
    if found.is_empty() { Finding::absent("no network device") } else { context(found.join("; ")) }
}

fn napi_threads(scene: &Scene) -> Finding {
    let found = of_each_device(scene, |nic| {
        let threads = scene.host.number(&format!("{nic}/threaded"))?;
        Some(if threads == 0 { "off" } else { "on" }.to_owned())
    });
    if found.is_empty() {
        return Finding::absent("not offered by this kernel or device");
    }
    context(found.join(", "))
}

/// `eth0: what was found`, without devices of which nothing is found.
fn of_each_device(scene: &Scene, look: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let line = |nic: &String| {
        let name = nic.rsplit('/').next().unwrap_or_default();
        Some(format!("{name}: {}", look(nic)?))
    };
    scene.nics.iter().filter_map(line).collect()
}

/// The place of `path` among those that share its pattern, and their count.
fn place(paths: &[String], path: &str) -> (usize, usize) {
    (paths.iter().position(|known| path.starts_with(known.as_str())).unwrap_or(0), paths.len())
}

fn siblings(scene: &Scene, path: &str) -> Vec<String> {
    let folder = path.rsplit('/').nth(1).unwrap_or_default();
    let kind = folder.split('-').next().unwrap_or_default();
    let above = path.split("/queues/").next().unwrap_or_default();
    let mut queues = scene.host.matching(&format!("{above}/queues/{kind}-*"));
    // rx-1 must not be taken for rx-10.
    for queue in &mut queues {
        queue.push('/');
    }
    queues
}

fn interrupt_core(scene: &Scene, path: &str, current: &str) -> Verdict {
    let cores = scene.interrupt_cores();
    if cores.len() < 2 && scene.broker_cores.is_empty() {
        return Verdict::Leave("one core");
    }
    let folders: Vec<String> = scene.interrupts.iter().map(|irq| format!("{irq}/")).collect();
    let (index, _) = place(&folders, path);
    let wanted = cores[index % cores.len()].to_string();
    if current == wanted { Verdict::Met } else { Verdict::Set(wanted) }
}

fn packet_cores(scene: &Scene, path: &str, current: &str) -> Verdict {
    if siblings(scene, path).len() > 1 {
        return Verdict::Leave("several queues");
    }
    masked(&scene.interrupt_cores(), current)
}

fn sending_cores(scene: &Scene, path: &str, current: &str) -> Verdict {
    let (index, count) = place(&siblings(scene, path), path);
    if count < 2 {
        return Verdict::Leave("one queue");
    }
    let share = scene.cores.iter().enumerate().filter(|(core, _)| core % count == index);
    masked(&share.map(|(_, core)| *core).collect::<Vec<_>>(), current)
}

fn masked(cores: &[u32], current: &str) -> Verdict {
    if cores.is_empty() {
        return Verdict::Leave("more queues than cores");
    }
    let wanted = mask(cores);
    if is_same_mask(current, &wanted) { Verdict::Met } else { Verdict::Set(wanted) }
}

fn queue_flows(scene: &Scene, path: &str, current: &str) -> Verdict {
    let queues = u64::try_from(siblings(scene, path).len()).unwrap_or(1).max(1);
    let wanted = FLOWS / queues;
    match current.parse::<u64>() {
        Ok(found) if found >= wanted => Verdict::Met,
        _ => Verdict::Set(wanted.to_string()),
    }
}

fn flush(_scene: &Scene, _path: &str, current: &str) -> Verdict {
    match current.parse::<u64>() {
        Ok(1..=20_000) => Verdict::Met,
        _ => Verdict::Set("20000".to_owned()),
    }
}

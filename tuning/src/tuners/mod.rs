//! The table of tuners, one file per part of the host.
//!
//! A gain has a figure only where somebody measured it; the rest says in words what gets better.

mod cpu;
mod disk;
mod kernel;
mod memory;
mod network;
mod sharing;
mod tcp;

use crate::report::{Finding, Row, Severity};
use crate::tuner::{Kind, Scene, Tuner, Want, Wants};

/// Every tuner, in the order in which `check` shows and `apply` sets them.
pub(crate) fn all() -> impl Iterator<Item = &'static Tuner> {
    let parts: [&'static [Tuner]; 7] = [
        kernel::TUNERS,
        sharing::TUNERS,
        cpu::TUNERS,
        memory::TUNERS,
        disk::TUNERS,
        network::TUNERS,
        tcp::TUNERS,
    ];
    parts.into_iter().flatten()
}

pub(crate) fn find(id: &str) -> Option<&'static Tuner> {
    all().find(|tuner| tuner.id == id)
}

/// What each tuner finds, without those that the profile does not care for.
pub(crate) fn look(scene: &Scene) -> Vec<Row> {
    let row = |tuner: &'static Tuner| Some(Row { tuner, finding: tuner.look(scene)? });
    all().filter_map(row).collect()
}

/// Each profile wants the same.
const fn always(want: Want) -> Wants {
    Wants { dev: want, throughput: want, latency: want }
}

/// A server wants it, a laptop does not care.
const fn servers(want: Want) -> Wants {
    Wants { dev: Want::Leave, throughput: want, latency: want }
}

const fn latency(want: Want) -> Wants {
    Wants { dev: Want::Leave, throughput: Want::Leave, latency: want }
}

const fn throughput(want: Want) -> Wants {
    Wants { dev: Want::Leave, throughput: want, latency: Want::Leave }
}

const fn files(paths: &'static [&'static str], wants: Wants) -> Kind {
    Kind::Files { paths, wants }
}

/// For the reader of a figure: shown, never a fault.
fn context(current: impl Into<String>) -> Finding {
    Finding::new(Severity::Context, current, true)
}

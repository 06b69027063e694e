//! How many instructions the hot path takes, counted one by one: the figures repeat on a noisy
//! machine, where times do not.
//!
//! The CPU's trap flag is set around each measured part, so that the kernel sends SIGTRAP after
//! every instruction, and a handler counts them. That takes no privilege, no counter of the CPU
//! (virtual machines have none) and no other program. The simulated disk and executor are in the
//! count, the kernel is not. Nor are the checksum's, whose code is chosen by the CPU: in their
//! place one is counted for each 4 bytes of it.
//!
//! A count above its budget is a slower hot path, one far below it is a budget that no longer
//! guards: either is a decision, so the numbers are changed by hand. They hold for one build
//! (`JUDGED`); any other says aloud that nothing was judged, and fails where `CI=true`.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code, reason = "the trap flag and a signal handler; both only count")]
#![allow(clippy::disallowed_methods, reason = "tests run on real processes")]
#![allow(
    clippy::print_stdout,
    reason = "the process that counts reports to the one that started it"
)]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "hot_path/driver.rs"]
mod driver;

use bytes::Bytes;
use driver::{Driver, Meter, batch};
use highwater::protocol::crc32c::crc32c_append;
use highwater::protocol::fetch_view::FetchRequestView;
use highwater::protocol::frame::{RequestHeader, encode_request};
use highwater::protocol::primitive::{LENGTH_PREFIX_SIZE, Reader};
use highwater::protocol::produce_view::ProduceRequestView;
use highwater::protocol::record_batch::CheckedBatch;
use highwater::protocol::schema::Request;
use std::arch::asm;
use std::env;
use std::hint::black_box;
use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

/// The build that the budgets are for, as build.rs names it: `cargo test` with the toolchain of
/// rust-toolchain.toml and the profile of Cargo.toml.
const JUDGED: &str = "rustc 1.95.0 for x86_64-unknown-linux-gnu at opt-level 1 with flags []";
/// Set in the process that counts.
const COUNTING: &str = "HIGHWATER_COUNTS_INSTRUCTIONS";
/// Pools fill and tables grow; run at full speed.
const WARM_UP: usize = 100;
/// Measured, and the median counts; a step takes some ten microseconds.
const REQUESTS: usize = 3;
/// How far a count may be from its budget, in percent. Counts of one build are the same to the
/// instruction, however busy the machine is; a change elsewhere in the crate can move what the
/// compiler inlines, which was seen to shift a count by 4.5 %, and another processor may be given
/// another `memcpy`. One copy more of 16 KiB is 22 %; one allocation more is 3 % of a small append,
/// and tests/allocations.rs finds it.
const TOLERANCE: u64 = 10;
/// The C library chooses its copying by the CPU, and a step of `rep movsb` is a byte: every
/// machine takes the plain one.
const COPYING: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM,-AVX2,-AVX512F,-AVX512VL");

/// A workload and the instructions of each of its parts.
struct Budget {
    name: &'static str,
    run: fn(&mut dyn Meter),
    parts: &'static [(&'static str, u64)],
}

const BUDGETS: &[Budget] = &[
    Budget {
        name: "parse a produce to 16 partitions",
        run: parse_produce,
        parts: &[("request", 1_829)],
    },
    Budget { name: "check a batch of 40 records", run: check_batch, parts: &[("batch", 1_337)] },
    Budget {
        name: "parse a fetch from 16 partitions",
        run: parse_fetch,
        parts: &[("request", 2_453)],
    },
    Budget {
        name: "append 1 record, acks=1",
        run: |meter| append(meter, 1, 1),
        parts: &[("taken in", 5_621), ("answered", 26_956)],
    },
    Budget {
        name: "append 1 record, acks=all",
        run: |meter| append(meter, -1, 1),
        parts: &[("taken in", 5_675), ("answered", 27_080)],
    },
    Budget {
        name: "append to 4 partitions, acks=1",
        run: |meter| append(meter, 1, 4),
        parts: &[("taken in", 15_590), ("answered", 38_200)],
    },
    Budget {
        name: "append 40 records",
        run: |meter| append_batch(meter, batch(40, 100)),
        parts: &[("taken in", 19_245)],
    },
    Budget {
        name: "append 1 record of 16 KiB",
        run: |meter| append_batch(meter, batch(1, 16 << 10)),
        parts: &[("taken in", 10_253)],
    },
    Budget {
        name: "fetch from 1 partition",
        run: |meter| fetch(meter, 1),
        parts: &[("taken in", 10_666), ("answered", 13_757)],
    },
    Budget {
        name: "fetch from 4 partitions",
        run: |meter| fetch(meter, 4),
        parts: &[("taken in", 27_310), ("answered", 35_212)],
    },
];

fn parse_produce(meter: &mut dyn Meter) {
    let frame = frame_of(&Driver::new(16).produce(1, 16, batch(1, 100)), 13);
    let mut view = ProduceRequestView::default();
    for_each_request(meter, |meter| {
        let mut owned = frame.clone();
        meter.cost(&mut || {
            let mut reader = Reader::new(black_box(&owned));
            let header = RequestHeader::decode(&mut reader).unwrap();
            let (body_at, version) = (reader.position(), header.api_version);
            view.read_frame(std::mem::take(&mut owned), body_at, version).unwrap();
        });
        assert_eq!(view.partition_count(), 16);
    });
}

fn check_batch(meter: &mut dyn Meter) {
    let batch = batch(40, 100);
    for_each_request(meter, |meter| {
        meter.cost(&mut || {
            black_box(CheckedBatch::check_produced(black_box(&batch).clone()).unwrap());
        });
    });
}

fn parse_fetch(meter: &mut dyn Meter) {
    let frame = frame_of(&Driver::new(16).fetch(16), 17);
    let mut view = FetchRequestView::default();
    for_each_request(meter, |meter| {
        meter.cost(&mut || {
            let mut reader = Reader::new(black_box(&frame));
            let header = RequestHeader::decode(&mut reader).unwrap();
            view.read(&mut reader, header.api_version).unwrap();
        });
        assert_eq!(view.partition_count(), 16);
    });
}

fn append(meter: &mut dyn Meter, acks: i16, partitions: i32) {
    let mut driver = Driver::new(partitions);
    let request = driver.produce(acks, partitions, batch(1, 100));
    driver.send(&request, 13, WARM_UP, &mut Unmeasured);
    driver.send(&request, 13, REQUESTS, meter);
}

/// Up to the log in memory: behind it the simulated disk would count most, byte by byte.
fn append_batch(meter: &mut dyn Meter, batch: Bytes) {
    let mut driver = Driver::new(1);
    let request = driver.produce(1, 1, batch);
    driver.send(&request, 13, WARM_UP, &mut Unmeasured);
    driver.send(&request, 13, REQUESTS, &mut EveryOther { meter, is_next: true });
}

fn fetch(meter: &mut dyn Meter, partitions: i32) {
    let mut driver = Driver::new(partitions);
    let request = driver.produce(1, partitions, batch(10, 100));
    driver.send(&request, 13, WARM_UP, &mut Unmeasured);
    let request = driver.fetch(partitions);
    driver.send(&request, 17, WARM_UP, &mut Unmeasured);
    driver.send(&request, 17, REQUESTS, meter);
}

fn frame_of<R: Request>(request: &R, version: i16) -> Bytes {
    let frame = encode_request(request, version, 7, Some("counted")).unwrap();
    frame.into_bytes().slice(LENGTH_PREFIX_SIZE..)
}

fn for_each_request(meter: &mut dyn Meter, mut one: impl FnMut(&mut dyn Meter)) {
    for _ in 0..WARM_UP {
        one(&mut Unmeasured);
    }
    for _ in 0..REQUESTS {
        one(meter);
    }
}

struct Unmeasured;

impl Meter for Unmeasured {
    fn cost(&mut self, work: &mut dyn FnMut()) -> u64 {
        work();
        0
    }
}

/// Measures the first of each two parts.
struct EveryOther<'a> {
    meter: &'a mut dyn Meter,
    is_next: bool,
}

impl Meter for EveryOther<'_> {
    fn cost(&mut self, work: &mut dyn FnMut()) -> u64 {
        self.is_next = !self.is_next;
        if !self.is_next { self.meter.cost(work) } else { Unmeasured.cost(work) }
    }
}

static STEPS: AtomicU64 = AtomicU64::new(0);
/// Where the checksum under way returns to; 0 when none is.
static CHECKSUM_ENDS: AtomicU64 = AtomicU64::new(0);

/// Counts one instruction, or what stands for a checksum.
extern "C" fn on_step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over the interrupted thread's registers.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let register = |index| registers[usize::try_from(index).expect("an index")].cast_unsigned();
    let next = register(libc::REG_RIP);
    let ends = CHECKSUM_ENDS.load(Ordering::Relaxed);
    if next == crc32c_append as *const () as u64 {
        // SAFETY: at the entry of a function the stack's top is where it returns to.
        let returns_to = unsafe { *(register(libc::REG_RSP) as *const u64) };
        CHECKSUM_ENDS.store(returns_to, Ordering::Relaxed);
        // Arguments: the checksum so far, the bytes' address, how many they are.
        STEPS.fetch_add(register(libc::REG_RDX) / 4, Ordering::Relaxed);
    } else if ends == 0 || ends == next {
        CHECKSUM_ENDS.store(0, Ordering::Relaxed);
        STEPS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the instructions of each part, in the order of the parts.
struct Steps(Vec<u64>);

impl Meter for Steps {
    fn cost(&mut self, work: &mut dyn FnMut()) -> u64 {
        STEPS.store(0, Ordering::Relaxed);
        // SAFETY: pushes and pops the flags on a stack that the compiler knows to be used; the trap
        // flag changes nothing but that SIGTRAP follows each instruction, and it has a handler.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
        work();
        // SAFETY: as above; this takes the flag back.
        unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
        let steps = STEPS.load(Ordering::Relaxed);
        self.0.push(steps);
        steps
    }
}

/// The median of each part, in the order of the budget's.
fn counted(budget: &Budget) -> Vec<u64> {
    let mut steps = Steps(Vec::new());
    (budget.run)(&mut steps);
    let count = budget.parts.len();
    assert_eq!(steps.0.len(), count * REQUESTS, "{}", budget.name);
    let median = |part: usize| {
        let mut costs: Vec<u64> = steps.0.iter().skip(part).step_by(count).copied().collect();
        costs.sort_unstable();
        costs[costs.len() / 2]
    };
    (0..count).map(median).collect()
}

/// Prints each count beside its budget, and whether all are within them.
fn judge() {
    // SAFETY: all zeros is an action without flags; the handler reads registers and adds to
    // atomics, which a signal handler may do.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_step as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGTRAP, &action, std::ptr::null_mut())
    };
    assert_eq!(installed, 0);
    let mut is_off = false;
    for budget in BUDGETS {
        for ((part, allowed), count) in budget.parts.iter().zip(counted(budget)) {
            let is_far = count.abs_diff(*allowed) * 100 > allowed * TOLERANCE;
            is_off |= is_far;
            let verdict = match (is_far, count > *allowed) {
                (false, _) => "ok",
                (true, true) => "MORE",
                (true, false) => "FEWER",
            };
            println!("{verdict:<5} {}, {part}: {count}, budget {allowed}", budget.name);
        }
    }
    assert!(!is_off, "outside the budgets by more than {TOLERANCE} %");
}

/// Says aloud that nothing was judged; the test runner hides what print macros write.
fn not_judged(test: &str, reason: &str) {
    assert!(!env::var("CI").is_ok_and(|it| it == "true"), "{test}: {reason}");
    writeln!(std::io::stderr(), "\nSKIPPED {test}: {reason}\n").expect("stderr is open");
}

#[test]
fn requests_take_the_instructions_that_they_took() {
    if env::var(COUNTING).is_ok() {
        return judge();
    }
    let test = "requests_take_the_instructions_that_they_took";
    let build = env!("BUILD_OF_TESTS");
    if build != JUDGED || !cfg!(debug_assertions) {
        return not_judged(test, &format!("the budgets are for {JUDGED}, this is {build}"));
    }
    // Another process, because the C library chooses how to copy when it is loaded.
    let counting = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(COUNTING, "1")
        .env(COPYING.0, COPYING.1)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (counts, errors) = (text(&counting.stdout), text(&counting.stderr));
    assert!(counting.status.success(), "{}\n{counts}\n{errors}", counting.status);
}

//! How often the hot path asks the allocator, counted through the whole shard: any change of these
//! numbers is a change of speed, and must be a decision.
//!
//! The simulator drives the shard on one core. Counted apart: taking a request in (`on_bytes`:
//! frame, decode, checks, append to the log in memory), and everything until its answer lies
//! before the socket, the simulated disk and executor included. The median of many requests
//! counts, because chunks of the arena and tables that grow cost one allocation every few hundred
//! requests.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait; it only counts")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "hot_path/driver.rs"]
mod driver;

use driver::{Cost, Driver, Meter, batch};
use highwater::protocol::schema::Request;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter allocates nothing,
// because it is constant-initialised and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, which is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: as for `dealloc`, and the caller's promise about `size` is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread.
struct Allocations;

impl Meter for Allocations {
    fn cost(&mut self, work: &mut dyn FnMut()) -> u64 {
        let before = COUNT.get();
        work();
        COUNT.get() - before
    }
}

/// Requests whose cost is not looked at: pools fill, tables grow.
const WARM_UP: usize = 100;
const REQUESTS: usize = 301;

fn cost<R: Request>(driver: &mut Driver, request: &R, version: i16) -> Cost {
    driver.send(request, version, WARM_UP, &mut Allocations);
    median(&driver.send(request, version, REQUESTS, &mut Allocations))
}

/// The median of each part.
fn median(costs: &[Cost]) -> Cost {
    let of = |part: fn(&Cost) -> u64| {
        let mut parts: Vec<u64> = costs.iter().map(part).collect();
        parts.sort_unstable();
        parts[parts.len() / 2]
    };
    Cost { taken_in: of(|cost| cost.taken_in), answered: of(|cost| cost.answered) }
}

#[test]
fn a_produce_allocates_as_often_as_it_did() {
    let mut driver = Driver::new(1);
    let request = driver.produce(1, 1, batch(10, 100));
    assert_eq!(cost(&mut driver, &request, 13), Cost { taken_in: 2, answered: 23 });
}

#[test]
fn a_synced_produce_allocates_as_often_as_it_did() {
    let mut driver = Driver::new(1);
    let request = driver.produce(-1, 1, batch(10, 100));
    assert_eq!(cost(&mut driver, &request, 13), Cost { taken_in: 2, answered: 23 });
}

#[test]
fn a_fetch_from_memory_allocates_as_often_as_it_did() {
    let mut driver = Driver::new(1);
    let request = driver.produce(1, 1, batch(10, 100));
    cost(&mut driver, &request, 13);
    let request = driver.fetch(1);
    assert_eq!(cost(&mut driver, &request, 17), Cost { taken_in: 13, answered: 12 });
}

//! What the kernel grants, asked before the executor is: io_uring, locked memory, descriptors.
//!
//! glommio panics, or prints a text that misleads, where any of these is missing. Each check here
//! ends in one sentence with the value found and the value needed, and in one fix.

use crate::model::limits::HOST_FILES_MIN;
use crate::model::rings::{RING_SIZES, ring_size};
use io_uring::{IoUring, Probe, opcode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io;

/// Entries of the probe's own ring.
const PROBE_ENTRIES: u32 = 8;

/// What the broker found and settled on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    pub kernel: String,
    /// Submission entries per ring.
    pub ring_depth: usize,
    /// Registered memory per executor, in bytes.
    pub io_memory_bytes: usize,
    /// Soft limit after it was raised; `None` = unlimited.
    pub memlock_bytes: Option<u64>,
    /// Soft limit after it was raised; `None` = unlimited.
    pub files: Option<u64>,
    /// True when rings had to be made smaller to fit the locked memory.
    pub is_shrunk: bool,
}

/// Why the broker cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("io_uring is switched off: kernel.io_uring_disabled is {value}, needed is 0")]
    Disabled { value: String },
    #[error("io_uring_setup is forbidden (EPERM): a seccomp filter or security module blocks it")]
    Forbidden,
    #[error("io_uring_setup does not exist here (ENOSYS): kernel {kernel}, needed is 5.8 or newer")]
    Missing { kernel: String },
    #[error("io_uring_setup found no memory (ENOMEM): RLIMIT_MEMLOCK is {memlock_bytes} bytes")]
    NoMemory { memlock_bytes: u64 },
    #[error("io_uring_setup refused its arguments (EINVAL) on kernel {kernel}")]
    Refused { kernel: String },
    #[error("io_uring on kernel {kernel} lacks {operation}, needed is 5.8 or newer")]
    LacksOperation { kernel: String, operation: &'static str },
    #[error("io_uring_setup failed with error {errno} on kernel {kernel}")]
    Other { kernel: String, errno: i32 },
    #[error("RLIMIT_MEMLOCK is {memlock_bytes} bytes, {executors} cores need {needed_bytes}")]
    MemlockTooLow { memlock_bytes: u64, needed_bytes: u64, executors: usize },
    #[error("RLIMIT_NOFILE is {files}, needed are {needed}")]
    FilesTooLow { files: u64, needed: u64 },
}

impl ProbeError {
    /// What the operator can do.
    pub fn fix(&self) -> String {
        match self {
            ProbeError::Disabled { .. } => "run: sysctl kernel.io_uring_disabled=0".into(),
            ProbeError::Forbidden => "in a container, allow io_uring_setup, io_uring_enter and \
                 io_uring_register in its seccomp profile"
                .into(),
            ProbeError::Missing { .. } => "use a newer kernel; in a container, also allow the \
                 io_uring system calls in its seccomp profile"
                .into(),
            ProbeError::NoMemory { .. } => "raise the limit: ulimit -l unlimited, or \
                 LimitMEMLOCK=infinity in the systemd unit"
                .into(),
            ProbeError::MemlockTooLow { needed_bytes, .. } => format!(
                "raise the limit: ulimit -l {}, or LimitMEMLOCK=infinity in the systemd unit; or \
                 set fewer highwater.cores",
                needed_bytes.div_ceil(1024)
            ),
            ProbeError::Refused { .. }
            | ProbeError::LacksOperation { .. }
            | ProbeError::Other { .. } => "use a newer kernel".into(),
            ProbeError::FilesTooLow { needed, .. } => {
                format!("raise the limit: ulimit -n {needed}, or LimitNOFILE in the systemd unit")
            }
        }
    }
}

/// Checks everything for `executors` cores and raises soft limits to their hard ones.
pub fn probe(executors: usize) -> Result<ProbeReport, ProbeError> {
    let kernel = kernel_release();
    let files = raise(Resource::Nofile);
    if let Some(files) = files.filter(|files| *files < HOST_FILES_MIN) {
        return Err(ProbeError::FilesTooLow { files, needed: HOST_FILES_MIN });
    }
    let memlock_bytes = raise(Resource::Memlock);
    let (ring_depth, io_memory_bytes, is_shrunk) = fit(memlock_bytes, executors)?;
    probe_ring(&kernel, memlock_bytes)?;
    Ok(ProbeReport { kernel, ring_depth, io_memory_bytes, memlock_bytes, files, is_shrunk })
}

/// Raises the soft limit to the hard one and returns it; `None` = unlimited.
fn raise(resource: Resource) -> Option<u64> {
    let found = getrlimit(resource);
    let wanted = Rlimit { current: found.maximum, maximum: found.maximum };
    if found.current == found.maximum || setrlimit(resource, wanted).is_err() {
        return found.current; // Raising is a courtesy: the checks judge what is there.
    }
    found.maximum
}

/// The deepest rings and largest registered memory that the locked memory has room for.
fn fit(memlock_bytes: Option<u64>, executors: usize) -> Result<(usize, usize, bool), ProbeError> {
    match ring_size(memlock_bytes, executors) {
        Ok(size) => Ok((size.depth, size.io_memory_bytes, size != RING_SIZES[0])),
        Err(needed_bytes) => {
            let memlock_bytes = memlock_bytes.unwrap_or(u64::MAX);
            Err(ProbeError::MemlockTooLow { memlock_bytes, needed_bytes, executors })
        }
    }
}

/// Opens a real ring and asks for the operations that the executor and the disk use.
fn probe_ring(kernel: &str, memlock_bytes: Option<u64>) -> Result<(), ProbeError> {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let explained = |error: io::Error| explain(&error, kernel, memlock_bytes, disabled.trim());
    let ring = IoUring::new(PROBE_ENTRIES).map_err(explained)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known).map_err(explained)?;
    for (code, operation) in [
        (opcode::Read::CODE, "IORING_OP_READ"),
        (opcode::Fsync::CODE, "IORING_OP_FSYNC"),
        (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
        (opcode::Accept::CODE, "IORING_OP_ACCEPT"),
        (opcode::Statx::CODE, "IORING_OP_STATX"),
        (opcode::OpenAt::CODE, "IORING_OP_OPENAT"),
    ] {
        if !known.is_supported(code) {
            return Err(ProbeError::LacksOperation { kernel: kernel.to_string(), operation });
        }
    }
    Ok(())
}

fn explain(
    error: &io::Error,
    kernel: &str,
    memlock_bytes: Option<u64>,
    disabled: &str,
) -> ProbeError {
    use rustix::io::Errno;
    let kernel = kernel.to_string();
    match Errno::from_io_error(error) {
        Some(Errno::PERM) if !matches!(disabled, "" | "0") => {
            ProbeError::Disabled { value: disabled.to_string() }
        }
        Some(Errno::PERM | Errno::ACCESS) => ProbeError::Forbidden,
        Some(Errno::NOSYS) => ProbeError::Missing { kernel },
        Some(Errno::NOMEM) => {
            ProbeError::NoMemory { memlock_bytes: memlock_bytes.unwrap_or(u64::MAX) }
        }
        Some(Errno::INVAL) => ProbeError::Refused { kernel },
        Some(_) | None => ProbeError::Other { kernel, errno: error.raw_os_error().unwrap_or(0) },
    }
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;

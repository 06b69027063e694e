//! A real ring, opened as the broker will: the only check that no file can answer.

use crate::host::Host;
use crate::report::{Row, Severity};
use io_uring::IoUring;
use rustix::io::Errno;
use std::io;

/// Entries of the probe's ring: too few to meet a limit that the broker would not meet.
const ENTRIES: u32 = 8;
const WHY: &str = "every core of the broker does its I/O through a ring";

pub(crate) fn check(host: &Host) -> Row {
    if !host.is_live {
        return Row::unknown("iouring.ring", Severity::Required, "not this host").why(WHY);
    }
    row(IoUring::new(ENTRIES).map(drop))
}

fn row(outcome: io::Result<()>) -> Row {
    let (current, fix) = match &outcome {
        Ok(()) => ("opened".to_owned(), ""),
        Err(error) => cause(error),
    };
    Row::new("iouring.ring", Severity::Required, current, outcome.is_ok())
        .wanted("opened")
        .why(WHY)
        .fix(fix)
}

/// What each error of io_uring_setup means, and what to do.
fn cause(error: &io::Error) -> (String, &'static str) {
    match Errno::from_io_error(error) {
        Some(Errno::PERM) => (
            "EPERM".to_owned(),
            "sysctl kernel.io_uring_disabled=0; in a container, allow io_uring_setup, \
             io_uring_enter and io_uring_register in its seccomp profile",
        ),
        Some(Errno::ACCESS) => (
            "EACCES".to_owned(),
            "allow io_uring in the host's security module (SELinux, AppArmor)",
        ),
        Some(Errno::NOSYS) => (
            "ENOSYS".to_owned(),
            "use kernel 5.8 or newer; in a container, allow the io_uring system calls in its \
             seccomp profile",
        ),
        Some(Errno::NOMEM) => {
            ("ENOMEM".to_owned(), "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit")
        }
        Some(Errno::MFILE | Errno::NFILE) => {
            ("out of descriptors".to_owned(), "ulimit -n 65536, or LimitNOFILE in the unit")
        }
        _ => (error.to_string(), "use kernel 5.8 or newer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Status;

    #[test]
    fn each_error_of_the_ring_names_its_own_way_out() {
        for (errno, current, fix) in [
            (Errno::PERM, "EPERM", "kernel.io_uring_disabled=0"),
            (Errno::ACCESS, "EACCES", "security module"),
            (Errno::NOSYS, "ENOSYS", "kernel 5.8"),
            (Errno::NOMEM, "ENOMEM", "LimitMEMLOCK"),
            (Errno::MFILE, "out of descriptors", "ulimit -n"),
            (Errno::INVAL, "Invalid argument (os error 22)", "kernel 5.8"),
        ] {
            let row = row(Err(io::Error::from(errno)));
            assert_eq!((row.status, row.current.as_str()), (Status::Error, current));
            assert!(row.fix.contains(fix), "{}", row.fix);
        }
        assert_eq!(row(Ok(())).status, Status::Ok);
    }
}

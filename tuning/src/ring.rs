//! A real ring, opened as the broker will: the only check that no file can answer.

use crate::report::{Finding, Severity};
use crate::tuner::Scene;
use io_uring::IoUring;
use rustix::io::Errno;
use std::io;

/// Entries of the probe's ring: too few to meet a limit that the broker would not meet.
const ENTRIES: u32 = 8;

pub(crate) fn check(scene: &Scene) -> Finding {
    if !scene.host.is_live {
        return Finding::absent("not this host");
    }
    finding(IoUring::new(ENTRIES).map(drop))
}

fn finding(outcome: io::Result<()>) -> Finding {
    let (current, fix) = match &outcome {
        Ok(()) => ("opened".to_owned(), ""),
        Err(error) => cause(error),
    };
    Finding::new(Severity::Required, current, outcome.is_ok()).wanted("opened").fix(fix)
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
            let found = finding(Err(io::Error::from(errno)));
            assert_eq!((found.status, found.current.as_str()), (Status::Error, current));
            assert!(found.fix.contains(fix), "{}", found.fix);
        }
        assert_eq!(finding(Ok(())).status, Status::Ok);
    }
}

//! The probe against real refusals: a seccomp filter on one thread, a limit on a child process.

use super::*;
use expect_test::{Expect, expect};
use std::process::Command;

fn check_text(error: &ProbeError, expected: Expect) {
    let fix = error.fix().replace(", ", ",\n  ");
    expected.assert_eq(&format!("{error}\nfix: {fix}"));
}

#[test]
fn each_refusal_of_the_kernel_has_its_own_sentence_and_fix() {
    let explained = |errno: rustix::io::Errno, disabled: &str| {
        explain(&errno.into(), "6.1.0", Some(65536), disabled)
    };
    check_text(
        &explained(rustix::io::Errno::PERM, "2"),
        expect![[r#"
            io_uring is switched off: kernel.io_uring_disabled is 2, needed is 0
            fix: run: sysctl kernel.io_uring_disabled=0"#]],
    );
    check_text(
        &explained(rustix::io::Errno::PERM, "0"),
        expect![[r#"
            io_uring_setup is forbidden (EPERM): a seccomp filter or security module blocks it
            fix: in a container,
              allow io_uring_setup,
              io_uring_enter and io_uring_register in its seccomp profile"#]],
    );
    check_text(
        &explained(rustix::io::Errno::NOSYS, ""),
        expect![[r#"
            io_uring_setup does not exist here (ENOSYS): kernel 6.1.0, needed is 5.8 or newer
            fix: use a newer kernel; in a container,
              also allow the io_uring system calls in its seccomp profile"#]],
    );
    check_text(
        &explained(rustix::io::Errno::NOMEM, "0"),
        expect![[r#"
            io_uring_setup found no memory (ENOMEM): RLIMIT_MEMLOCK is 65536 bytes
            fix: raise the limit: ulimit -l unlimited,
              or LimitMEMLOCK=infinity in the systemd unit"#]],
    );
    check_text(
        &explained(rustix::io::Errno::INVAL, "0"),
        expect![[r#"
            io_uring_setup refused its arguments (EINVAL) on kernel 6.1.0
            fix: use a newer kernel"#]],
    );
}

#[test]
fn rings_shrink_to_fit_the_locked_memory_and_say_so() {
    assert_eq!(fit(None, 64), Ok((1024, 256 << 10, false)));
    assert_eq!(fit(Some(8 << 20), 2), Ok((1024, 256 << 10, false)));
    assert_eq!(fit(Some(1 << 20), 1), Ok((128, 128 << 10, true)));
    check_text(
        &fit(Some(64 * 1024), 1).unwrap_err(),
        expect![[r#"
            RLIMIT_MEMLOCK is 65536 bytes, 1 cores need 524288
            fix: raise the limit: ulimit -l 512,
              or LimitMEMLOCK=infinity in the systemd unit; or set fewer highwater.cores"#]],
    );
    assert!(matches!(fit(Some(512 << 10), 4), Err(ProbeError::MemlockTooLow { .. })));
}

/// Makes `io_uring_setup` answer EPERM on this thread, as container runtimes do.
fn deny_io_uring_on_this_thread() {
    // Classic BPF: load the system call's number; is it 425 (io_uring_setup)? EPERM, else allow.
    let filter = [
        libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: 0x15, jt: 0, jf: 1, k: 425 },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x0005_0001 },
        libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 },
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_ptr().cast_mut() };
    // SAFETY: both calls read their arguments only, and `program` and `filter` live until they
    // return; the filter binds this thread alone, which ends with the test.
    #[allow(unsafe_code, reason = "see SAFETY below")]
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the filter must not outlive a thread of its own")]
fn a_denying_seccomp_filter_is_named_as_the_cause() {
    let probed = std::thread::spawn(|| {
        deny_io_uring_on_this_thread();
        probe(1)
    });
    assert_eq!(probed.join().unwrap(), Err(ProbeError::Forbidden));
}

#[test]
fn this_machine_passes_the_probe_with_soft_limits_raised() {
    let report = probe(1).unwrap();
    assert!(report.ring_depth >= 64 && report.io_memory_bytes >= 64 * 1024);
    assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
}

const CHILD: &str = "HIGHWATER_TEST_PROBE_CHILD";

/// Runs this test binary's child test under `limits` (shell's `ulimit` commands).
fn probe_in_child(limits: &str) -> String {
    let script = format!("{limits} && exec \"$0\" --exact {} --nocapture", child_name());
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn child_name() -> String {
    let module = module_path!();
    let inner = module.split_once("::").unwrap().1;
    format!("{inner}::the_probe_of_a_child_process_prints_its_finding")
}

#[test]
fn the_probe_of_a_child_process_prints_its_finding() {
    if std::env::var_os(CHILD).is_some() {
        match probe(1) {
            Ok(report) => println!("found depth {}", report.ring_depth),
            Err(error) => println!("found {error}"),
        }
    }
}

#[test]
fn low_limits_of_the_process_are_named_with_both_values() {
    let locked = probe_in_child("ulimit -l 64");
    assert!(
        locked.contains("found RLIMIT_MEMLOCK is 65536 bytes, 1 cores need 524288"),
        "{locked}"
    );
    let files = probe_in_child("ulimit -n 100");
    assert!(files.contains("found RLIMIT_NOFILE is 100, needed are 256"), "{files}");
    let shrunk = probe_in_child("ulimit -l 1024");
    assert!(shrunk.contains("found depth 128"), "{shrunk}");
}

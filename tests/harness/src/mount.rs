//! A small file system of its own under one broker.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A mount namespace, kept by a process that sleeps; what it mounted goes with it.
pub struct MountNamespace {
    keeper: Child,
    mount: PathBuf,
    directory: TempDir,
}

impl MountNamespace {
    /// Runs `script` in a new namespace; it mounts something at `$DATA` and has `$SCRATCH`.
    ///
    /// Panics without CAP_SYS_ADMIN.
    pub fn mount(data: &Path, script: &str) -> MountNamespace {
        let directory = crate::scratch_directory("mount");
        fs::create_dir_all(data).expect("a writable directory");
        let script = format!("set -e\n{script}\necho ready\nexec sleep 100000");
        let mut keeper = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .env("DATA", data)
            .env("SCRATCH", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has unshare");
        let mut line = String::new();
        let out = keeper.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("text");
        assert_eq!(line, "ready\n", "a process with CAP_SYS_ADMIN can mount");
        MountNamespace { keeper, mount: data.to_owned(), directory }
    }

    /// The command that runs another one inside.
    pub fn launcher(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.keeper.id())]
    }

    /// Runs a script inside.
    pub fn run(&self, script: &str) {
        let [command, argument] = self.launcher();
        let status = Command::new(command)
            .args([&argument, "sh", "-e", "-c", script])
            .env("DATA", &self.mount)
            .env("SCRATCH", self.directory.path())
            .status()
            .expect("util-linux has nsenter");
        assert!(status.success(), "{script}: {status}");
    }

    /// Where this process finds what is mounted.
    pub fn path(&self) -> PathBuf {
        let inside = self.mount.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.keeper.id())).join(inside)
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

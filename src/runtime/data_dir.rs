//! The data directory as a whole: who may use it, and whether this broker is the one.
//!
//! Checked before any core starts: that no other process has it, that its format is not newer than
//! this program, that it belongs to the configured node and cluster, that it can be written.
//!
//! ```text
//! <data>/.lock             held by flock for the life of the process; holds its id
//! <data>/meta.properties   version, cluster.id, node.id, as Kafka names them
//! <data>/reserve           room given back to the file system when it is full
//! ```

use super::reserve;
use crate::model::base64url::{decode_uuid, encode_uuid};
use crate::model::cluster_config::{Voter, parse_voters};
use crate::model::ids::BrokerId;
use crate::model::limits::RESERVE_FILE_BYTES;
use rustix::fs::FlockOperation;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Format of the data directory that this program writes; older ones are read.
const VERSION: u32 = 1;

const META_FILE: &str = "meta.properties";
const LOCK_FILE: &str = ".lock";
/// Voters of a quorum that does not exist yet, `none` to join one, `self` to be one.
const VOTERS_KEY: &str = "initial.voters";

/// The directory is this process's own while this lives.
#[derive(Debug)]
pub struct DataDir {
    pub path: PathBuf,
    pub cluster_id: Uuid,
    pub directory_id: Uuid,
    pub node_id: BrokerId,
    /// The voters that it was formatted with.
    pub voters: Vec<Voter>,
    /// True when this start created it.
    pub is_new: bool,
    _lock: File,
}

/// Who keeps the metadata of a broker whose directory is formatted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Founding {
    /// Others, who are there already.
    Joins,
    /// It alone.
    Alone,
    /// It and others, from their first start on.
    With(Vec<Voter>),
}

/// The identity that a directory shall have; what is left out is drawn by chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub node_id: BrokerId,
    pub cluster_id: Option<Uuid>,
    pub directory_id: Option<Uuid>,
    pub founding: Founding,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("data directory {path} is in use by process {holder}")]
    Locked { path: PathBuf, holder: String },
    #[error("data directory {path} has format version {found}, this program knows up to {known}")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error(
        "data directory {path} belongs to cluster {}, configured is {}",
        encode_uuid(*found),
        encode_uuid(*configured)
    )]
    ForeignCluster { path: PathBuf, found: Uuid, configured: Uuid },
    #[error("data directory {path} belongs to node.id {found}, configured is {configured}")]
    ForeignNode { path: PathBuf, found: i32, configured: i32 },
    #[error("data directory {path} is not formatted: no broker has used it")]
    NotFormatted { path: PathBuf },
    #[error("data directory {path} is formatted already, with {key}={found}")]
    Formatted { path: PathBuf, key: &'static str, found: String },
    #[error("{path} has {line:?}, which no version of this program writes")]
    Malformed { path: PathBuf, line: String },
    #[error("data directory {path} has {free_bytes} bytes free, needed are {needed_bytes}")]
    NoSpace { path: PathBuf, free_bytes: u64, needed_bytes: u64 },
    #[error("{operation} {path}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
}

impl DataDirError {
    /// What the operator can do.
    pub fn fix(&self) -> String {
        match self {
            DataDirError::Locked { .. } => "stop that process, or set log.dirs elsewhere".into(),
            DataDirError::Newer { .. } => {
                "start the newer program that wrote it, or set log.dirs elsewhere".into()
            }
            DataDirError::ForeignCluster { .. } => {
                "set log.dirs to this cluster's directory, or leave highwater.cluster.id out".into()
            }
            DataDirError::ForeignNode { found, .. } => {
                format!("set node.id={found}, or log.dirs to this node's directory")
            }
            DataDirError::NotFormatted { .. } => "name the data directory of a broker".into(),
            DataDirError::Formatted { .. } => {
                "name an empty directory, or leave this one as it is".into()
            }
            DataDirError::Malformed { path, .. } => {
                format!("restore {} from a backup", path.display())
            }
            DataDirError::NoSpace { .. } => "free some space, or set log.dirs elsewhere".into(),
            DataDirError::Io { .. } => {
                "check that the directory exists and that this user may write to it".into()
            }
        }
    }

    /// True when the disk is to blame rather than the configuration.
    pub fn is_io(&self) -> bool {
        match self {
            DataDirError::Io { .. }
            | DataDirError::NoSpace { .. }
            | DataDirError::Malformed { .. } => true,
            DataDirError::Locked { .. }
            | DataDirError::Newer { .. }
            | DataDirError::ForeignCluster { .. }
            | DataDirError::NotFormatted { .. }
            | DataDirError::Formatted { .. }
            | DataDirError::ForeignNode { .. } => false,
        }
    }
}

impl DataDir {
    /// Takes the directory for `node_id`, making it when it is not there. `cluster_id` is checked
    /// against what is stored; without one a new directory gets a random id.
    pub fn open(
        path: &Path,
        node_id: BrokerId,
        cluster_id: Option<Uuid>,
    ) -> Result<DataDir, DataDirError> {
        fs::create_dir_all(path).map_err(|source| io_error("create", path, source))?;
        let lock = take_lock(path)?;
        let stored = Meta::read(path)?;
        let is_new = stored.is_none();
        let meta = match stored {
            Some(meta) => meta.checked(path, node_id, cluster_id)?,
            None => Meta::new(node_id, cluster_id).write(path)?,
        };
        hold_reserve(path)?;
        Ok(DataDir::of(path, meta, is_new, lock))
    }

    /// Takes the directory of a broker that does not run, whichever broker's it is.
    pub fn reopen(path: &Path) -> Result<DataDir, DataDirError> {
        let not_formatted = || DataDirError::NotFormatted { path: path.to_path_buf() };
        if !path.join(META_FILE).exists() {
            return Err(not_formatted());
        }
        let lock = take_lock(path)?;
        let meta = Meta::read(path)?.ok_or_else(not_formatted)?;
        let node_id = BrokerId(meta.node_id);
        let meta = meta.checked(path, node_id, None)?;
        Ok(DataDir::of(path, meta, false, lock))
    }

    /// Gives an empty directory its identity, once `prepare` has laid down what belongs to it. One
    /// that has this identity already stays as it is.
    ///
    /// # Errors
    /// It has another identity, or what `prepare` fails with.
    pub fn format<E: From<DataDirError>>(
        path: &Path,
        wanted: &Format,
        prepare: impl FnOnce() -> Result<(), E>,
    ) -> Result<DataDir, E> {
        fs::create_dir_all(path).map_err(|source| io_error("create", path, source))?;
        let lock = take_lock(path)?;
        if let Some(meta) = Meta::read(path)? {
            meta.check_format(path, wanted)?;
            return Ok(DataDir::of(path, meta, false, lock));
        }
        prepare()?;
        let mut meta = Meta::new(wanted.node_id, wanted.cluster_id);
        meta.directory_id = wanted.directory_id.unwrap_or(meta.directory_id);
        meta.founding = Some(wanted.founding.clone());
        let meta = meta.write(path)?;
        Ok(DataDir::of(path, meta, true, lock))
    }

    fn of(path: &Path, meta: Meta, is_new: bool, lock: File) -> DataDir {
        DataDir {
            path: path.to_path_buf(),
            cluster_id: meta.cluster_id,
            directory_id: meta.directory_id,
            node_id: BrokerId(meta.node_id),
            voters: match meta.founding {
                Some(Founding::With(voters)) => voters,
                Some(Founding::Joins | Founding::Alone) | None => Vec::new(),
            },
            is_new,
            _lock: lock,
        }
    }
}

impl Founding {
    fn parse(text: &str) -> Option<Founding> {
        match text {
            "none" => Some(Founding::Joins),
            "self" => Some(Founding::Alone),
            list => parse_voters(list).map(Founding::With),
        }
    }

    fn text(&self) -> String {
        let voter = |voter: &Voter| format!("{}@{}", voter.id.0, voter.endpoint);
        match self {
            Founding::Joins => "none".to_owned(),
            Founding::Alone => "self".to_owned(),
            Founding::With(voters) => voters.iter().map(voter).collect::<Vec<_>>().join(","),
        }
    }
}

/// Content of `meta.properties`.
struct Meta {
    version: u32,
    cluster_id: Uuid,
    directory_id: Uuid,
    node_id: i32,
    /// `None` where the first start made it.
    founding: Option<Founding>,
}

impl Meta {
    fn new(node_id: BrokerId, cluster_id: Option<Uuid>) -> Meta {
        Meta {
            version: VERSION,
            cluster_id: cluster_id.unwrap_or_else(Uuid::new_v4),
            directory_id: Uuid::new_v4(),
            node_id: node_id.0,
            founding: None,
        }
    }

    fn read(dir: &Path) -> Result<Option<Meta>, DataDirError> {
        let path = dir.join(META_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Meta::parse(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path, error)),
        }
    }

    fn check_format(&self, dir: &Path, wanted: &Format) -> Result<(), DataDirError> {
        let founding = self.founding.as_ref().map_or_else(String::new, Founding::text);
        let wanted_founding = wanted.founding.text();
        let cluster = (self.cluster_id, wanted.cluster_id.unwrap_or(self.cluster_id));
        let directory = (self.directory_id, wanted.directory_id.unwrap_or(self.directory_id));
        let pairs = [
            ("node.id", self.node_id.to_string(), wanted.node_id.0.to_string()),
            ("cluster.id", encode_uuid(cluster.0), encode_uuid(cluster.1)),
            ("directory.id", encode_uuid(directory.0), encode_uuid(directory.1)),
            (VOTERS_KEY, founding, wanted_founding),
        ];
        match pairs.into_iter().find(|(_, found, wanted)| found != wanted) {
            None => Ok(()),
            Some((key, found, _)) => {
                Err(DataDirError::Formatted { path: dir.to_path_buf(), key, found })
            }
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Meta, DataDirError> {
        let malformed =
            |line: &str| DataDirError::Malformed { path: path.to_path_buf(), line: line.into() };
        let nil = Uuid::nil();
        let mut meta =
            Meta { version: 0, cluster_id: nil, directory_id: nil, node_id: -1, founding: None };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| malformed(line))?;
            let id = || decode_uuid(value.trim()).ok_or_else(|| malformed(line));
            match key.trim() {
                "version" => meta.version = value.trim().parse().map_err(|_| malformed(line))?,
                "node.id" => meta.node_id = value.trim().parse().map_err(|_| malformed(line))?,
                "cluster.id" => meta.cluster_id = id()?,
                "directory.id" => meta.directory_id = id()?,
                VOTERS_KEY => {
                    let founding = Founding::parse(value.trim()).ok_or_else(|| malformed(line));
                    meta.founding = Some(founding?);
                }
                _ => {} // A later program of the same version may note more.
            }
        }
        if meta.version == 0 || meta.cluster_id.is_nil() || meta.node_id < 0 {
            return Err(malformed(text));
        }
        Ok(meta)
    }

    fn checked(
        self,
        dir: &Path,
        node_id: BrokerId,
        cluster_id: Option<Uuid>,
    ) -> Result<Meta, DataDirError> {
        let path = dir.to_path_buf();
        if self.version > VERSION {
            return Err(DataDirError::Newer { path, found: self.version, known: VERSION });
        }
        if let Some(configured) = cluster_id.filter(|configured| *configured != self.cluster_id) {
            return Err(DataDirError::ForeignCluster { path, found: self.cluster_id, configured });
        }
        if self.node_id != node_id.0 {
            let (found, configured) = (self.node_id, node_id.0);
            return Err(DataDirError::ForeignNode { path, found, configured });
        }
        Ok(self)
    }

    fn write(self, dir: &Path) -> Result<Meta, DataDirError> {
        let mut text = format!(
            "version={}\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
            self.version,
            encode_uuid(self.cluster_id),
            self.node_id,
            encode_uuid(self.directory_id)
        );
        if let Some(founding) = &self.founding {
            text.push_str(&format!("{VOTERS_KEY}={}\n", founding.text()));
        }
        let (temporary, path) = (dir.join("meta.properties.tmp"), dir.join(META_FILE));
        let written = File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| File::open(dir)?.sync_all());
        written.map_err(|source| io_error("write", &path, source))?;
        Ok(self)
    }
}

fn take_lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join(LOCK_FILE);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|source| io_error("open", &path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let read = file.read_to_string(&mut holder);
            let holder = match read {
                Ok(_) if !holder.trim().is_empty() => holder.trim().to_string(),
                Ok(_) | Err(_) => "of unknown id".to_string(),
            };
            return Err(DataDirError::Locked { path: dir.to_path_buf(), holder });
        }
        Err(error) => return Err(io_error("lock", &path, error.into())),
    }
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(|source| io_error("write", &path, source))?;
    Ok(file)
}

fn hold_reserve(dir: &Path) -> Result<(), DataDirError> {
    match reserve::hold(dir) {
        Ok(()) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            let free_bytes = rustix::fs::statvfs(dir)
                .map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize));
            let needed_bytes = RESERVE_FILE_BYTES;
            Err(DataDirError::NoSpace { path: dir.to_path_buf(), free_bytes, needed_bytes })
        }
        Err(error) => Err(io_error("reserve room in", dir, error)),
    }
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io { operation, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: BrokerId = BrokerId(1);

    fn text(error: DataDirError, dir: &Path) -> String {
        format!("{error}\nfix: {}", error.fix()).replace(&dir.display().to_string(), "DATA")
    }

    #[test]
    fn a_new_directory_gets_an_identity_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        let first = DataDir::open(&dir, NODE, None).unwrap();
        assert!(first.is_new);
        assert_eq!(fs::metadata(dir.join("reserve")).unwrap().len(), RESERVE_FILE_BYTES);
        let ids = (first.cluster_id, first.directory_id);
        drop(first);
        let again = DataDir::open(&dir, NODE, Some(ids.0)).unwrap();
        assert!(!again.is_new);
        assert_eq!((again.cluster_id, again.directory_id), ids);
        let meta = fs::read_to_string(dir.join("meta.properties")).unwrap();
        assert!(meta.contains(&format!("cluster.id={}\n", encode_uuid(ids.0))), "{meta}");
    }

    #[test]
    fn a_second_process_is_told_who_holds_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let _held = DataDir::open(folder.path(), NODE, None).unwrap();
        let error = DataDir::open(folder.path(), NODE, None).unwrap_err();
        let expected = format!(
            "data directory DATA is in use by process {}\n\
             fix: stop that process, or set log.dirs elsewhere",
            std::process::id()
        );
        assert!(!error.is_io());
        assert_eq!(text(error, folder.path()), expected);
    }

    #[test]
    fn a_directory_of_another_node_cluster_or_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mine, theirs) = (Uuid::from_u128(1 << 64), Uuid::from_u128(2 << 64));
        drop(DataDir::open(folder.path(), NODE, Some(mine)).unwrap());
        let refused = |node, cluster| {
            text(DataDir::open(folder.path(), node, cluster).unwrap_err(), folder.path())
        };
        assert_eq!(
            refused(BrokerId(2), None),
            "data directory DATA belongs to node.id 1, configured is 2\n\
             fix: set node.id=1, or log.dirs to this node's directory"
        );
        assert_eq!(
            refused(NODE, Some(theirs)),
            "data directory DATA belongs to cluster AAAAAAAAAAEAAAAAAAAAAA, configured is \
             AAAAAAAAAAIAAAAAAAAAAA\n\
             fix: set log.dirs to this cluster's directory, or leave highwater.cluster.id out"
        );
        let meta = folder.path().join(META_FILE);
        fs::write(&meta, "version=9\ncluster.id=AAAAAAAAAAEAAAAAAAAAAA\nnode.id=1\n").unwrap();
        assert_eq!(
            refused(NODE, None),
            "data directory DATA has format version 9, this program knows up to 1\n\
             fix: start the newer program that wrote it, or set log.dirs elsewhere"
        );
        fs::write(&meta, "version=1\nnode.id=x\n").unwrap();
        assert_eq!(
            refused(NODE, None),
            "DATA/meta.properties has \"node.id=x\", which no version of this program writes\n\
             fix: restore DATA/meta.properties from a backup"
        );
    }

    #[test]
    fn a_path_that_cannot_be_a_directory_is_an_io_error_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDir::open(&file, NODE, None).unwrap_err();
        assert!(error.is_io());
        assert_eq!(error.to_string(), format!("create {}", file.display()));
    }
}
